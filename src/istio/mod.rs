//! Istio's networking YAML: from files to a checked, resolved [`world::World`].
//!
//! [`read`] is the one call that `run`, `check` and the tests make. It goes in four steps, each in its own file and
//! each reporting every problem it sees, not only the first:
//!
//! ```text
//! files --load--> documents --model (reader)--> typed resources --world--> World
//! ```
//!
//! Knows nothing of sockets, routing tables or HTTP: `plan` compiles the world into what a worker runs on. Whatever
//! Istio has and ringway does not enforce is an error by name here; nothing is dropped in silence. No input panics.

mod kinds;
mod load;
pub mod model;
pub mod problem;
pub mod reader;
mod tree;
pub mod world;

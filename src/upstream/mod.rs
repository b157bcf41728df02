//! The upstream side of one core: connections to endpoints, the pools they rest in, and one exchange over one of them.
//!
//! Everything here belongs to a single core (`Rc`, `Cell`), so nothing locks. `connection` is how a request comes by its
//! connection; where a circuit breaker has a say, `admission` shares connections out, `pending` is the line of who waits,
//! and `handoff` carries permits and connections from core to core. It knows the plan's clusters and what a
//! response head is, and must never know a route, a downstream connection or how often a request is tried: that is
//! `proxy`'s, its only caller beside `worker`'s sweep.

mod admission;
mod connect;
mod connection;
mod exchange;
mod handoff;
mod health;
mod installed;
mod pending;
mod pool;
mod secure;
mod shared;
mod undeclared;

pub use admission::{NoConnection, Overflow, Permit};
pub use connect::{ConnectError, Refusal};
pub use connection::{Admitted, Pending};
pub use exchange::{HeadError, read_head};
pub use handoff::{Desk, Letter, Peer};
pub use health::Avoid;
pub use installed::{CoreStats, Installed, Joined, LocalCluster, LocalEndpoint, Remains};
pub use pool::{Closed, Upstream};
pub use secure::{Secured, tls_error};
pub use shared::{SharedCluster, SharedClusters};

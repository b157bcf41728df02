//! Copies of requests: drawn and started by `start`, fed through `queue`, sent by the tasks of `task`, judged by `compare`.
//!
//! A request never waits for a copy, and a copy's failure is seen in its own cluster's statistics alone. `shared` is the
//! state that all copies of a core share.

pub(crate) mod compare;
pub(crate) mod queue;
pub(crate) mod shared;
pub(crate) mod start;
pub(crate) mod task;

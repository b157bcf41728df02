//! Policies: pure state machines and arithmetic that decide what to do next, never doing it.
//!
//! Time and randomness come in as arguments; there is no socket, no clock, no lock, and no allocation once a policy's
//! state has been made. `upstream` and `plan` call in here; nothing here calls out.

pub mod balance;
pub mod fault;
pub mod hashing;
pub mod local_addresses;
pub mod outlier;
pub mod permits;
pub mod retry;
pub mod share;

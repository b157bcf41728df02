//! What every layer may use: typed indices, the per-core random generator, request ids, and the constant limits.
//!
//! Nothing here does I/O, reads a clock or knows a protocol.

pub mod id;
pub mod limits;
pub mod request_id;
pub mod rng;

//! What every layer may use: typed indices, the per-core random generator, request ids, regular expressions as Envoy
//! reads them, and the constant limits.
//!
//! Nothing here does I/O, reads a clock or knows a protocol.

pub mod id;
pub mod limits;
pub mod re2;
pub mod request_id;
pub mod rng;

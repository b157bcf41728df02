//! Shared by every layer: typed indices, the addresses of endpoints, the per-core random generator, request ids, the
//! constant limits, the dialect of regular expressions, and counts in words.
//!
//! It must not do I/O, read a clock or know a protocol.

pub mod count;
pub mod endpoint;
pub mod id;
pub mod limits;
pub mod re2;
pub mod request_id;
pub mod rng;
pub mod subnet;

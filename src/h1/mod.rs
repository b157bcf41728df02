//! The HTTP/1.1 codec, sans I/O: bytes in, positions out; positions in, bytes out.
//!
//! It owns everything that is true of HTTP/1.1 whoever is talking: what a head looks like, what body follows it,
//! where a chunked body ends, which lines are hop-by-hop, and what a peer must never be allowed to make ambiguous
//! (RFC 9110, RFC 9112, and Envoy's edge behaviour on top). `proxy` calls it once per head and once per piece of a
//! chunked body; `upstream` and the demo's origins speak through it too.
//!
//! It must never touch a socket, read a clock, know a route, or allocate per message: heads are ranges into the
//! caller's buffer, and every struct is meant to be kept by a connection and used again.

pub mod b3;
pub mod change;
pub mod chunked;
pub mod encode;
pub mod forward;
pub mod framing;
pub mod head;
pub mod hops;
mod join;
pub mod local;
pub mod mirror;
pub mod parse;
pub mod status;
pub mod target;

#[cfg(test)]
mod tests;

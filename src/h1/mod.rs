//! The HTTP/1.1 codec, sans I/O: bytes in, heads and payload out; heads and payload in, bytes out.
//!
//! It owns what is true of HTTP/1.1 alone: what a head looks like on the wire, what body follows it, where a chunked body
//! ends, and what a peer must never be allowed to make ambiguous (RFC 9112, and Envoy's edge behaviour on top). What a head
//! means and what a proxy changes of it is [`crate::http`]'s. `proxy` calls it once per head and once per piece of a chunked
//! body; `upstream`, `explain` and the demo's origins speak through it too.
//!
//! It must never touch a socket, read a clock, know a route, or allocate per message: heads are ranges into the
//! caller's buffer, and every struct is meant to be kept and used again.

pub mod body;
pub mod chunked;
pub mod encode;
pub mod framing;
pub mod parse;

#[cfg(test)]
mod tests;

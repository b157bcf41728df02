//! The HTTP/1.1 codec, sans I/O: bytes in, heads and payload out; heads and payload in, bytes out.
//!
//! It owns the rules of HTTP/1.1 alone: the form of a head on the wire, the kind of body after it, the end of a chunked
//! body, and the refusal of ambiguous messages (RFC 9112, and Envoy's edge behaviour on top). The meaning of a head and a
//! proxy's changes are [`crate::http`]'s. `proxy` calls it once per head and once per piece of a chunked body; `upstream`,
//! `explain` and the demo's origins speak through it too.
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

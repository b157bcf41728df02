//! Messages, independent of their codec: heads, header operations, and a proxy's changes to forwarded messages.
//!
//! It owns the head of a request and of a response as positions in a buffer, which a codec has filled; the operations that
//! rules have on header fields; and the changes of every proxy to a message that it forwards ([`forward`]), which are written
//! once, through a [`HeadSink`](sink::HeadSink). Codecs are sinks; so is a [`FieldList`](field_list::FieldList), for readers
//! of a message as it is sent. The router, `plan`, `explain` and the codecs call it.
//!
//! It must never know how a message is framed on the wire, touch a socket, read a clock, know a route, or allocate per
//! message: every struct is meant to be kept and used again.

pub mod b3;
pub mod error;
pub mod field_list;
pub mod field_value;
pub mod forward;
pub mod head;
pub mod header_ops;
pub mod hops;
pub mod local_reply;
pub mod mirror;
pub mod outgoing;
pub mod sink;
pub mod status;
pub mod target;

#[cfg(test)]
pub(crate) mod tests;

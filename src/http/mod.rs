//! What a message is, whatever carries it: heads, header operations, and what a proxy changes of a message on its way.
//!
//! It owns the head of a request and of a response as positions in a buffer, which a codec has filled; the operations that
//! rules have on header fields; and what every proxy does to a message that it forwards ([`forward`]), which is written once,
//! through a [`HeadSink`](sink::HeadSink). Codecs are sinks; so is a [`FieldList`](field_list::FieldList), for those who
//! read a message as it is sent. The router, `plan`, `explain` and the codecs call it.
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

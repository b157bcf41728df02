//! The client's side of a connection: admitting it, finding its filter chain, reading its requests, closing it.
//!
//! `accept` admits a connection and counts it; `transport` finds its filter chain and hands it to HTTP or to the TCP proxy;
//! `h1` reads heads and serves one request after the other; `connection` is the state that its requests share; `listener` is
//! a listener as its connections know it. `router` serves requests, `l4` other connections. Called by `worker`.

pub(crate) mod accept;
pub(crate) mod connection;
pub(crate) mod h1;
pub(crate) mod leaving;
pub(crate) mod listener;
mod transport;

//! The client's side of a connection: letting it in, finding out what it speaks, reading its requests, closing it.
//!
//! `accept` lets a connection in and counts it; `h1` reads heads and serves one request after the other; `connection` is
//! what its requests share; `listener` is a listener as its connections know it. What becomes of a request is `router`'s,
//! what becomes of other bytes `l4`'s. Called by `worker`.

pub(crate) mod accept;
pub(crate) mod connection;
pub(crate) mod h1;
pub(crate) mod leaving;
pub(crate) mod listener;

//! Connections that are not decoded: TCP, TLS by its server name, and the tunnels of CONNECT and of upgrades.
//!
//! `detect` finds out what a redirected connection speaks, `sni` reads first bytes, `gateway` serves a Gateway's TLS and TCP
//! ports, `tcp` serves one connection, `connect_method` answers CONNECT, `upstream` opens the other side, `tunnel` moves bytes.

pub(crate) mod connect_method;
pub(crate) mod detect;
pub(crate) mod gateway;
pub(crate) mod sni;
pub(crate) mod tcp;
pub(crate) mod tunnel;
pub(crate) mod upstream;

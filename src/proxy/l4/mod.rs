//! Connections that are not decoded: TCP, TLS by its server name, and the tunnels of CONNECT and of upgrades.
//!
//! `detect` and `sni` find a connection's protocol, `tcp` serves the connection of a TCP proxy, `connect_method` answers
//! CONNECT, `upstream` opens the other side, `tunnel` moves bytes. Called by `downstream` and `router`.

pub(crate) mod connect_method;
pub(crate) mod detect;
pub(crate) mod sni;
pub(crate) mod tcp;
pub(crate) mod tunnel;
pub(crate) mod upstream;

//! Traffic through the real binary on loopback: clients that send exact bytes on one side, scripted origins on the other.
//! A module for each way in or out: HTTP at a Gateway, the mesh listener and redirected connections, TLS towards the
//! upstream, connections that are not looked into, Unix domain sockets, host names; and Istio's own tasks, played through.

#![allow(clippy::disallowed_methods, reason = "a test drives real processes and reads the real clock")]

mod bookinfo;
mod egress;
mod http;
#[path = "../support/https.rs"]
mod https;
mod ingress;
mod mesh;
#[path = "../support/name_server.rs"]
mod name_server;
mod passthrough;
mod sidecar;
mod sockets;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod tutorial;

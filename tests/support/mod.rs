//! What the black-box tests share: the real binary as a child process, raw-socket clients, origins that misbehave on
//! command, Envoy and httpbin from a pinned venv. It knows ringway only from outside (`contract.md`): command line,
//! YAML, sockets, exit codes. Nothing here sleeps and hopes: [`wait::eventually`] polls a condition up to a deadline.
#![allow(dead_code, reason = "every test binary uses its own part of this module")]
#![allow(clippy::disallowed_methods, reason = "a test drives real processes and reads the real clock")]

pub(crate) mod client;
pub(crate) mod envoy;
pub(crate) mod httpbin;
pub(crate) mod message;
pub(crate) mod origin;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod python;
pub(crate) mod ringway;
pub(crate) mod skip;
pub(crate) mod wait;
pub(crate) mod yaml;

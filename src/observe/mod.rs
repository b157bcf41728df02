//! The observable side of the proxy: counters and histograms under Envoy's names, response flags, the access log and
//! the thread that writes it, and the `date` header's text.
//!
//! This layer owns the numbers and their forms. It never decides anything about traffic, opens no socket and reads no
//! clock (times come in as arguments). Workers write (counters of their own core, lines into their own buffer: no lock,
//! no allocation); the control side reads (sums over the cores, renders `/stats`).

pub mod access_log;
pub mod date;
pub mod flags;
pub mod stats;
pub mod writer;

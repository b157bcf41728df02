//! Counters of TCP connections.

use super::block::{Block, Sample};
use super::blocks::block;
use super::cell::Counter;

block! {
    /// One core's counters of the TCP connections to one destination; shown as `tcp.<prefix>.<field>`, where the prefix
    /// is the name of the cluster, as in Istio.
    TcpStats {
        /// Connections accepted for it.
        downstream_cx_total: Counter,
        /// Connections that may not go there, or have nowhere to go.
        downstream_cx_no_route: Counter,
        /// Bytes received from clients.
        downstream_cx_rx_bytes_total: Counter,
        /// Bytes sent to clients.
        downstream_cx_tx_bytes_total: Counter,
        /// Connections closed by the idle timeout.
        idle_timeout: Counter,
        /// Connections closed because of their age.
        max_downstream_connection_duration: Counter,
    }
}

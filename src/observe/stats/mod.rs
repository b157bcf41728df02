//! Counters, gauges and histograms: one block of them per core and subject (cluster, endpoint, listener, HTTP
//! connection manager, route), under Envoy's names.
//!
//! A block is written by its one core with plain loads and stores; a reader of statistics sums the blocks of all
//! cores. So counting costs about a nanosecond and no cache line travels, and a sum is only as old as the last store.

mod block;
mod blocks;
mod cell;
mod formats;
mod histogram;
mod http;
mod mirrored;
mod registry;
mod responses;
mod shared;
mod tcp;

pub use blocks::{
    ClusterCells, ClusterStats, ControlStats, EndpointStats, LogStats, RouteCells, RouteStats, ServerStats,
    SharedCells, SslStats,
};
pub use cell::{Counter, Gauge};
pub use formats::{write_json, write_prometheus, write_text};
pub use histogram::{Buckets, Histogram};
pub use http::{HttpStats, ListenerStats};
pub use mirrored::{Mirrored, Verdict};
pub use registry::{EndpointTotals, Kept, Registry, Stat, StatValue};
pub use shared::{ClusterShared, Ejections};
pub use tcp::TcpStats;

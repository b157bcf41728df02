//! The upstream side of one core: connections to endpoints, their pools, and their leases to requests.
//!
//! Everything here belongs to a single core (`Rc`, `Cell`), so nothing locks. `lease` is how a request gets its
//! connection: an idle one of its `endpoint`, or a new one (`connect`). Where a circuit breaker has limits, `admission`
//! grants connections, `wait_queue` holds the waiting requests, `permits` is a core's part of the limits, and `mailbox`
//! carries permits and connections from core to core. `cluster` is a cluster with its balancer and endpoints,
//! `installed` a whole plan of them. It must never know a route, a downstream connection or how often a request is sent:
//! that is `proxy`'s, its only caller beside `worker`'s sweep.

mod admission;
mod cluster;
mod connect;
mod connection;
mod dynamic;
mod endpoint;
mod error;
mod health;
mod installed;
mod lease;
mod mailbox;
mod permits;
mod response_head;
#[cfg(test)]
mod scripted;
mod settings;
mod shared;
mod tls;
mod wait_queue;

pub use cluster::{ClusterHandles, LocalCluster};
pub use connection::{Closed, Upstream};
pub use endpoint::LocalEndpoint;
pub use error::{ConnectError, NoConnection, Overflow, Refusal, tls_error};
pub use health::Avoid;
pub use installed::{CoreStats, Installed, RetiredPlan};
pub use lease::{Admitted, Lease, Pending};
pub use mailbox::{CoreMailbox, CoreMessage, Peer};
pub use permits::Permit;
pub use response_head::{HeadError, read_head};
pub use shared::{SharedCluster, SharedClusters};
pub use tls::Secured;

//! The life of connections and requests on one core, from an accepted connection to the line in the log.
//!
//! `downstream` is the client's side of a connection; `stream` is one request under way; `router` serves it: routing, faults,
//! attempts, the exchange with an upstream, local replies, the log. `mirror` sends copies of requests, `l4` serves connections
//! that are not decoded, `dynamic` finds destinations without configured endpoints. `core` is the state of one core, and knows
//! none of its users.
//!
//! It must never know how workers are started, or where a plan comes from. Its caller is `worker`.

mod core;
mod downstream;
mod dynamic;
mod l4;
mod mirror;
mod router;
mod stream;
#[cfg(test)]
mod tests;

pub use self::core::{Budget, Core, CoreParts, Log, TICK};
pub use self::downstream::h1::serve;
pub use self::downstream::listener::ListenerHandle;
pub use self::dynamic::host_cache::{ResolveAuthority, ResolvedAuthority};
pub use self::mirror::compare::{Difference, Side};
pub use self::mirror::shared::{MirrorReport, TellMirrors};
pub use self::router::rewrite;
pub use self::stream::StreamPool;

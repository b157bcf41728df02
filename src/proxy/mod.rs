//! The life of a request on one core, from the first byte of its head to its line in the log.
//!
//! `conn` owns the client's connection and reads heads; `request` routes and answers; `fault` holds a request up or
//! aborts it; `tries` sends it as often as its route says and in time, `attempt` makes one try on one upstream
//! connection (`hash` reads the head that it is about to send); `relay` moves bodies, and `replay` keeps what another
//! try would need; `tunnel` takes over after a 101; `mirror` hands copies of requests to the tasks of `shadow`, whose
//! answers `compare` judges; `reply` says what the proxy answers itself; `record` counts and logs, in one place. What
//! rules do to a request on its way is worked out in `draft`, from `edits` (header operations), `rewrite` (paths,
//! redirects) and `cors`. `core` is what the requests of one core share, `names` of it where undeclared hosts are;
//! `door` is a listener as its connections know it.
//!
//! It must never know how workers are started, or where a plan comes from. Its caller is `worker`.

mod core;
mod downstream;
mod dynamic;
mod l4;
mod mirror;
mod router;
mod stream;

pub use self::core::{Budget, Core, CoreParts, Log, TICK};
pub use self::downstream::h1::serve;
pub use self::downstream::listener::ListenerHandle;
pub use self::dynamic::host_cache::{ResolveAuthority, ResolvedAuthority};
pub use self::mirror::compare::{Difference, Side};
pub use self::mirror::shared::{MirrorReport, TellMirrors};
pub use self::router::rewrite;
pub use self::stream::StreamPool;

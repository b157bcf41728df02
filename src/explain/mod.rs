//! `ringway explain`: which listener, host and rule a request would meet, where it would go, and why it is not another
//! rule that takes it.
//!
//! It uses the matcher of the data path, with a witness, so that the two cannot differ. It reads a plan and has no
//! state; only `live` opens a connection, and only with `--live`; `main` prints the answer.

mod answer;
mod ask;
mod assumed;
mod concern;
mod connection;
mod live;
mod names;
mod resilience;
mod suggest;
mod text;
mod tls;
mod trace;
mod undeclared;
mod words;

pub use answer::{Answer, Cluster, Destination, FailedRule, Host, Listener, Live, Near, RouteVerdict, Rule, WrittenAt};
pub use ask::{BadQuestion, Question};
pub use assumed::explain_world;
pub use concern::Concern;
pub use live::RunningProxy;
pub use resilience::{Abort, Breaker, Connections, Delay, Ejection, Mirror, Probes, Retries, Tries};
pub use tls::Tls;
pub use trace::explain;

//! A request from its parsed head to its line in the log: framing, target, route, attempts, response.
//!
//! `route` decides and answers; `fault` delays or aborts; `retry` makes attempts in time (`timeouts`, `retry_state`),
//! `attempt` makes one at one upstream connection (`hash`, and `upstream_attempt`, which mirrors and tunnels use as well),
//! `exchange` moves its request and response at once, `relay` their bodies (`body`, `replay`). `local_reply` sends the proxy's
//! own responses, `termination` lists how a request can end, `record` counts and logs it. Header operations are computed in
//! `header_scratch` from `templates`, `rewrite` and `cors`.
//!
//! It must never know how a client's connection is accepted or closed. Its caller is `downstream`.

pub(crate) mod attempt;
pub(crate) mod attempt_result;
pub(crate) mod body;
pub(crate) mod cors;
pub(crate) mod exchange;
pub(crate) mod fault;
pub(crate) mod hash;
pub(crate) mod header_scratch;
pub(crate) mod local_reply;
pub(crate) mod parsed_request;
pub(crate) mod progress;
pub(crate) mod record;
pub(crate) mod relay;
pub(crate) mod replay;
pub(crate) mod retry;
pub(crate) mod retry_state;
pub mod rewrite;
pub(crate) mod route;
pub(crate) mod stream_info;
pub(crate) mod templates;
pub(crate) mod termination;
pub(crate) mod timeouts;
pub(crate) mod upstream_attempt;
pub(crate) mod waiting;

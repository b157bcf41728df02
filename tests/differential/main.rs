//! ringway beside Envoy 1.40: the same YAML (for Envoy through `translate`), the same raw requests, the same origins.
//! Status, headers, body, what the origin received and the access log must agree, but for what a case states, with
//! the decision that says so. To add a case, add a row to a table under `cases/`: bytes to send, what the origin does.
//! `DIFFERENTIAL_SHOW=1 cargo test --test differential -- --nocapture` prints all that Envoy did.

mod bench;
mod case;
mod cases;
mod hashing;
#[path = "../support/name_server.rs"]
mod name_server;
mod observe;
#[path = "../support/mod.rs"]
mod support;
mod translate;

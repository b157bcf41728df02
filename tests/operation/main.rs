//! A running process and its operator: reloads, the admin endpoints, drains and the log, also while others do their worst
//! to the admin.

#![allow(clippy::disallowed_methods, reason = "a test drives real processes and reads the real clock")]

mod admin;
mod admin_hostile;
mod reload;
#[path = "../support/mod.rs"]
mod support;

//! The commands from outside: what `check` says of a configuration, class by class and as a process; `explain`; what `run`
//! and `demo` print, refuse and end with; and the reference of fields that `check` holds documents to.

#![allow(clippy::disallowed_methods, reason = "a test drives real processes and reads the real clock")]

mod bad_yaml;
mod check;
mod demo;
mod explain;
mod fields;
mod remarks;
mod run;
#[path = "../support/mod.rs"]
mod support;

use std::io::Write as _;
use std::process::{Command, Stdio};

/// How a command ended.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the binary in the repository's root with this standard input.
pub(crate) fn ringway(arguments: &[&str], stdin: &[u8]) -> Outcome {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // It may end without reading: then nobody takes these bytes, which is fine.
    let _ = child.stdin.take().expect("standard input is piped").write_all(stdin);
    let output = child.wait_with_output().expect("the binary ends");
    let text = |bytes| String::from_utf8(bytes).expect("the binary writes UTF-8");
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

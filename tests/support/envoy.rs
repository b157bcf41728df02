//! The real Envoy with a static bootstrap: the oracle.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::client::Client;
use super::process::Process;
use super::python;

/// A running Envoy with one worker.
pub(crate) struct Envoy {
    process: Process,
    dir: TempDir,
}

impl Envoy {
    /// Where the binary is, or why it cannot be had.
    pub(crate) fn binary() -> Result<PathBuf, String> {
        python::site_package("envoy/_bin/envoy")
    }

    /// Starts it on `bootstrap`, whose admin listens on `admin`; ready when `/ready` says so.
    pub(crate) fn start(bootstrap: &Value, admin: SocketAddr) -> Self {
        let binary = Self::binary().unwrap_or_else(|why| panic!("Envoy: {why}"));
        let dir = TempDir::new().expect("a temporary folder");
        let config = dir.path().join("bootstrap.json");
        std::fs::write(&config, serde_json::to_vec_pretty(bootstrap).expect("JSON")).expect("write the bootstrap");
        let mut command = Command::new(binary);
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]);
        command.args(["--file-flush-interval-msec", "50", "--config-path"]).arg(&config);
        let mut process = Process::start("envoy", &mut command);
        process.wait_until("ready", || ready(admin));
        Self { process, dir }
    }

    /// Everything that it wrote on standard error.
    pub(crate) fn said(&self) -> String {
        self.process.said()
    }
}

/// Whether an admin at this address answers `/ready` with 200; ringway's and Envoy's alike.
pub(crate) fn ready(admin: SocketAddr) -> bool {
    let Ok(mut client) = Client::try_connect(admin) else { return false };
    let asked = client.try_send("GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n");
    asked.is_ok() && matches!(client.try_response_to("GET"), Ok(Some(response)) if response.status == 200)
}

//! The real httpbin under gunicorn, as the origin of the tutorial.

use std::net::SocketAddr;
use std::process::Command;

use super::client::Client;
use super::ports;
use super::process::Process;
use super::python;

/// A running httpbin.
pub(crate) struct Httpbin {
    pub(crate) address: SocketAddr,
    process: Process,
}

impl Httpbin {
    /// Starts it with two worker processes that keep connections open; ready when it answers.
    pub(crate) fn start() -> Self {
        Self::start_at(ports::loopback(ports::free()))
    }

    /// As [`Httpbin::start`], at an address of its own.
    pub(crate) fn start_at(address: SocketAddr) -> Self {
        let venv = python::venv().unwrap_or_else(|why| panic!("httpbin needs the venv of the tests: {why}"));
        let mut command = Command::new(venv.join("bin/gunicorn"));
        command.args(["--workers", "2", "--worker-class", "gthread", "--threads", "8", "--keep-alive", "60"]);
        command.args(["--no-control-socket", "--bind", &address.to_string(), "httpbin:app"]);
        let mut process = Process::start("gunicorn", &mut command);
        process.wait_until("answering", || {
            let Ok(mut client) = Client::try_connect(address) else { return false };
            let asked = client.try_send("GET /status/204 HTTP/1.1\r\nHost: httpbin\r\n\r\n");
            asked.is_ok() && matches!(client.try_response_to("GET"), Ok(Some(response)) if response.status == 204)
        });
        Self { address, process }
    }

    /// The port to write into an endpoint.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }
}

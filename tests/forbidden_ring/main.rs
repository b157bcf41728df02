//! Where io_uring is forbidden: `driver: auto` says so and serves on epoll, `driver: io_uring` refuses to start.

#[path = "../support/mod.rs"]
mod support;

use std::net::TcpStream;
use std::process::Command;

use rustix::process::Signal;

use support::client::once;
use support::ports;
use support::process::Process;

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [\"*\"]
";

fn start(driver: &str, port: u16) -> (Process, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("gateway.yaml"), GATEWAY).expect("write YAML");
    let mut command = Command::new("python3");
    command.arg("tests/forbidden_ring/forbid.py").arg(env!("CARGO_BIN_EXE_ringway"));
    command.args(["run", "--admin", "off", "--bind", "127.0.0.1", "--driver", driver]);
    command.arg("--ports").arg(format!("80={port}")).arg("-c").arg(dir.path());
    (Process::start("ringway without io_uring", &mut command), dir)
}

const CURE: &str = "io_uring refused: Operation not permitted (os error 1); allow io_uring_setup, io_uring_enter and \
                    io_uring_register in the container's seccomp profile, or set kernel.io_uring_disabled=0";

#[test]
fn auto_falls_back_to_epoll_and_says_what_to_do() {
    let port = ports::free();
    let (mut process, _dir) = start("auto", port);
    process.wait_until("listening", || TcpStream::connect(ports::loopback(port)).is_ok());
    let response = once(ports::loopback(port), b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(response.status, 404);
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(0));
    let said = process.finish();
    assert!(said.contains(CURE), "{said}");
    assert!(said.contains("driver epoll"), "{said}");
    assert_eq!(said.matches("refused").count(), 1, "once is enough: {said}");
}

#[test]
fn io_uring_alone_refuses_to_start() {
    let (mut process, _dir) = start("io_uring", ports::free());
    let status = process.wait();
    let said = process.finish();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("driver io_uring is not available here: ") && said.contains(CURE), "{said}");
}

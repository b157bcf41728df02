//! `ringway demo`: the curl lines that it prints work when they are pasted, wherever it had to listen, and Ctrl-C ends
//! it well. The commands of the README of `config/quickstart`, which the demo serves, are pasted too.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::process::Process;
use crate::support::wait::eventually;
use rustix::process::Signal;

/// A running demo that has said what to type.
struct Demo {
    process: Process,
    took: Duration,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let began = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        let mut process = Process::start_printing("ringway demo", command.arg("demo").args(arguments));
        // The last line of what it has to say before the access log.
        let said = |process: &Process| process.printed().contains("Ctrl-C ends the demo.\n");
        let mut took = None;
        while took.is_none() {
            assert!(process.ended().is_none(), "the demo ended:\n{}", process.finish());
            assert!(began.elapsed() < crate::support::wait::PATIENCE, "nothing to type:\n{}", process.printed());
            took = said(&process).then(|| began.elapsed());
            std::thread::sleep(Duration::from_millis(1));
        }
        Self { process, took: took.unwrap_or_default() }
    }

    /// A demo on ports of the kernel's choice.
    fn anywhere() -> Self {
        Self::start(&["--ports", "80=0", "--admin", "127.0.0.1:0"])
    }

    /// The lines to paste, in order.
    fn lines(&self) -> Vec<String> {
        self.process.printed().lines().filter_map(|line| line.strip_prefix("  curl ").map(str::to_owned)).collect()
    }

    /// The port of the listener, as the first line to paste has it.
    fn port(&self) -> u16 {
        let lines = self.lines();
        let port = lines[0].rsplit_once("127.0.0.1:").and_then(|(_, rest)| rest.split_once('/')).map(|(port, _)| port);
        port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("a port in {lines:?}"))
    }

    /// The port of the listener of applications.
    fn mesh(&self) -> u16 {
        let lines = self.lines();
        let after = lines.iter().find_map(|line| line.split_once("-x http://127.0.0.1:"));
        let port = after.and_then(|(_, rest)| rest.split_once(' ')).and_then(|(port, _)| port.parse().ok());
        port.unwrap_or_else(|| panic!("a port in {lines:?}"))
    }

    /// Ctrl-C; gives all that it printed.
    fn end(mut self) -> String {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port()));
        self.process.signal(Signal::INT);
        let status = self.process.wait();
        let said = self.process.finish();
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(Client::try_connect(address).is_err(), "somebody still listens on {address}");
        self.process.printed()
    }
}

/// What a shell prints when `line` is pasted into it.
#[track_caller]
fn paste(line: &str) -> String {
    let output = Command::new("sh").arg("-c").arg(line).output().expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{line}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    text
}

/// Pastes every printed line and checks that it does what the remark below it says.
fn paste_all(demo: &Demo) {
    let answers: Vec<String> = demo.lines().iter().map(|line| paste(&format!("curl -sS {line}"))).collect();
    let starts: Vec<&str> = answers.iter().filter_map(|answer| answer.lines().next()).collect();
    let [get, headers, teapot, post, delay, not_exposed, outward, stats] = &answers[..] else { panic!("{starts:?}") };
    assert!(get.starts_with("HTTP/1.1 200 OK\r\n"), "{get}");
    assert!(get.contains("x-origin-version: v1\r\n") || get.contains("x-origin-version: v2\r\n"), "{get}");
    assert!(headers.contains("x-origin-version: v2\r\n"), "{headers}");
    assert!(headers.contains("\"X-Version\": \"v2\"") && headers.contains("\"X-Envoy-Attempt-Count\": \"1\""));
    assert!(teapot.starts_with("HTTP/1.1 418 "), "{teapot}");
    assert!(post.starts_with("HTTP/1.1 200 OK\r\n") && post.contains("\"hello\": \"world\""), "{post}");
    let time = delay.lines().find_map(|line| line.strip_prefix("x-envoy-upstream-service-time: "));
    let time: u64 = time.and_then(|time| time.parse().ok()).unwrap_or_else(|| panic!("no service time in {delay}"));
    assert!((2_000..10_000).contains(&time), "{time} ms for /delay/2");
    assert!(not_exposed.starts_with("HTTP/1.1 404 Not Found\r\n"), "{not_exposed}");
    assert!(outward.starts_with("HTTP/1.1 200 OK\r\n") && outward.contains("\"origin\""), "{outward}");
    let counted = |name: &str| stats.lines().any(|line| line.starts_with(name) && !line.ends_with(": 0"));
    assert!(counted("cluster.outbound|8000|v2|httpbin.default.svc.cluster.local.upstream_rq_total: "), "{stats}");
    assert!(counted("cluster.outbound|80||egressgateway.default.svc.cluster.local.upstream_rq_total: "), "{stats}");
    assert!(counted("cluster.outbound|80||httpbin.org.upstream_rq_total: "), "{stats}");
}

#[test]
fn its_lines_work_when_pasted() {
    let demo = Demo::anywhere();
    paste_all(&demo);
    // The access log follows on the same standard output.
    eventually("the access log", || {
        let printed = demo.process.printed();
        ["GET /status/418", "POST /post", "GET /ip"].iter().all(|line| printed.contains(line)).then_some(())
    });
    let printed = demo.end();
    let not_found = printed.lines().find(|line| line.contains("\"GET /ip HTTP/1.1\" 404 NR route_not_found"));
    assert!(not_found.is_some(), "{printed}");
}

/// The command of the README, without a flag, where something else has every port that it would like: the machine's
/// other services, or a second demo.
#[test]
fn it_goes_elsewhere_when_its_ports_are_taken() {
    // Whoever has a port that cannot be taken here has taken it just as well.
    let taken: Vec<TcpListener> = [8080, 15000, 15001, 9001, 9002]
        .iter()
        .filter_map(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).ok())
        .collect();
    let demo = Demo::start(&[]);
    assert!(![8080, 15000, 15001, 9001, 9002].contains(&demo.port()));
    assert_ne!(demo.mesh(), 15001);
    paste_all(&demo);
    demo.end();
    drop(taken);
}

#[test]
fn it_answers_within_a_second() {
    // The fastest of a few starts: what is asked is how long it takes, not how busy the machine is.
    let took = (0..5).map(|_| {
        let demo = Demo::anywhere();
        let began = Instant::now();
        paste(&format!("curl -sS {}", demo.lines()[0]));
        let took = demo.took + began.elapsed();
        demo.end();
        took
    });
    let fastest = took.min().unwrap_or(Duration::MAX);
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
}

/// The reader of `ringway demo | head -1` goes away; the demo does not.
#[test]
fn it_serves_on_when_nobody_reads_what_it_prints() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let admin = crate::support::ports::loopback(crate::support::ports::free());
    let port = crate::support::ports::free();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.args(["demo", "--ports", &format!("80={port}"), "--admin", &admin.to_string()]);
    let mut process = Process::start_with_stdout("ringway demo", &mut command, writer.into());
    process.wait_until("ready", || crate::support::envoy::ready(admin));
    for _ in 0..3 {
        let response = crate::support::client::once(
            crate::support::ports::loopback(port),
            "GET /get HTTP/1.1\r\nHost: httpbin.example.com\r\n\r\n",
        );
        assert_eq!(response.status, 200);
    }
    process.signal(Signal::INT);
    let status = process.wait();
    let said = process.finish();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn wrong_flags_end_with_two() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    let mut process = Process::start("ringway demo", command.args(["demo", "--driver", "uring"]));
    let status = process.wait();
    let said = process.finish();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("expected auto, io_uring or epoll"), "{said}");
}

/// Every command of the quickstart's README, on the demo that serves those files.
#[test]
fn the_commands_of_the_quickstart_work() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/config/quickstart/README.md");
    let text = std::fs::read_to_string(readme).expect("the README of the quickstart");
    let demo = Demo::anywhere();
    let (here, mesh) = (format!("127.0.0.1:{}/", demo.port()), format!("127.0.0.1:{} ", demo.mesh()));
    let commands: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.contains("curl "))
        .map(|line| line.replace("127.0.0.1:8080/", &here).replace("127.0.0.1:15001 ", &mesh))
        .collect();
    let answers: Vec<String> = commands.iter().map(|command| paste(command)).collect();
    let [get, eight, v2, not_exposed, no_host, outward] = &answers[..] else { panic!("{commands:#?}") };
    assert!(get.starts_with("HTTP/1.1 200 OK\r\n"), "{get}");
    assert_eq!(eight.matches("\"X-Request-Id\"").count(), 8, "{eight}");
    assert!(v2.contains("\"version\": \"v2\""), "{v2}");
    assert!(not_exposed.starts_with("HTTP/1.1 404 Not Found\r\n"), "{not_exposed}");
    assert!(no_host.starts_with("HTTP/1.1 404 Not Found\r\n"), "{no_host}");
    assert!(outward.contains("\"origin\""), "{outward}");
    eventually("both hops in the log", || {
        let printed = demo.process.printed();
        let hops = [" outbound|80||httpbin.org ", " outbound|80||egressgateway.default.svc.cluster.local "];
        hops.iter().all(|cluster| printed.contains(cluster)).then_some(())
    });
    demo.end();
}

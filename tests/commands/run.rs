//! `ringway run` where things go wrong around it: what it cannot have, it says with its place and ends with 1 (or 2 when
//! the configuration or the command line is wrong); what runs out later degrades the service and loses nothing.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::ports;
use crate::support::process::Process;
use crate::support::ringway::{DRIVERS, Driver, Setup, everything_to};
use crate::support::wait::{PATIENCE, eventually};
use rustix::process::Signal;
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

const REQUEST: &str = "GET /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n";

fn setup() -> Setup {
    Setup::new(Driver::IoUring).yaml(everything_to(&[]))
}

/// Ends by itself with exit code 1 and this error as the last line, without a panic.
#[track_caller]
fn fails(setup: Setup, error: &str) {
    let (code, said) = setup.fail();
    assert_eq!(said.lines().last(), Some(format!("ringway: {error}").as_str()), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, ports::free())).expect("a port");
    let address = taken.local_addr().expect("an address");
    let why = "Address already in use (os error 98) (another process has it; `ss -ltnp` shows which)";
    let error = format!("cannot listen on {address} for Gateway port 80: {why}");
    fails(setup().bound(80, address.port()), &error);
    fails(setup().admin(address), &format!("cannot listen on {address} for the admin endpoints: {why}"));
}

/// A second ringway would share the port silently, if SO_REUSEPORT had its way.
#[test]
fn a_port_that_another_ringway_has() {
    let running = setup().start();
    let address = running.address();
    fails(
        setup().bound(80, address.port()),
        &format!(
            "cannot listen on {address} for Gateway port 80: Address already in use (os error 98) (another process has \
             it; `ss -ltnp` shows which)"
        ),
    );
    assert_eq!(crate::support::client::once(address, REQUEST).status, 503, "the first one serves on");
    running.stop();
}

#[test]
fn an_address_of_another_host() {
    let port = ports::free();
    fails(
        setup().bind(Ipv4Addr::new(192, 0, 2, 1)).bound(80, port),
        &format!(
            "cannot listen on 192.0.2.1:{port} for Gateway port 80: Cannot assign requested address (os error 99) (no \
             interface of this host has that address)"
        ),
    );
}

#[test]
fn a_port_that_needs_a_privilege() {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first: u16 = first.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024);
    // Where every port may be bound, as in many a container, a network namespace begins with the kernel's default; and
    // with its loopback down.
    let elsewhere: &[&str] = &["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];
    let launcher = if first > 1 { &[] } else { elsewhere };
    if first <= 1 && !Command::new("unshare").args(["--net", "true"]).status().is_ok_and(|status| status.success()) {
        crate::support::skip::loudly(&format!(
            "SKIPPED: every port may be bound here (net.ipv4.ip_unprivileged_port_start is {first}), and no network \
             namespace can be made"
        ));
        return;
    }
    // The bounding set is the thread's, and its children's: without the capability in it, root gains it no more.
    let ended = std::thread::spawn(|| {
        // Fails for whoever may not: that user's children cannot bind the port in any case.
        let _ = remove_capability_from_bounding_set(CapabilitySet::NET_BIND_SERVICE);
        setup().launcher(launcher).bound(80, 1).fail()
    });
    let (code, said) = ended.join().expect("no panic");
    let expected = "ringway: cannot listen on 127.0.0.1:1 for Gateway port 80: Permission denied (os error 13) (ports \
                    below 1024 need CAP_NET_BIND_SERVICE; or bind another: `ports: {80: 8080}` in the Proxy document)";
    assert_eq!((code, said.lines().last()), (Some(1), Some(expected)), "{said}");
}

#[test]
fn an_access_log_that_cannot_be_opened() {
    let path = "/nowhere/access.log";
    fails(
        setup().access_log(path),
        &format!("cannot open the access log {path}: No such file or directory (os error 2)"),
    );
    fails(setup().access_log("/"), "cannot open the access log /: Is a directory (os error 21)");
}

#[test]
fn cpus_that_it_may_not_use() {
    let (code, said) = setup().cpus(&[0, 4_000]).fail();
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("ringway: cpus: CPU 4000 is not among those the process may use (0"), "{said}");
    assert_eq!(code, Some(1));
    let (code, said) = setup().flags(&["--cpus", "4000"]).fail();
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("ringway: cpus: 4000 were asked for, and the process may use "), "{said}");
    assert_eq!(code, Some(1));
}

/// A mask narrower than the machine: `taskset`, a container's cpuset.
#[test]
fn cpus_that_the_mask_leaves_out() {
    let (code, said) = setup().launcher(&["taskset", "--cpu-list", "0"]).cpus(&[1]).fail();
    assert_eq!(said.lines().last(), Some("ringway: cpus: CPU 1 is not among those the process may use (0)"), "{said}");
    assert_eq!(code, Some(1));
}

#[test]
fn a_wrong_command_line_or_document_ends_with_two() {
    for (flags, word) in [
        (&["--driver", "uring"][..], "expected auto, io_uring or epoll"),
        (&["--cpus", "0"], "at least one CPU is needed"),
        (&["--ports", "80"], "expected GATEWAY=PORT, as in 80=8080"),
        (&["--admin", "nowhere"], "expected IP:PORT, as in 127.0.0.1:15000, or off"),
        (&["--bind", "localhost"], "invalid IP address"),
    ] {
        let (code, said) = setup().flags(flags).fail();
        assert!(said.contains(word), "{flags:?}: {said}");
        assert_eq!(code, Some(2), "{flags:?}");
    }
    let (code, said) = setup().limit("headersTimeout", "soon").fail();
    assert!(
        said.contains("Proxy/default/test: spec.limits.headersTimeout: error: \"soon\" is not a duration"),
        "{said}"
    );
    assert_eq!(code, Some(2));
}

/// The disk is full: nobody waits for the log, the lines are counted, the trouble is told once.
#[test]
fn an_access_log_that_takes_nothing() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let ringway = Setup::new(driver).yaml(everything_to(&[origin.port()])).access_log("/dev/full").start();
        let mut client = ringway.client();
        for _ in 0..20 {
            assert_eq!(client.ask(REQUEST).status, 200);
        }
        eventually("20 lines dropped", || (ringway.stat("access_log.dropped_lines") == 20).then_some(()));
        assert_eq!(ringway.stat("access_log.written_lines"), 0);
        assert_eq!(client.ask(REQUEST).status, 200);
        drop(client);
        let stopped = ringway.stop();
        let told = stopped.said.matches("access log cannot be written; lines are dropped").count();
        assert_eq!(told, 1, "{}", stopped.said);
    }
}

/// `ringway run … | something` where something goes away.
#[test]
fn a_standard_output_that_nobody_reads() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let setup = Setup::new(driver).yaml(everything_to(&[origin.port()])).access_log("/dev/stdout");
        let ringway = setup.start_with_stdout(writer.into());
        assert_eq!(ringway.client().ask(REQUEST).status, 200);
        drop(reader);
        let mut client = ringway.client();
        for _ in 0..5 {
            assert_eq!(client.ask(REQUEST).status, 200);
        }
        eventually("a line dropped", || (ringway.stat("access_log.dropped_lines") > 0).then_some(()));
        drop(client);
        let stopped = ringway.stop();
        assert!(!stopped.said.contains("panicked"), "{}", stopped.said);
    }
}

/// The other commands print to a pipe as well.
#[test]
fn printing_to_a_closed_pipe_is_no_panic() {
    for arguments in [&["check", "config/quickstart"][..], &["--help"], &["--version"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
        let mut process = Process::start_with_stdout("ringway", &mut command, writer.into());
        let status = process.wait();
        let said = process.finish();
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
        assert_eq!(status.code(), Some(0), "{arguments:?}: {said}");
    }
}

/// `ulimit -n`: ringway takes as many connections as it has descriptors for, a second one each for the upstream, and
/// closes the rest at once; those that it took are served.
#[test]
fn few_descriptors_mean_few_connections() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let setup = Setup::new(driver).yaml(everything_to(&[origin.port()]));
        // 128 are kept for other things; half of the rest are clients.
        let ringway = setup.launcher(&["sh", "-c", "ulimit -n 168; exec \"$@\"", "sh"]).start();
        let mut clients: Vec<Client> = (0..60).map(|_| ringway.client()).collect();
        let mut served = 0;
        for client in &mut clients {
            let asked = client.try_send(REQUEST).and_then(|()| client.try_response_to("GET"));
            match asked {
                Ok(Some(response)) => {
                    assert_eq!(response.status, 200);
                    served += 1;
                }
                Ok(None) => {}
                Err(error) => assert!(crate::support::message::broken(&error), "{error}"),
            }
        }
        assert_eq!(served, 20);
        assert_eq!(ringway.sum_of("downstream_cx_overflow"), 40);
        clients.clear();
        eventually("room again", || {
            let mut client = ringway.client();
            let asked = client.try_send(REQUEST).and_then(|()| client.try_response_to("GET"));
            matches!(asked, Ok(Some(response)) if response.status == 200).then_some(())
        });
        let stopped = ringway.stop();
        let warning = "168 descriptors (ulimit -n) allow 20 client connections, and no more are taken";
        assert!(stopped.said.contains(warning), "{}", stopped.said);
        assert!(!stopped.said.contains("panicked"), "{}", stopped.said);
    }
}

/// Told to take more connections than there are descriptors, it leaves clients in the listen queue until others have
/// gone. Every one of them is answered in the end: with 200, or 503 where it had no descriptor to go upstream with.
#[test]
fn no_descriptor_left() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let setup = Setup::new(driver).yaml(everything_to(&[origin.port()])).limit("maxConnections", "10000");
        let ringway = setup.launcher(&["sh", "-c", "ulimit -n 60; exec \"$@\"", "sh"]).start();
        let mut clients: Vec<Client> = (0..200).map(|_| ringway.client()).collect();
        for client in &mut clients {
            client.send(REQUEST);
        }
        let mut statuses = Vec::new();
        for mut client in clients {
            statuses.push(client.response().status); // and this one goes, which makes room for those in the queue
        }
        let other = statuses.iter().find(|status| ![200, 503].contains(*status));
        assert_eq!(other, None, "{statuses:?}");
        eventually("all is well again", || {
            let status = crate::support::client::once(ringway.address(), REQUEST).status;
            (status == 200).then_some(())
        });
        let stopped = ringway.stop();
        let warning = "allow 1 client connections, fewer than spec.limits.maxConnections: 10000";
        assert!(stopped.said.contains(warning), "{}", stopped.said);
        assert!(!stopped.said.contains("panicked"), "{}", stopped.said);
        let logged = stopped.log.iter().filter(|line| line.contains("\"GET /x HTTP/1.1\"")).count();
        assert!(logged >= 201, "{logged} requests in the log");
    }
}

/// The second signal means now.
#[test]
fn a_second_signal_ends_the_drain() {
    for (driver, signal) in DRIVERS.into_iter().zip([Signal::TERM, Signal::INT]) {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let origin = Origin::start(move |peer| {
            peer.request()?;
            let _ = wait.lock().expect("nobody panics while waiting").recv_timeout(PATIENCE); // no answer is the point
            Ok(())
        });
        let mut ringway = Setup::new(driver).yaml(everything_to(&[origin.port()])).start();
        let mut client = ringway.client();
        client.send(REQUEST);
        eventually("the request at the origin", || (!origin.requests().is_empty()).then_some(()));
        ringway.process.signal(signal);
        eventually("draining", || (ringway.admin("/ready").status == 503).then_some(()));
        assert!(ringway.process.ended().is_none(), "it waits for the request, for 45 s");
        let began = Instant::now();
        ringway.process.signal(signal);
        client.expect_closed();
        ringway.ended();
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        drop(go);
    }
}

/// A supervisor's restart: the port is free again as soon as the process has ended.
#[test]
fn it_can_be_started_again_at_once() {
    for driver in DRIVERS {
        let port = ports::free();
        for _ in 0..5 {
            let ringway = Setup::new(driver).yaml(everything_to(&[])).bound(80, port).start();
            assert_eq!(ringway.client().ask(REQUEST).status, 503);
            ringway.stop();
        }
    }
}

/// Nothing but the command line: no admin, no log, standard input as the configuration.
#[test]
fn it_runs_from_standard_input() {
    let port = ports::free();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["run", "-c", "-", "--admin", "off", "--cpus", "1", "--bind", "127.0.0.1"])
        .args(["--ports", &format!("80={port}")])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    std::io::Write::write_all(&mut stdin, everything_to(&[]).as_bytes()).expect("it reads");
    drop(stdin);
    let status = eventually("an answer", || {
        let mut client = Client::try_connect(ports::loopback(port)).ok()?;
        client.try_send(REQUEST).ok()?;
        client.try_response_to("GET").ok()?.map(|response| response.status)
    });
    assert_eq!(status, 503);
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, Signal::TERM).expect("a signal");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

/// A signal that comes while it starts is not lost, and does not kill it half-way.
#[test]
fn a_signal_while_it_starts() {
    for delay in [0, 1, 2, 4, 8, 16] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        command.args(["demo", "--ports", "80=0", "--admin", "127.0.0.1:0"]);
        let mut process = Process::start("ringway demo", &mut command);
        // Not before it has caught its signals: the kernel ends a process that has not, and rightly so.
        let file = format!("/proc/{}/status", process.id());
        process.wait_until("catching SIGTERM", || {
            let status = std::fs::read_to_string(&file).unwrap_or_default();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
            mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask & (1 << 14) != 0)
        });
        std::thread::sleep(Duration::from_millis(delay)); // some point of the start, no matter which
        process.signal(Signal::TERM);
        let status = process.wait();
        let said = process.finish();
        assert_eq!(status.code(), Some(0), "{delay} ms: {said}");
    }
}

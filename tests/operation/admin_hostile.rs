//! The admin endpoints serve their operator whatever others do: connections that are silent, slow or do not read, in any
//! number, and requests that web pages make a browser send.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use crate::support::client::{Client, once};
use crate::support::origin::Origin;
use crate::support::ringway::{Driver, Ringway, Setup, everything_to};
use crate::support::wait::eventually;

/// One crowd at a time: another test's would be on the same cores.
static ALONE: Mutex<()> = Mutex::new(());

/// Connections of one kind of client. A server that waits for the largest to go, as many at a time as it has places and as
/// long as it is patient with each, is not done before a test's patience ends: `(2,000 / 64) · 5 s`.
const CROWDS: [usize; 3] = [20, 200, 2_000];

fn start(setup: Setup) -> (Origin, Ringway) {
    let origin = Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let ringway = setup.yaml(everything_to(&[origin.port()])).start();
    (origin, ringway)
}

/// The turn of a test, with as many descriptors as there may be: the crowds are larger than what a shell allows its
/// children.
fn alone() -> MutexGuard<'static, ()> {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }); // told by the connect
    alone
}

/// One of them; what it sent, if that is all.
fn one(address: SocketAddr, says: &str) -> Option<TcpStream> {
    // Turned away: as good as closed.
    let mut stream = TcpStream::connect_timeout(&address, crate::support::wait::PATIENCE).ok()?;
    let _ = stream.write_all(says.as_bytes()); // closed already
    Some(stream)
}

/// Asserts that an operator has an answer while the crowd stands: how soon is the machine's affair, as long as nobody of the
/// crowd is waited for.
#[track_caller]
fn answers(ringway: &Ringway, who: &str) {
    let ready = ringway.admin("/ready");
    assert_eq!((ready.status, ready.text()), (200, "LIVE\n".to_owned()), "{who}");
}

/// What the clients of a crowd say, and then nothing more.
const KINDS: [(&str, &str); 6] = [
    ("silent", ""),
    ("half a head", "GET /ready HTTP/1.1\r\nHost: local"),
    ("half a body", "POST /logging HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nlevel"),
    (
        "waits for leave",
        "POST /logging HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    ),
    ("idle after an answer", "GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("does not read", "GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n"),
];

#[test]
fn crowds_keep_nobody_waiting() {
    let _alone = alone();
    let (_origin, ringway) = start(Setup::new(Driver::Epoll));
    for size in CROWDS {
        for (kind, says) in KINDS {
            let crowd: Vec<_> = (0..size).map(|_| one(ringway.admin, says)).collect();
            for _ in 0..3 {
                answers(&ringway, &format!("{size} connections, {kind}"));
            }
            drop(crowd);
        }
    }
    assert_eq!(once(ringway.address(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "ok");
    ringway.stop();
}

/// Answers of a megabyte and more, to clients that have room for a few kilobytes.
#[test]
fn answers_that_are_not_read_keep_nobody_waiting() {
    let _alone = alone();
    let service = |n: usize| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{n}}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n"
        )
    };
    let (_origin, ringway) =
        start(Setup::new(Driver::Epoll).mesh("ALLOW_ANY").yaml((0..600).map(service).collect::<String>()));
    let deaf = |says: &str| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        socket.connect(&ringway.admin.into()).ok()?;
        let mut stream = TcpStream::from(socket);
        let _ = stream.write_all(says.as_bytes()); // closed already
        Some(stream)
    };
    let length = ringway.admin("/config_dump").body.bytes.len();
    assert!(length > 1_000_000, "{length}");
    for path in ["/config_dump", "/stats"] {
        for size in [20, 2_000] {
            let says = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let crowd: Vec<_> = (0..size).map(|_| deaf(&says)).collect();
            for _ in 0..3 {
                answers(&ringway, &format!("{size} connections that do not read {path}"));
            }
            // The others wait until those are cut off.
            assert_eq!(ringway.admin("/server_info").status, 200);
            drop(crowd);
        }
    }
    ringway.stop();
}

/// With few descriptors there are fewer places, and clients keep theirs.
#[test]
fn crowds_do_not_take_the_last_descriptors() {
    let _alone = alone();
    for descriptors in [64, 160] {
        let setup = Setup::new(Driver::Epoll).launcher(&["prlimit", &format!("--nofile={descriptors}:{descriptors}")]);
        let (_origin, ringway) = start(setup);
        for size in [20, 200] {
            for (kind, says) in KINDS {
                let crowd: Vec<_> = (0..size).map(|_| one(ringway.admin, says)).collect();
                answers(&ringway, &format!("{descriptors} descriptors, {size} connections, {kind}"));
                assert_eq!(once(ringway.address(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "ok");
                drop(crowd);
            }
        }
        ringway.stop();
    }
}

/// A byte now and then from each of them, without an end.
#[test]
fn dripping_connections_keep_nobody_waiting() {
    let _alone = alone();
    let (_origin, ringway) = start(Setup::new(Driver::Epoll));
    for says in [
        "GET /ready HTTP/1.1\r\nHost: localhost\r\nX: ",
        "POST /logging HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n",
    ] {
        let (stop, rounds, address) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), ringway.admin);
        let dripping = {
            let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
            std::thread::spawn(move || {
                let mut crowd: Vec<_> = (0..300).map(|_| one(address, says)).collect();
                while !stop.load(Ordering::Relaxed) {
                    for client in &mut crowd {
                        let stays = client.as_mut().is_some_and(|stream| stream.write_all(b"x").is_ok());
                        if !stays {
                            *client = one(address, says);
                        }
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let mut answered = 0;
        eventually("100 answers, and 100 bytes of each of the crowd", || {
            answers(&ringway, says);
            answered += 1;
            (answered >= 100 && rounds.load(Ordering::Relaxed) >= 100).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        dripping.join().expect("no panic");
    }
    ringway.stop();
}

/// Threads and memory are bounded, whatever the number of connections.
#[test]
fn a_crowd_costs_little() {
    let _alone = alone();
    let (_origin, ringway) = start(Setup::new(Driver::Epoll));
    answers(&ringway, "nobody else");
    let process = &ringway.process;
    let (threads, memory, descriptors) = (process.threads(), process.memory_kib("VmRSS"), process.descriptors().len());
    let said = format!("GET /ready HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(50_000));
    let _crowd: Vec<_> = (0..1_000).map(|_| one(ringway.admin, &said)).collect();
    assert_eq!(ringway.admin("/ready").status, 200);
    let (more_threads, open) = (process.threads(), process.descriptors().len());
    assert!(more_threads <= threads + 16, "{threads} threads became {more_threads}");
    assert!(open <= descriptors + 64, "{descriptors} descriptors became {open}");
    let grown = process.memory_kib("VmRSS").saturating_sub(memory);
    assert!(grown < 32 * 1024, "{grown} kB more");
    ringway.stop();
}

/// A request of a page whose name was pointed at this host by its DNS.
#[test]
fn a_page_of_another_name_sees_nothing() {
    let (_origin, ringway) = start(Setup::new(Driver::Epoll));
    let port = ringway.admin.port();
    for (host, status) in [
        (format!("evil.example:{port}"), 403),
        ("evil.example".to_owned(), 403),
        (format!("127.0.0.1:{port}"), 200),
        (format!("LocalHost:{port}"), 200),
        ("[::1]".to_owned(), 200),
    ] {
        let mut client = Client::connect(ringway.admin);
        let answer = client.ask(format!("GET /config_dump HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.status, status, "{host}");
        assert_eq!(answer.text().contains("static_clusters"), status == 200, "{host}");
    }
    ringway.stop();
}

//! What an idle connection costs. Figures are printed (`cargo test --release --test memory -- --nocapture`), and bounded.

#![allow(clippy::disallowed_methods, reason = "a test drives real processes and reads the real clock")]

#[path = "support/mod.rs"]
mod support;

use support::client::Client;
use support::origin::Origin;
use support::ringway::{DRIVERS, Setup, everything_to};
use support::wait::eventually;

/// Connections held open, if the process may have so many descriptors.
const CONNECTIONS: u64 = 10_000;

/// Bytes of ringway's memory for a keep-alive connection between two requests: a head buffer of one page, the state of
/// its task, its place in the tables.
const ALLOWED_BYTES: u64 = 6 * 1024;

/// Bytes of the state machine of one connection's task: it is allocated for each one, and stays for as long.
const ALLOWED_TASK_BYTES: usize = 1024;

/// The size of what a function with five arguments returns, without calling it.
fn size_of_result<A, B, C, D, E, R>(_: impl FnOnce(A, B, C, D, E) -> R) -> usize {
    size_of::<R>()
}

#[test]
fn the_task_of_a_connection_is_small() {
    let size = size_of_result(ringway::proxy::serve);
    println!("{size} bytes for the task of a connection");
    assert!(size <= ALLOWED_TASK_BYTES, "{size} bytes");
}

#[test]
fn idle_connections_are_small() {
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).expect("the limit of descriptors");
    let count = CONNECTIONS.min(descriptors.saturating_sub(256));
    assert!(count >= 500, "too few descriptors ({descriptors}) to measure anything");
    for driver in DRIVERS {
        let origin = Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        let setup = Setup::new(driver).yaml(everything_to(&[origin.port()]));
        let ringway = setup.limit("maxConnections", &count.to_string()).start();
        let ask = |client: &mut Client| {
            let response = client.ask("GET /x HTTP/1.1\r\nHost: a.example.com\r\nUser-Agent: test\r\n\r\n");
            assert_eq!(response.status, 200);
        };
        // What is made once (tables, the first buffers, the upstream connection) is not a connection's.
        ask(&mut ringway.client());
        eventually("the first one gone", || (ringway.sum_of("downstream_cx_active") == 0).then_some(()));
        let before = ringway.process.memory_kib("VmRSS");
        let mut clients: Vec<Client> = (0..count).map(|_| ringway.client()).collect();
        clients.iter_mut().for_each(ask);
        let after = ringway.process.memory_kib("VmRSS");
        let each = (after - before) * 1024 / count;
        println!("{each} bytes for each of {count} idle connections on {} ({before} to {after} KiB)", driver.name());
        assert!(each <= ALLOWED_BYTES, "{each} bytes");
        // All of them still work, and all of it is given back for others to use.
        clients.iter_mut().step_by(97).for_each(ask);
        clients.into_iter().for_each(Client::reset); // no TIME_WAIT for so many
        ringway.quiet();
        let mut clients: Vec<Client> = (0..count / 4).map(|_| ringway.client()).collect();
        clients.iter_mut().for_each(ask);
        let again = ringway.process.memory_kib("VmRSS");
        // A leak of each connection's task alone would be a tenth.
        assert!(again <= after + after / 20, "{again} KiB after some more, {after} KiB before");
        clients.into_iter().for_each(Client::reset);
        ringway.stop();
    }
}

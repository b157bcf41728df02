//! How long a connection to an upstream lives: its requests, its age, its rest, and the kernel's probes of it.

use std::time::Duration;

use super::breakers::pool;
use super::{Bench, get, on_each_driver, says_path};
use crate::support::origin::Origin;
use crate::support::ringway::Driver;
use crate::support::wait::eventually;

on_each_driver![
    a_connection_ends_with_its_last_request,
    a_connection_ends_with_its_time,
    a_connection_that_is_not_used_is_closed,
    a_connection_that_ends_with_its_answer_does_not_end_under_a_request,
    the_kernel_probes_quiet_connections,
];

fn a_connection_ends_with_its_last_request(driver: Driver) {
    // With limits beside it, and without.
    for fields in
        ["http: {maxRequestsPerConnection: 3}", "tcp: {maxConnections: 1}, http: {maxRequestsPerConnection: 3}"]
    {
        let bench = Bench::with(driver, says_path(), |setup| setup.yaml(pool(fields)));
        let mut client = bench.client();
        for number in 0..12 {
            assert_eq!(client.ask(get(&format!("/{number}"))).text(), format!("/{number}"));
        }
        eventually("the last connection closed", || (bench.origin.open() == 0).then_some(()));
        let connections: Vec<usize> = bench.origin.requests().iter().map(|request| request.connection).collect();
        assert_eq!(connections, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
        assert_eq!(bench.ringway.origin_stat("upstream_cx_max_requests"), 4);
        assert_eq!(bench.ringway.origin_stat("upstream_cx_total"), 4);
        assert_eq!(bench.ringway.origin_stat("upstream_cx_destroy_with_active_rq"), 0, "none ends under a request");
        drop(client);
        bench.finish();
    }
}

fn a_connection_ends_with_its_time(driver: Driver) {
    let bench = Bench::with(driver, says_path(), |setup| setup.yaml(pool("tcp: {maxConnectionDuration: 0.3s}")));
    let mut client = bench.client();
    assert_eq!(client.ask(get("/a")).text(), "/a");
    eventually("too old while it rests", || (bench.origin.open() == 0).then_some(()));
    assert_eq!(bench.ringway.origin_stat("upstream_cx_max_duration_reached"), 1);
    assert_eq!(client.ask(get("/b")).text(), "/b");
    drop(client);
    bench.finish();
    // Too old under a request, which is not cut off.
    let slow = Origin::start(|peer| {
        while peer.request()?.is_some() {
            std::thread::sleep(Duration::from_millis(500));
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        }
        Ok(())
    });
    let bench = Bench::with(driver, slow, |setup| setup.yaml(pool("tcp: {maxConnectionDuration: 0.3s}")));
    let mut client = bench.client();
    assert_eq!(client.ask(get("/a")).text(), "ok");
    eventually("closed after it", || (bench.origin.open() == 0).then_some(()));
    assert_eq!(bench.ringway.origin_stat("upstream_cx_max_duration_reached"), 1);
    assert_eq!(bench.ringway.origin_stat("upstream_cx_destroy_with_active_rq"), 0);
    drop(client);
    bench.finish();
}

/// What gunicorn, HTTP/1.0 and answers without a length do all day must not look like trouble, and counts as time.
fn a_connection_that_ends_with_its_answer_does_not_end_under_a_request(driver: Driver) {
    for (answer, side) in [
        ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", "local"),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", "local"),
        ("HTTP/1.1 200 OK\r\n\r\nok", "remote"),
    ] {
        let origin = Origin::start(move |peer| {
            if peer.request()?.is_some() {
                peer.send(answer)?;
            }
            Ok(())
        });
        let bench = Bench::new(driver, origin);
        let mut client = bench.client();
        for _ in 0..3 {
            assert_eq!(client.ask(get("/a")).text(), "ok", "{answer:?}");
        }
        eventually("the connections closed", || (bench.ringway.origin_stat("upstream_cx_active") == 0).then_some(()));
        assert_eq!(bench.ringway.origin_stat("upstream_cx_destroy_with_active_rq"), 0, "{answer:?}");
        assert_eq!(bench.ringway.origin_stat(&format!("upstream_cx_destroy_{side}")), 3, "{answer:?}");
        let times = bench.ringway.admin("/stats/prometheus?filter=upstream_rq_time").text();
        let count = times.lines().find(|line| line.starts_with("envoy_cluster_upstream_rq_time_count{"));
        assert!(count.is_some_and(|line| line.ends_with("} 3")), "{answer:?}: {times}");
        drop(client);
        bench.finish();
    }
}

fn a_connection_that_is_not_used_is_closed(driver: Driver) {
    for fields in
        ["http: {idleTimeout: 0.3s}", "tcp: {idleTimeout: 0.3s}", "tcp: {maxConnections: 1}, http: {idleTimeout: 0.3s}"]
    {
        let bench = Bench::with(driver, says_path(), |setup| setup.yaml(pool(fields)));
        let mut client = bench.client();
        assert_eq!(client.ask(get("/a")).text(), "/a");
        eventually("closed", || (bench.origin.open() == 0).then_some(()));
        eventually("counted", || (bench.ringway.origin_stat("upstream_cx_idle_timeout") == 1).then_some(()));
        assert_eq!(client.ask(get("/b")).text(), "/b");
        drop(client);
        bench.finish();
    }
}

/// The kernel's timers of this host's connections to `port`: the kind (2: keepalive) and when it next runs, in seconds.
fn timers(port: u16) -> Vec<(String, f64)> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table of connections");
    let remote = format!("0100007F:{port:04X}");
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|fields| fields.get(2) == Some(&remote.as_str()) && fields.get(3) == Some(&"01"))
        .filter_map(|fields| {
            let (kind, ticks) = fields.get(5)?.split_once(':')?;
            Some((kind.to_owned(), f64::from(u32::from_str_radix(ticks, 16).ok()?) / 100.0))
        })
        .collect()
}

fn the_kernel_probes_quiet_connections(driver: Driver) {
    for (fields, kind, at_most) in [
        ("tcp: {maxConnections: 10}", "00", 0.0),
        ("tcp: {tcpKeepalive: {time: 90s, interval: 7s, probes: 4}}", "02", 90.0),
        ("tcp: {tcpKeepalive: {}}", "02", 7200.0),
    ] {
        let bench = Bench::with(driver, says_path(), |setup| setup.yaml(pool(fields)));
        let mut client = bench.client();
        assert_eq!(client.ask(get("/a")).text(), "/a");
        // While what was sent is not acknowledged yet, another timer runs.
        let after = eventually("quiet", || timers(bench.origin.port()).into_iter().find(|(found, _)| found == kind)).1;
        assert!(after <= at_most && after >= at_most / 2.0, "{fields}: in {after} s");
        drop(client);
        bench.finish();
    }
}

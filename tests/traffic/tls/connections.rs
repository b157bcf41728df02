//! The life of secured connections: pools and sessions, and handshakes that come to nothing.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use super::{Bench, Files, HOST, get, on_each_driver};
use crate::https::{Authority, Tls};
use crate::support::origin::Origin;
use crate::support::ringway::Driver;
use crate::support::wait::{PATIENCE, eventually};
use crate::support::yaml;

on_each_driver![
    sessions_are_resumed,
    each_name_has_connections_of_its_own,
    tickets_and_new_keys_are_no_data,
    a_connection_that_was_closed_at_rest_is_not_used,
    a_connection_with_unasked_bytes_is_not_used,
    the_end_of_a_connection_is_announced,
    a_handshake_that_stalls_is_a_connect_timeout,
    an_origin_that_leaves_in_the_handshake,
    an_origin_without_tls,
    two_workers_share_sessions,
    failed_handshakes_eject,
];

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn sessions_are_resumed(driver: Driver) {
    for versions in [rustls::ALL_VERSIONS, &[&rustls::version::TLS12]] {
        let (files, authority) = (Files::new(), Authority::new("ca"));
        let tls = Tls::with(&authority.issue(&[HOST]), None, versions);
        let origin = tls.origin(|peer| {
            peer.request()?;
            peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
        });
        let bench = Bench::new(driver, origin, &format!("mode: SIMPLE, {}", files.trust(&authority)));
        let mut client = bench.client();
        for _ in 0..4 {
            assert_eq!(client.ask(get("/x")).status, 200);
        }
        drop(client);
        let resumed: Vec<bool> = tls.seen().iter().map(|seen| seen.resumed).collect();
        assert_eq!(resumed, [false, true, true, true]);
        assert_eq!((bench.stat("ssl.handshake"), bench.stat("ssl.session_reused")), (4, 3));
        bench.finish();
    }
}

fn each_name_has_connections_of_its_own(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let tls = Tls::new(&authority.issue(&["*.example.com"]));
    let bench = Bench::new(driver, tls.echo(), &format!("mode: SIMPLE, {}", files.trust(&authority)));
    let mut client = bench.client();
    for host in ["a.example.com", "b.example.com", "A.example.com:80", "b.example.com", "a.example.com"] {
        assert_eq!(client.ask(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n")).status, 200);
    }
    drop(client);
    let names: Vec<_> = tls.seen().into_iter().filter_map(|seen| seen.sni).collect();
    assert_eq!(names, ["a.example.com", "b.example.com"]);
    let connections: Vec<usize> = bench.origin.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 1, 0, 1, 0]);
    bench.finish();
}

fn tickets_and_new_keys_are_no_data(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let tls = Tls::new(&authority.issue(&[HOST]));
    let (updated, update) = channel();
    let updated = Mutex::new(updated);
    let origin = tls.origin(move |peer| {
        while peer.request()?.is_some() {
            peer.send(OK)?;
            // While the connection is at rest.
            let (tls, socket) = peer.parts();
            tls.refresh_traffic_keys().map_err(std::io::Error::other)?;
            tls.write_tls(socket)?;
            let _ = updated.lock().expect("no script panicked").send(()); // nobody asks after the last one
        }
        Ok(())
    });
    let bench = Bench::new(driver, origin, &format!("mode: SIMPLE, {}", files.trust(&authority)));
    let mut client = bench.client();
    for _ in 0..10 {
        assert_eq!(client.ask(get("/x")).status, 200);
        update.recv_timeout(PATIENCE).expect("new keys");
    }
    drop(client);
    assert_eq!(tls.seen().len(), 1, "the connection is as good as new");
    assert_eq!(bench.stat("upstream_rq_total"), 10);
    bench.finish();
}

fn a_connection_that_was_closed_at_rest_is_not_used(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    for quietly in [false, true] {
        let tls = Tls::new(&authority.issue(&[HOST]));
        let origin = tls.origin(move |peer| {
            peer.request()?;
            if quietly {
                peer.leave_quietly();
            }
            peer.send(OK) // and leaves, although it promised to stay
        });
        let bench = Bench::new(driver, origin, &format!("mode: SIMPLE, {}", files.trust(&authority)));
        let mut client = bench.client();
        for _ in 0..5 {
            assert_eq!(client.ask(get("/x")).status, 200);
            eventually("the origin has closed", || (bench.origin.open() == 0).then_some(()));
        }
        drop(client);
        assert_eq!((tls.seen().len(), bench.stat("upstream_rq_retry")), (5, 0));
        bench.finish();
    }
}

fn a_connection_with_unasked_bytes_is_not_used(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let tls = Tls::new(&authority.issue(&[HOST]));
    let (sent, was_sent) = channel();
    let sent = Mutex::new(sent);
    let origin = tls.origin(move |peer| {
        while peer.request()?.is_some() {
            peer.send(OK)?;
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")?;
            let _ = sent.lock().expect("no script panicked").send(());
        }
        Ok(())
    });
    let bench = Bench::new(driver, origin, &format!("mode: SIMPLE, {}", files.trust(&authority)));
    let mut client = bench.client();
    for _ in 0..5 {
        assert_eq!(client.ask(get("/x")).text(), "ok");
        was_sent.recv_timeout(PATIENCE).expect("the poison");
        eventually("the connection is found out", || (bench.stat("upstream_cx_active") == 0).then_some(()));
    }
    drop(client);
    bench.finish();
}

fn the_end_of_a_connection_is_announced(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let tls = Tls::new(&authority.issue(&[HOST]));
    let (ended, end) = channel();
    let ended = Mutex::new(ended);
    let origin = tls.origin(move |peer| {
        peer.request()?;
        peer.send(OK)?;
        let next = peer.request().map(|next| next.is_none()).map_err(|error| error.to_string());
        let _ = ended.lock().expect("no script panicked").send(next);
        Ok(())
    });
    let bench = Bench::with(driver, origin, |setup| {
        let tls = format!("{{mode: SIMPLE, {}}}", files.trust(&authority));
        setup.yaml(yaml::policy("origin", &format!("tls: {tls}, connectionPool: {{http: {{idleTimeout: 100ms}}}}")))
    });
    assert_eq!(bench.client().ask(get("/x")).status, 200);
    assert_eq!(end.recv_timeout(PATIENCE).expect("an end"), Ok(true), "the close is one that TLS knows");
    bench.finish();
}

fn a_handshake_that_stalls_is_a_connect_timeout(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let origin = Origin::start(|peer| peer.wait_closed().map(drop));
    let bench = Bench::with(driver, origin, |setup| {
        let tls = format!("{{mode: SIMPLE, {}}}", files.trust(&authority));
        setup.yaml(yaml::policy("origin", &format!("tls: {tls}, connectionPool: {{tcp: {{connectTimeout: 200ms}}}}")))
    });
    let response = bench.client().ask(get("/x"));
    assert_eq!(response.status, 503);
    assert!(response.text().ends_with("reset reason: connection timeout"), "{}", response.text());
    let line = bench.ringway.logged(&["upstream_reset_before_response_started{connection_timeout}"]);
    assert!(line.contains("URX,UF"), "{line}");
    assert_eq!((bench.stat("upstream_cx_connect_timeout"), bench.stat("upstream_cx_connect_fail")), (3, 3));
    assert_eq!(bench.stat("ssl.handshake"), 0);
    bench.finish();
}

fn an_origin_that_leaves_in_the_handshake(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    for resets in [false, true] {
        let origin = Origin::start(move |peer| {
            // The length of the ClientHello's record, so that nothing is left unread.
            let head = peer.raw(5)?;
            peer.raw(usize::from(u16::from_be_bytes([head[3], head[4]])))?;
            if resets { peer.reset() } else { Ok(()) }
        });
        let bench = Bench::new(driver, origin, &format!("mode: SIMPLE, {}", files.trust(&authority)));
        bench.refuses(match resets {
            true => "Connection_reset_by_peer",
            false => "the_server_closed_the_connection_in_the_handshake",
        });
        assert_eq!((bench.stat("upstream_cx_connect_fail"), bench.stat("ssl.connection_error")), (3, 0));
        bench.finish();
    }
}

fn an_origin_without_tls(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let origin = Origin::start(|peer| {
        peer.raw(5)?;
        peer.send("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")?;
        peer.wait_closed().map(drop)
    });
    let bench = Bench::new(driver, origin, &format!("mode: SIMPLE, {}", files.trust(&authority)));
    bench.refuses("TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end");
    assert_eq!(bench.stat("ssl.connection_error"), 3);
    bench.finish();
}

fn two_workers_share_sessions(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let tls = Tls::new(&authority.issue(&[HOST]));
    let bench = Bench::with(driver, tls.echo(), |setup| {
        setup.cpus(&[0, 1]).yaml(super::rule(&format!("mode: SIMPLE, {}", files.trust(&authority))))
    });
    // The kernel chooses the worker; sooner or later both have had a connection of their own.
    eventually("a connection of each worker", || {
        assert_eq!(bench.client().ask(get("/x")).status, 200);
        (tls.seen().len() == 2).then_some(())
    });
    let resumed: Vec<bool> = tls.seen().iter().map(|seen| seen.resumed).collect();
    assert_eq!(resumed, [false, true]);
    bench.finish();
}

fn failed_handshakes_eject(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let tls = Tls::new(&authority.issue_expired(&[HOST]));
    let bench = Bench::with(driver, tls.echo(), |setup| {
        let tls = format!("{{mode: SIMPLE, {}}}", files.trust(&authority));
        let detection = "{consecutive5xxErrors: 2, maxEjectionPercent: 100, baseEjectionTime: 1h}";
        setup.yaml(yaml::policy("origin", &format!("tls: {tls}, outlierDetection: {detection}")))
    });
    // A Host that is no name says nothing of the endpoint, and is not tried again.
    for _ in 0..3 {
        assert_eq!(bench.client().ask("GET /x HTTP/1.1\r\nHost: a..b\r\n\r\n").status, 503);
    }
    assert_eq!((bench.stat("upstream_cx_total"), bench.stat("upstream_rq_retry")), (0, 0));
    let response = bench.client().ask(get("/x"));
    assert_eq!((response.status, response.text().as_str()), (503, "no healthy upstream"));
    assert_eq!(tls.failures().len(), 2, "the third try finds nobody left");
    assert_eq!(bench.stat("outlier_detection.ejections_active"), 1);
    bench.finish();
}

//! Bodies stream: whole, in bounded memory, at the pace of the slower side.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use super::{Bench, get, host, on_each_driver};
use crate::support::client::Client;
use crate::support::message::Framing;
use crate::support::origin::Origin;
use crate::support::ringway::Driver;
use crate::support::wait::{PATIENCE, eventually};

on_each_driver![
    a_large_upload_and_download_stay_within_memory,
    large_chunked_bodies_stay_within_memory,
    a_client_that_does_not_read_stops_the_origin,
    an_origin_that_does_not_read_stops_the_client,
    a_response_before_the_end_of_the_request_arrives,
    bodies_of_every_size_pass_unchanged,
    what_is_left_of_an_answered_request_is_sent_on,
    what_is_left_of_an_answered_request_is_not_awaited_for_long,
    an_upload_cut_off_ends_the_upstream_request,
    a_part_of_an_answer_is_not_taken_for_the_whole,
    a_chunked_upload_that_goes_wrong_is_refused,
];

const LARGE: usize = 64 * 1024 * 1024;

/// More than two directions of buffers of one connection need, far less than a body.
const ALLOWED_KIB: u64 = 16 * 1024;

/// Every large body is this, again and again: no two pieces of a buffer's size within it are alike.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| (0..251 * 256).map(|at| (at / 251 + at) as u8).collect());

/// The bytes of a large body from `at` on, as far as the pattern goes.
fn pattern(at: usize) -> &'static [u8] {
    &PATTERN[at % PATTERN.len()..]
}

/// Writes `length` bytes of the pattern, as they are or as chunks, and counts them.
fn write_pattern(to: &mut impl Write, length: usize, chunked: bool, count: &AtomicU64) -> io::Result<()> {
    let mut at = 0;
    while at < length {
        let size = (length - at).min(40_000).min(pattern(at).len());
        let mut piece: Vec<u8> = Vec::with_capacity(size + 16);
        if chunked {
            piece.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        }
        piece.extend_from_slice(&pattern(at)[..size]);
        if chunked {
            piece.extend_from_slice(b"\r\n");
        }
        to.write_all(&piece)?;
        at += size;
        count.fetch_add(size as u64, Ordering::Relaxed);
    }
    if chunked { to.write_all(b"0\r\n\r\n") } else { Ok(()) }
}

#[track_caller]
fn check_pattern(bytes: &[u8], length: usize) {
    assert_eq!(bytes.len(), length);
    let wrong = bytes.chunks(PATTERN.len()).position(|chunk| *chunk != PATTERN[..chunk.len()]);
    assert_eq!(wrong, None, "the first wrong repetition of the pattern");
}

fn framing_line(length: usize, chunked: bool) -> String {
    if chunked { "transfer-encoding: chunked".to_owned() } else { format!("content-length: {length}") }
}

/// An origin that reads a request whole and answers with as many bytes of the pattern.
fn gives_back(chunked: bool) -> Origin {
    Origin::start(move |peer| {
        while let Some(request) = peer.request()? {
            check_pattern(&request.body.bytes, LARGE);
            peer.send(format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", framing_line(LARGE, chunked)))?;
            write_pattern(&mut peer.stream()?, LARGE, chunked, &AtomicU64::new(0))?;
        }
        Ok(())
    })
}

fn there_and_back(driver: Driver, chunked: bool) {
    let bench = Bench::new(driver, gives_back(chunked));
    let before = bench.ringway.process.memory_kib("VmRSS");
    let mut client = bench.client();
    client.send(format!("POST /x HTTP/1.1\r\nHost: a.example.com\r\n{}\r\n\r\n", framing_line(LARGE, chunked)));
    write_pattern(&mut client.stream(), LARGE, chunked, &AtomicU64::new(0)).expect("the upload");
    let response = client.response();
    assert!(response.body.complete);
    check_pattern(&response.body.bytes, LARGE);
    let expected = if chunked { Framing::Chunked } else { Framing::Length(LARGE) };
    assert_eq!(response.body.framing, expected);
    let peak = bench.ringway.process.memory_kib("VmHWM");
    assert!(peak < before + ALLOWED_KIB, "{peak} KiB at the peak, {before} KiB before");
    drop(client);
    bench.finish();
}

fn a_large_upload_and_download_stay_within_memory(driver: Driver) {
    there_and_back(driver, false);
}

fn large_chunked_bodies_stay_within_memory(driver: Driver) {
    there_and_back(driver, true);
}

/// Waits until `count` has stood still for a while: whoever counts there is blocked.
fn blocked(count: &AtomicU64) -> u64 {
    let mut last = (0, Instant::now());
    eventually("a blocked writer", || {
        let now = count.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        }
        (now > 0 && last.1.elapsed() > Duration::from_millis(500)).then_some(now)
    })
}

fn a_client_that_does_not_read_stops_the_origin(driver: Driver) {
    let sent = Arc::new(AtomicU64::new(0));
    let origin = Origin::start({
        let sent = Arc::clone(&sent);
        move |peer| {
            peer.request()?;
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n"))?;
            write_pattern(&mut peer.stream()?, LARGE, false, &sent)
        }
    });
    let bench = Bench::new(driver, origin);
    let before = bench.ringway.process.memory_kib("VmRSS");
    let mut client = bench.client();
    client.send(get("/x"));
    let stopped_at = blocked(&sent);
    assert!(stopped_at < LARGE as u64, "the whole body went somewhere");
    let peak = bench.ringway.process.memory_kib("VmHWM");
    assert!(peak < before + ALLOWED_KIB, "{peak} KiB at the peak, {before} KiB before");
    // The worker has not been held up by it.
    assert_eq!(bench.ringway.admin("/ready").status, 200);
    check_pattern(&client.response().body.bytes, LARGE);
    drop(client);
    bench.finish();
}

fn an_origin_that_does_not_read_stops_the_client(driver: Driver) {
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let may_go_on = std::sync::Mutex::new(may_go_on);
    let origin = Origin::start(move |peer| {
        let Some(head) = peer.head()? else { return Ok(()) };
        let _ = may_go_on.lock().expect("nobody panics while waiting").recv_timeout(PATIENCE); // the end of the test releases too
        let request = peer.body(head)?;
        check_pattern(&request.body.bytes, LARGE);
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    });
    let bench = Bench::new(driver, origin);
    let before = bench.ringway.process.memory_kib("VmRSS");
    let mut client = bench.client();
    client.send(format!("POST /x HTTP/1.1\r\nHost: a.example.com\r\ncontent-length: {LARGE}\r\n\r\n"));
    let sent = Arc::new(AtomicU64::new(0));
    let upload = std::thread::spawn({
        let mut stream = client.stream().try_clone().expect("a copy of a socket");
        let sent = Arc::clone(&sent);
        move || write_pattern(&mut stream, LARGE, false, &sent)
    });
    assert!(blocked(&sent) < LARGE as u64, "the whole body went somewhere");
    let peak = bench.ringway.process.memory_kib("VmHWM");
    assert!(peak < before + ALLOWED_KIB, "{peak} KiB at the peak, {before} KiB before");
    // Others are served meanwhile.
    assert_eq!(Client::connect(bench.ringway.admin).ask("GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 200);
    go_on.send(()).expect("the origin waits");
    upload.join().expect("no panic").expect("the rest of the upload");
    assert_eq!(client.response().status, 200);
    drop(client);
    bench.finish();
}

fn a_response_before_the_end_of_the_request_arrives(driver: Driver) {
    let origin = Origin::start(|peer| {
        peer.head()?;
        peer.send("HTTP/1.1 413 Payload Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
    });
    let bench = Bench::new(driver, origin);
    let mut client = bench.client();
    client.send("POST /x HTTP/1.1\r\nHost: a.example.com\r\ncontent-length: 1000000\r\n\r\npart");
    let response = client.response();
    assert_eq!((response.status, response.text()), (413, "big".to_owned()));
    drop(client);
    bench.finish();
}

/// Sizes around those of buffers, and of heads beside them; one connection for all, so that each request meets what the one
/// before it made ringway expect.
fn bodies_of_every_size_pass_unchanged(driver: Driver) {
    let origin = Origin::start(|peer| {
        while let Some(request) = peer.request()? {
            let (length, chunked) = (request.body.bytes.len(), request.body.framing == Framing::Chunked);
            check_pattern(&request.body.bytes, length);
            let mut response = format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", framing_line(length, chunked)).into_bytes();
            write_pattern(&mut response, length, chunked, &AtomicU64::new(0))?;
            peer.send(response)?;
        }
        Ok(())
    });
    let bench = Bench::new(driver, origin);
    let mut client = bench.client();
    let around = |kib: usize| [kib * 1024 - 700, kib * 1024 - 264, kib * 1024 - 1, kib * 1024, kib * 1024 + 1];
    let sizes: Vec<usize> = [4, 16, 20, 64, 68, 256, 260].into_iter().flat_map(around).collect();
    for chunked in [false, true] {
        // Up, down, and up again: large expectations meet small bodies and the other way round.
        for length in sizes.iter().chain(sizes.iter().rev()).chain(&[1, 300_000, 2, 700_000]) {
            let mut request =
                format!("POST /{length} HTTP/1.1\r\nHost: a.example.com\r\n{}\r\n\r\n", framing_line(*length, chunked));
            let mut bytes = std::mem::take(&mut request).into_bytes();
            write_pattern(&mut bytes, *length, chunked, &AtomicU64::new(0)).expect("memory takes all");
            client.send(bytes);
            let response = client.response();
            assert_eq!(response.status, 200, "{length} {chunked}");
            check_pattern(&response.body.bytes, *length);
        }
    }
    assert_eq!(bench.origin.accepted(), 1);
    drop(client);
    bench.finish();
}

/// An origin that answers each request when it has its head, and then reads what is left of it.
fn answers_first() -> Origin {
    Origin::start(|peer| {
        while let Some(head) = peer.head()? {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
            peer.body(head)?;
        }
        Ok(())
    })
}

fn what_is_left_of_an_answered_request_is_sent_on(driver: Driver) {
    let bench = Bench::new(driver, answers_first());
    let mut client = bench.client();
    for length in [10, 60_000, 20] {
        let (first, rest) = ("a", "b".repeat(length - 1));
        client.send(format!("POST /x HTTP/1.1\r\nHost: a.example.com\r\ncontent-length: {length}\r\n\r\n{first}"));
        let response = client.response();
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
        assert_eq!(response.header("connection"), None);
        client.send(rest);
    }
    let requests = eventually("three whole requests", || {
        let requests = bench.origin.requests();
        (requests.len() == 3 && requests.iter().all(|request| request.body.complete)).then_some(requests)
    });
    assert_eq!(requests.iter().map(|request| request.body.bytes.len()).collect::<Vec<_>>(), [10, 60_000, 20]);
    assert_eq!(bench.origin.accepted(), 1, "one connection carries them all");
    // What is much, of unknown length, or awaited with `100 Continue` ends the connection.
    for framing in
        ["content-length: 1000000", "transfer-encoding: chunked", "content-length: 9\r\nexpect: 100-continue"]
    {
        let mut client = bench.client();
        client.send(format!("POST /x HTTP/1.1\r\nHost: a.example.com\r\n{framing}\r\n\r\n"));
        assert_eq!(client.response().header("connection"), Some("close"), "{framing}");
    }
    drop(client);
    bench.finish();
}

fn what_is_left_of_an_answered_request_is_not_awaited_for_long(driver: Driver) {
    let bench = Bench::new(driver, answers_first());
    let mut client = bench.client();
    client.send("POST /x HTTP/1.1\r\nHost: a.example.com\r\ncontent-length: 10\r\n\r\n");
    assert_eq!(client.response().status, 200);
    client.expect_closed();
    eventually("the upstream connection closed", || (bench.origin.open() == 0).then_some(()));
    assert!(bench.ringway.logged(&["POST /x"]).contains(" 200 - via_upstream "));
    bench.finish();
}

fn an_upload_cut_off_ends_the_upstream_request(driver: Driver) {
    let bench = Bench::new(driver, Origin::echo());
    let mut client = bench.client();
    client.send("POST /cut HTTP/1.1\r\nHost: a.example.com\r\ncontent-length: 10\r\n\r\n12345");
    eventually("the upload at the origin", || (bench.origin.open() == 1).then_some(()));
    drop(client);
    let line = bench.ringway.logged(&["POST /cut"]);
    assert!(line.contains(" 0 DC downstream_remote_disconnect "), "{line}");
    eventually("the upstream connection closed", || (bench.origin.open() == 0).then_some(()));
    let requests = bench.origin.requests();
    assert!(requests.iter().all(|request| !request.body.complete), "{requests:?}");
    bench.finish();
}

/// The body of an answer as it is sent, and how the connection ends after it. `part_seen` is called when there is a part.
#[track_caller]
fn ends(bench: &Bench, request: &str, part_seen: impl FnOnce()) -> (String, Result<(), io::ErrorKind>) {
    let mut client = bench.client();
    client.send(request);
    let (mut received, mut part_seen) = (Vec::new(), Some(part_seen));
    let end = loop {
        let mut piece = [0; 1024];
        match client.stream().read(&mut piece) {
            Ok(0) => break Ok(()),
            Ok(bytes) => received.extend_from_slice(&piece[..bytes]),
            Err(error) => break Err(error.kind()),
        }
        if received.windows(4).any(|four| four == b"part") {
            part_seen.take().into_iter().for_each(|seen| seen());
        }
    };
    let received = String::from_utf8(received).expect("text");
    (received.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default(), end)
}

/// Where nothing but the end of the connection tells the client that it has all of an answer, a part of one ends with a
/// reset. (Envoy ends both alike.)
fn a_part_of_an_answer_is_not_taken_for_the_whole(driver: Driver) {
    let (sent, part_seen) = std::sync::mpsc::channel::<()>();
    let part_seen = std::sync::Mutex::new(part_seen);
    let origin = Origin::start(move |peer| {
        let Some(request) = peer.request()? else { return Ok(()) };
        let line = request.line().to_owned();
        peer.send(match () {
            () if line.contains("/length") => "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\npart",
            () if line.contains("/close") => "HTTP/1.1 200 OK\r\n\r\npart",
            () => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n",
        })?;
        if line.contains("-late") {
            return peer.wait_closed().map(drop);
        }
        part_seen.lock().expect("no panic").recv_timeout(PATIENCE).expect("a word of the test");
        match () {
            () if line.contains("-reset") => peer.reset(),
            () if line.contains("-corrupt") => peer.send("zzz\r\n"),
            () if line.contains("-whole") => peer.send("0\r\n\r\n"),
            () => Ok(()),
        }
    });
    let bench = Bench::with(driver, origin, |setup| setup.yaml(host("late", "timeout: 300ms")));
    for (path, version, framed, whole) in [
        ("/chunks-whole", "1.0", false, true),
        ("/chunks", "1.0", false, false),
        ("/chunks-reset", "1.0", false, false),
        ("/chunks-corrupt", "1.0", false, false),
        ("/close", "1.0", false, true),
        ("/close-reset", "1.0", false, false),
        ("/length", "1.0", true, false),
        ("/length-reset", "1.1", true, false),
        ("/chunks-reset", "1.1", true, false),
        ("/close-reset", "1.1", true, false),
        ("/chunks-late", "1.0", false, false),
        ("/close-late", "1.0", false, false),
        ("/chunks-late", "1.1", true, false),
    ] {
        let host = if path.ends_with("-late") { "late.example.com" } else { "a.example.com" };
        let already = bench.ringway.origin_stat("upstream_rq_200");
        let request = format!("GET {path} HTTP/{version}\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let (body, end) = ends(&bench, &request, || {
            if !path.ends_with("-late") {
                sent.send(()).expect("an origin");
            }
        });
        let chunked = framed && !path.starts_with("/length");
        assert_eq!(body, if chunked { "4\r\npart\r\n" } else { "part" }, "{path} {version}");
        let expected = if framed || whole { Ok(()) } else { Err(io::ErrorKind::ConnectionReset) };
        assert_eq!(end, expected, "{path} {version}");
        eventually("the answer counted", || {
            (bench.ringway.origin_stat("upstream_rq_200") == already + 1).then_some(())
        });
    }
    bench.finish();
}

fn a_chunked_upload_that_goes_wrong_is_refused(driver: Driver) {
    let bench = Bench::new(driver, Origin::echo());
    for bad in
        ["zz\r\nhello\r\n0\r\n\r\n", "5\r\nhelloX\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "11111111111111111\r\n"]
    {
        let mut client = bench.client();
        client.send("POST /x HTTP/1.1\r\nHost: a.example.com\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
        let _ = client.try_send(bad); // may be refused by then
        let response = client.response();
        assert_eq!((response.status, response.header("connection")), (400, Some("close")), "{bad:?}");
        client.expect_closed();
    }
    let requests = bench.origin.requests();
    assert!(requests.iter().all(|request| !request.body.complete), "{requests:?}");
    let line = bench.ringway.logged(&[" 400 DPE "]);
    assert!(line.contains(r#""POST /x HTTP/1.1" 400 DPE http1.codec_error"#), "the head was understood: {line}");
    bench.finish();
}

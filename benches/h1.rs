//! What one message costs in the codec, without I/O: heads in, heads out, chunks off.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringway::h1::chunked::{Decoder, LAST_CHUNK, chunk_size_line};
use ringway::h1::encode::{self, Connection};
use ringway::h1::framing;
use ringway::h1::parse::{self, HeadLimits};
use ringway::http::forward::{Completion, Downstream, View};
use ringway::http::head::{Known, Method, RequestHead, ResponseHead, Version};
use ringway::http::header_ops::{self, HeaderOps};
use ringway::http::outgoing::{BodyLen, RequestOut, ResponseOut, Server};
use ringway::http::target::{self, PathForm};

/// A client whose connection is kept.
const KEPT: (Version, Connection) = (Version::Http11, Connection::KeepAlive);

const SMALL: &[u8] = b"GET /status/200?verbose=1 HTTP/1.1\r\nHost: httpbin.example.com\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: Sun, 22 Nov 2026 08:50:22 GMT\r\nConnection: keep-alive\r\n\
Content-Type: application/json\r\nContent-Length: 1024\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\r\n";

/// What a browser behind a CDN sends: 40 lines, some of them known, some replaced by the proxy.
fn forty_lines() -> Vec<u8> {
    let mut head = b"GET /a/page.html HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n".to_vec();
    head.extend_from_slice(b"X-Forwarded-For: 203.0.113.7\r\nX-Request-Id: 5670da79-b4f4-447f-a3bf-d9591f547167\r\n");
    for line in 4..40 {
        head.extend_from_slice(
            format!("X-Custom-Header-{line}: a value of a usual length, number {line}\r\n").as_bytes(),
        );
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// 16 KiB of wire bytes in chunks of 1 KiB.
fn sixteen_kib_chunked() -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() + 1031 + LAST_CHUNK.len() <= 16 * 1024 {
        body.extend_from_slice(chunk_size_line(1024, &mut [0; 18]));
        body.extend_from_slice(&[b'x'; 1024]);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(LAST_CHUNK);
    body
}

fn heads(criterion: &mut Criterion) {
    let limits = HeadLimits::default();
    let new_id = b"263d6ffe-9d76-44bf-bb3b-94ff0b796521";
    let (downstream, external_address, tunnel) = (Downstream::Edge, &b""[..], false);
    let mut completion = Completion::default();
    for (name, message) in [("small", SMALL.to_vec()), ("40 lines", forty_lines())] {
        let mut group = criterion.benchmark_group(format!("request/{name}"));
        group.throughput(Throughput::Bytes(message.len() as u64));
        let (mut head, mut out) = (RequestHead::default(), Vec::with_capacity(8192));
        group.bench_function("parse", |bencher| {
            bencher.iter(|| parse::request(black_box(&message), &limits, &mut head).is_ok());
        });
        let (path, ops) = (b"/a", &header_ops::NONE);
        let what = RequestOut {
            path,
            authority: None,
            body: BodyLen::None,
            attempt: 1,
            expected_timeout_ms: None,
            original_host: None,
            original_path: None,
            ops,
        };
        group.bench_function("encode", |bencher| {
            bencher.iter(|| {
                out.clear();
                completion.clear();
                let (head, buf) = (black_box(&head), &message[..]);
                completion.complete(head, buf, downstream, b"203.0.113.9", || new_id);
                let view = View { head, buf, completion: &completion, downstream, external_address, tunnel };
                encode::request(&mut out, &view, &what);
                out.len()
            });
        });
        let mut ops = HeaderOps::new();
        group.bench_function("encode with changes", |bencher| {
            bencher.iter(|| {
                out.clear();
                ops.clear();
                ops.remove(Known::UserAgent, b"user-agent");
                ops.remove(Known::Other, b"x-custom-header-20");
                ops.set(Known::Other, b"x-tenant", |out| out.extend_from_slice(b"blue"));
                ops.add(Known::Other, b"x-tag", |out| out.extend_from_slice(b"edge"));
                let what = RequestOut { ops: &ops, ..what };
                completion.clear();
                let (head, buf) = (black_box(&head), &message[..]);
                completion.complete(head, buf, downstream, b"203.0.113.9", || new_id);
                let view = View { head, buf, completion: &completion, downstream, external_address, tunnel };
                encode::request(&mut out, &view, &what);
                out.len()
            });
        });
        let mut path = Vec::with_capacity(1024);
        group.bench_function("whole way", |bencher| {
            bencher.iter(|| {
                let message = black_box(&message);
                parse::request(message, &limits, &mut head).expect("a good head");
                let body = framing::request_body(&head, message).expect("a good body");
                let parts = target::split(&head, message).expect("a good target");
                target::normalize(parts.path.of(message), PathForm::Base, &mut path).expect("a good path");
                let keep = framing::request_keep_alive(&head, message);
                let upgrade = framing::upgrade(&head, message);
                out.clear();
                let what = RequestOut { body: BodyLen::from(body), path: head.target.of(message), ..what };
                completion.clear();
                let (head, buf) = (&head, &message[..]);
                completion.complete(head, buf, downstream, b"203.0.113.9", || new_id);
                let view = View { head, buf, completion: &completion, downstream, external_address, tunnel };
                encode::request(&mut out, &view, &what);
                (out.len(), keep, upgrade)
            });
        });
    }
}

fn responses(criterion: &mut Criterion) {
    let limits = HeadLimits::default();
    let mut group = criterion.benchmark_group("response");
    group.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    let (mut head, mut out) = (ResponseHead::default(), Vec::with_capacity(8192));
    let what = ResponseOut {
        server: Server::Overwrite(b"ringway"),
        date: b"Sun, 22 Nov 2026 08:50:22 GMT",
        service_time_ms: Some(12),
        body: BodyLen::Known(1024),
        switches: false,
        ops: &header_ops::NONE,
    };
    group.bench_function("parse", |bencher| {
        bencher.iter(|| parse::response(black_box(RESPONSE), &limits, &mut head).is_ok());
    });
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode::response(&mut out, (black_box(&head), RESPONSE), &what, KEPT);
            out.len()
        });
    });
    group.bench_function("whole way", |bencher| {
        bencher.iter(|| {
            let message = black_box(RESPONSE);
            parse::response(message, &limits, &mut head).expect("a good head");
            let body = framing::response_body(&head, message, Method::Get).expect("a good body");
            let keep = framing::response_keep_alive(&head, message);
            out.clear();
            let body = BodyLen::from(body);
            encode::response(&mut out, (&head, message), &ResponseOut { body, ..what }, KEPT);
            (out.len(), keep)
        });
    });
}

fn chunks(criterion: &mut Criterion) {
    let body = sixteen_kib_chunked();
    let mut buf = body.clone();
    let mut group = criterion.benchmark_group("chunked");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("decode 16 KiB", |bencher| {
        bencher.iter(|| {
            buf.copy_from_slice(&body);
            Decoder::default().decode(black_box(&mut buf)).expect("a good body").payload
        });
    });
}

criterion_group!(benches, heads, responses, chunks);
criterion_main!(benches);

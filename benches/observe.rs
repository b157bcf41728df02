//! What seeing costs a request: a log line, and the counters that a request moves.

use std::hint::black_box;
use std::time::{Duration, UNIX_EPOCH};

use criterion::{Criterion, criterion_group, criterion_main};
use ringway::observe::access_log::{AccessLog, Headers, Record};
use ringway::observe::flags::Flags;
use ringway::observe::stats::Registry;

struct Curl;

impl Headers for Curl {
    fn request(&self, name: &str) -> Option<&[u8]> {
        Some(match name {
            "x-forwarded-for" => b"172.22.152.252",
            "user-agent" => b"curl/7.64.0",
            "x-request-id" => b"5d0b1a52-0c6f-9d9c-a7a9-9c1e5ba7a2a5",
            _ => return None,
        })
    }

    fn response(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

fn line(c: &mut Criterion) {
    let log = AccessLog::istio_default();
    let record = Record {
        start: UNIX_EPOCH + Duration::from_millis(1_608_618_742_057),
        method: b"GET",
        path: b"/status/200",
        authority: b"httpbin.example.com",
        protocol: "HTTP/1.1",
        status: 200,
        flags: Flags::NONE,
        details: "via_upstream",
        transport_failure: "",
        bytes_received: 0,
        bytes_sent: 1024,
        duration: Duration::from_millis(3),
        upstream_service_time: Some(Duration::from_millis(2)),
        upstream_host: Some(([172, 22, 78, 139], 80).into()),
        upstream_connected: true,
        upstream_cluster: "outbound|8000||httpbin.default.svc.cluster.local",
        upstream_local: Some(([172, 22, 78, 138], 55_966).into()),
        downstream_local: ([172, 22, 78, 138], 8080).into(),
        downstream_remote: ([172, 22, 152, 252], 35_658).into(),
        server_name: "",
        route_name: "",
        headers: &Curl,
    };
    let mut out = Vec::with_capacity(1024);
    c.bench_function("access log line", |b| {
        b.iter(|| {
            out.clear();
            log.line(&mut out, black_box(&record));
        });
    });
}

fn counters(c: &mut Criterion) {
    let registry = Registry::new(1);
    let (cluster, http) = (registry.cluster(0, "c"), registry.http(0, "h"));
    c.bench_function("counters of a request", |b| {
        b.iter(|| {
            http.downstream_rq_total.inc();
            http.downstream_rq_active.inc();
            http.rq_total.inc();
            cluster.upstream_rq_total.inc();
            cluster.upstream_rq_active.inc();
            cluster.upstream_rq_time.record(black_box(3));
            cluster.upstream_rq_active.dec();
            cluster.response(black_box(200));
            http.downstream_rq_time.record(black_box(3));
            http.response(black_box(200));
            http.downstream_rq_active.dec();
        });
    });
}

/// What a scrape of a large configuration costs the admin thread.
fn scrape(c: &mut Criterion) {
    let registry = Registry::new(2);
    for name in 0..1000 {
        for core in 0..2 {
            registry.cluster(core, &format!("outbound|8000||service-{name}.default.svc.cluster.local")).response(200);
        }
    }
    c.bench_function("snapshot of 1,000 clusters", |b| b.iter(|| registry.snapshot(&|_| true).len()));
}

criterion_group!(benches, line, counters, scrape);
criterion_main!(benches);

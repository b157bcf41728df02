//! The data path allocates nothing per request in steady state. ringway runs inside this process under a counting
//! allocator; what its worker threads allocate during a few thousand keep-alive requests is counted, and must be nothing.
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe to implement; this one only counts and hands on to the system's"
)]

#[path = "support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

use ringway::control::{self, Event};
use ringway::istio;
use ringway::plan::{self, Overrides, ProxySettings};
use support::client::Client;
use support::origin::Origin;
use support::ports;
use support::ringway::{DRIVERS, Driver, everything_to};

/// Threads that may allocate in this process: the workers, control, origins, the test itself. One beyond shares the last.
const THREADS: usize = 512;

/// What one thread has allocated: calls to `alloc` and `realloc`.
struct Count {
    thread: AtomicI32,
    calls: AtomicU64,
}

static COUNTS: [Count; THREADS] = [const { Count { thread: AtomicI32::new(0), calls: AtomicU64::new(0) } }; THREADS];
static TAKEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// This thread's place in `COUNTS`, from 1. Constant and without a destructor, so that it never allocates itself.
    static PLACE: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

impl Counting {
    fn count() {
        let place = PLACE.get();
        let place = if place > 0 {
            place
        } else {
            let place = (TAKEN.fetch_add(1, Ordering::Relaxed) + 1).min(THREADS);
            COUNTS[place - 1].thread.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Relaxed);
            PLACE.set(place);
            place
        };
        COUNTS[place - 1].calls.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed to the system's allocator with the arguments it came with; counting touches atomics and a
// constant thread-local, neither of which allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: the caller keeps the contract of `realloc`; `pointer` came from the system's allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`; `pointer` came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls to the allocator by threads whose name begins with `worker-`.
fn by_workers() -> u64 {
    let workers = COUNTS.iter().filter(|count| {
        let thread = count.thread.load(Ordering::Relaxed);
        let name = std::fs::read_to_string(format!("/proc/self/task/{thread}/comm"));
        name.is_ok_and(|name| name.starts_with("worker-"))
    });
    workers.map(|count| count.calls.load(Ordering::Relaxed)).sum()
}

fn proxy_document(driver: Driver, port: u16, log: &str) -> String {
    format!(
        "apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {{name: test}}\nspec:\n  cpus: [0]\n  driver: {}\n  \
         bind: 127.0.0.1\n  admin: 'off'\n  ports: {{80: {port}}}\n  meshConfig: {{accessLogFile: {log}}}\n",
        driver.name()
    )
}

fn requests(client: &mut Client, count: usize) {
    let request = "GET /some/path?with=query HTTP/1.1\r\nHost: a.example.com\r\nUser-Agent: test\r\nAccept: */*\r\n\
                   X-User: anna\r\nX-User: bertha\r\nCookie: a=b; session=\"0123456789abcdef\"\r\n\r\n";
    for _ in 0..count {
        let response = client.ask(request);
        assert_eq!((response.status, response.body.bytes.len()), (200, 1024));
    }
}

/// A rule of the service, with this load balancer.
fn balanced(settings: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: origin}}\nspec:\n  \
         host: origin\n  trafficPolicy: {{loadBalancer: {{{settings}}}}}\n"
    )
}

#[test]
fn a_keep_alive_get_allocates_nothing() {
    let reply =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1024\r\n\r\n{}", "x".repeat(1024));
    let rules = [
        String::new(),
        balanced("simple: ROUND_ROBIN, warmup: {duration: 1h}"),
        balanced("localityLbSetting: {distribute: [{from: '*', to: {'*': 100}}]}"),
        balanced("consistentHash: {httpHeaderName: x-user}"),
        balanced("consistentHash: {httpCookie: {name: session, ttl: 60s}, maglev: {tableSize: 251}}"),
        balanced("consistentHash: {useSourceIp: true}"),
        balanced("consistentHash: {httpQueryParameterName: with}"),
    ];
    let mut seen = Vec::new();
    for (driver, rule) in DRIVERS.into_iter().flat_map(|driver| rules.iter().map(move |rule| (driver, rule))) {
        let origins = [(); 2].map(|()| Origin::replying(reply.clone()));
        let dir = tempfile::TempDir::new().expect("a temporary folder");
        let log = dir.path().join("access.log");
        let proxy = proxy_document(driver, ports::free(), log.to_str().expect("a path in UTF-8"));
        let config = dir.path().join("config.yaml");
        let everything = everything_to(&origins.each_ref().map(Origin::port));
        std::fs::write(&config, format!("{proxy}---\n{everything}{rule}")).expect("write the YAML");

        let options = istio::Options { permissive: false };
        let (world, problems) = istio::read(&[config], &mut std::io::empty(), options);
        assert!(problems.iter().all(|problem| !problem.is_error()), "{problems:?}");
        let (plan, problems) = plan::compile(&world, ProxySettings::resolve(&world.proxy, &Overrides::default()));
        assert!(problems.iter().all(|problem| !problem.is_error()), "{problems:?}");
        let running = control::start(&plan).expect("ringway starts");

        let mut client = Client::connect(running.addresses()[0]);
        requests(&mut client, 500); // buffers grow to their size, tables are made
        let before = by_workers();
        assert!(before > 0, "the counter sees the workers");
        requests(&mut client, 1_000);
        seen.push((driver.name(), rule, by_workers() - before));

        drop(client);
        running.events().send(Event::Stop).expect("control listens");
        running.serve();
    }
    assert!(seen.iter().all(|(.., calls)| *calls == 0), "calls to the allocator during 1,000 requests: {seen:?}");
}

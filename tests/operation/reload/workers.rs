//! A worker that dies is replaced, and the proxy is not ready meanwhile. ringway runs inside this process, so that a
//! worker's death can be told to it; the one that it takes for dead ends, because nobody is left to tell it anything.
//! What a real panic leaves behind is tested on a worker alone.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use ringway::base::rng::Rng;
use ringway::control::{self, ConfigSource, Event, Loaded};
use ringway::io::{self, bind_reuseport, doorbell};
use ringway::istio;
use ringway::plan::{Overrides, Plan};
use ringway::proxy::{Budget, CoreParts};
use ringway::upstream::{CoreStats, SharedCluster};
use ringway::worker::{self, Install, Message, Report, Socket, Start, WorkerHandle};
use tempfile::TempDir;

use super::{Config, expect, replace, says};
use crate::support::client::{Client, once};
use crate::support::ports;
use crate::support::ringway::{DRIVERS, Driver};
use crate::support::wait::eventually;

fn proxy_document(driver: Driver, port: u16, admin: std::net::SocketAddr, log: &str) -> String {
    format!(
        "apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {{name: test}}\nspec:\n  cpus: [0, 1]\n  driver: {}\n  \
         bind: 127.0.0.1\n  admin: {admin}\n  ports: {{80: {port}}}\n  meshConfig: {{accessLogFile: {log}}}\n",
        driver.name()
    )
}

fn load(file: &Path) -> (ConfigSource, Loaded) {
    let options = istio::Options { permissive: false };
    let source = ConfigSource { paths: vec![file.to_owned()], options, overrides: Overrides::default(), tell: |_| {} };
    let loaded = source.load(&mut std::io::empty());
    assert!(!loaded.has_errors(), "{:?}", loaded.problems);
    (source, loaded)
}

#[test]
fn a_worker_that_dies_is_replaced() {
    for driver in DRIVERS {
        let (old, new) = (says("old"), says("new"));
        let dir = TempDir::new().expect("a temporary folder");
        let (admin, log) = (ports::loopback(ports::free()), dir.path().join("access.log"));
        let proxy = proxy_document(driver, ports::free(), admin, log.to_str().expect("a path in UTF-8"));
        let file = dir.path().join("site.yaml");
        let yaml = |config: &Config| format!("{proxy}---\n{}", config.yaml());
        std::fs::write(&file, yaml(&Config::to(&[&old]))).expect("write the YAML");

        let (source, loaded) = load(&file);
        let mut running = control::start(&loaded.plan).expect("ringway starts");
        running.reload_from(source, loaded);
        let (events, address, registry) = (running.events(), running.addresses()[0], running.registry());
        let control = std::thread::spawn(move || running.serve());
        let ready = || once(admin, "GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").status;
        eventually("ready", || (ready() == 200).then_some(()));
        let mut clients: Vec<_> = (0..8).map(|_| Client::connect(address)).collect();
        clients.iter_mut().for_each(|client| expect(client, "old"));

        // Threads are numbered from 1 in the order of their start. These two have lived for a moment only, so they are
        // not replaced at once, and being not ready can be seen.
        for worker in 0..2 {
            let report = Report::Ended { worker, error: Some("killed by a test".to_owned()) };
            events.send(Event::Worker { generation: worker as u64 + 1, report }).expect("control listens");
        }
        eventually("not ready", || (ready() == 503).then_some(()));
        clients.iter_mut().for_each(Client::expect_closed);
        // The plan changes while there is no worker.
        replace(&file, &yaml(&Config::to(&[&new])));
        events.send(Event::Reload).expect("control listens");
        eventually("ready again", || (ready() == 200).then_some(()));
        eventually("the reload", || (registry.control().config_reload_success.get() == 1).then_some(()));
        assert_eq!(registry.control().worker_restarts.get(), 2);

        let mut clients: Vec<_> = (0..8).map(|_| Client::connect(address)).collect();
        clients.iter_mut().for_each(|client| expect(client, "new"));
        drop(clients);
        eventually("the new workers' lines in the log", || {
            let text = std::fs::read_to_string(&log).expect("the log");
            (text.lines().count() == 16).then_some(())
        });
        events.send(Event::Stop).expect("control listens");
        control.join().expect("a clean stop");
        assert!(Client::try_connect(address).is_err(), "nobody listens any more");
    }
}

/// New counters for a plan.
fn stats(plan: &Plan) -> CoreStats {
    CoreStats {
        clusters: plan.clusters.iter().map(|_| Arc::default()).collect(),
        endpoints: plan
            .clusters
            .iter()
            .map(|cluster| cluster.endpoints.iter().map(|_| Arc::default()).collect())
            .collect(),
        listeners: plan.listeners.iter().map(|_| Arc::default()).collect(),
        http: plan.listeners.iter().map(|_| Arc::default()).collect(),
        ..CoreStats::default()
    }
}

#[test]
fn a_worker_that_panics_takes_its_connections_along() {
    for driver in [io::Driver::Auto, io::Driver::Epoll] {
        let origin = says("hello");
        let dir = TempDir::new().expect("a temporary folder");
        let file = dir.path().join("site.yaml");
        let limits = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: origin}\nspec: {host: \
                      origin, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}}\n";
        let yaml = format!("{}---\n{limits}", Config::to(&[&origin]).yaml());
        std::fs::write(&file, yaml).expect("write the YAML");
        let plan = load(&file).1.plan;
        let shared = SharedCluster::all(&plan, 1);
        let breaker = shared.iter().find_map(|shared| shared.breaker.clone()).expect("a limited cluster");
        let permits = || breaker.connections.limit().taken();
        let socket = bind_reuseport(ports::loopback(ports::free())).expect("a port");
        let address = socket.local_addr().expect("a bound socket has an address");
        let ((mail, mailbox), (bell, ringer)) = (channel(), doorbell().expect("a doorbell"));
        let (_letter, letters) = channel();
        let (reports, reported) = channel();
        let reports = std::sync::Mutex::new(reports);
        let budget = Budget::new(1);
        let start = Start {
            cpu: core_affinity::get_core_ids().expect("CPUs")[0],
            driver,
            parts: CoreParts {
                index: 0,
                plan: plan.clone(),
                stats: stats(&plan),
                shared,
                rng: Rng::seeded(1),
                log: None,
                budget: budget.clone(),
                stands_for_loopback: None,
                hostname: "test".into(),
                instance: ringway::http::hops::id(1),
                resolve_authority: Box::new(|_| {}),
                most_mirrors: 0,
                tell_mirrors: Box::new(|_| {}),
                peers: Vec::new(),
            },
            listeners: vec![socket.try_clone().expect("a copy")],
            mailbox,
            core_messages: letters,
            bell,
            reports: Arc::new(move |report| {
                assert!(!matches!(report, Report::Installed { .. }), "on purpose: the panic of this test");
                let _ = reports.lock().expect("nobody panics here").send(report);
            }),
        };
        let thread = std::thread::spawn(|| worker::main(start));
        assert!(matches!(reported.recv(), Ok(Report::Serving { .. })));
        let mut client = Client::connect(address);
        expect(&mut client, "hello");
        assert_eq!((permits(), origin.open()), (1, 1), "a connection that rests");
        let handle = WorkerHandle::new(mail, Arc::new(ringer));
        let (sockets, stats) = (vec![Socket::Kept(ringway::base::id::ListenerId(0))], stats(&plan));
        let shared = SharedCluster::all(&plan, 1);
        handle.send(Message::Install(Box::new(Install { plan, stats, shared, sockets, log_format: None })));
        client.expect_closed();
        let ended = reported.recv().expect("it tells of its end");
        assert!(matches!(&ended, Report::Ended { error: Some(why), .. } if why == "its thread panicked"), "{ended:?}");
        assert!(thread.join().is_err(), "it ended in a panic");
        assert_eq!(budget.open(), 0, "the connection's place is free again");
        assert_eq!(permits(), 0, "and so is the permit of the one to the origin");
        eventually("the origin's connection ended", || (origin.open() == 0).then_some(()));
    }
}

//! What a reload means to the traffic: what has changed is served, what has not goes on.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use super::{Config, GET, Site, expect, on_each_driver, replace, says};
use crate::support::origin::Origin;
use crate::support::ringway::Driver;
use crate::support::wait::{PATIENCE, eventually};

on_each_driver![
    a_signal_reloads_also_what_has_not_changed,
    open_connections_go_by_the_new_plan,
    a_request_in_flight_ends_on_its_plan,
    an_upload_in_flight_ends_on_its_plan,
    upstream_connections_are_used_on,
    a_changed_cluster_keeps_the_connections_of_endpoints_that_stay,
    connections_to_endpoints_that_go_are_closed,
    what_vanishes_and_returns_begins_anew,
    a_route_counts_on_under_its_stat_prefix,
    nothing_is_lost_under_load,
    many_reloads_leave_nothing_behind,
];

/// An origin that says `word` once it is told to.
fn on_command(word: &'static str) -> (Origin, Sender<()>) {
    let (go, wait) = channel();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |peer| {
        while peer.request()?.is_some() {
            let _ = wait.lock().expect("nobody panics while waiting").recv_timeout(PATIENCE); // the end of the test releases too
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{word}", word.len()))?;
        }
        Ok(())
    });
    (origin, go)
}

fn a_signal_reloads_also_what_has_not_changed(driver: Driver) {
    let origin = says("hello");
    let config = Config::to(&[&origin]);
    let site = Site::new(driver, &config);
    let mut client = site.ringway.client();
    expect(&mut client, "hello");
    for number in 1..=3 {
        site.hang_up();
        eventually("the reload", || (site.reloads() == number).then_some(()));
        expect(&mut client, "hello");
    }
    assert_eq!(site.ringway.admin("/ready").status, 200);
    drop(client);
    let said = site.ringway.stop().said;
    assert!(said.contains("reloaded in "), "{said}");
}

/// Whatever other prefixes come before it, and on both ports.
fn a_route_counts_on_under_its_stat_prefix(driver: Driver) {
    let origin = says("hello");
    let config = Config::to(&[&origin]).ports(&[80, 81]);
    let block = |name: &str| format!("    - {{uri: {{prefix: /{name}}}, statPrefix: {name}}}\n");
    let with = |names: &[&str]| {
        let blocks: String = names.iter().map(|name| block(name)).collect();
        config.yaml().replace("  - route:", &format!("  - match:\n{blocks}    route:"))
    };
    let site = Site::new(driver, &config);
    let count = |port: u16, name: &str| site.ringway.stat(&format!("vhost.*:{port}.route.{name}.upstream_rq_total"));
    let mut client = site.ringway.client();
    for (names, x, y) in [(&["x"][..], 1, 0), (&["y", "x"], 2, 1), (&["x", "z", "y"], 3, 2), (&["x"], 4, 0)] {
        let before = site.reloads();
        replace(&site.file(), &with(names));
        site.hang_up();
        eventually("the reload", || (site.reloads() > before).then_some(()));
        for name in names {
            assert_eq!(client.ask(format!("GET /{name} HTTP/1.1\r\nHost: a.example.com\r\n\r\n")).text(), "hello");
        }
        eventually("the requests counted", || (count(80, "x") == x && count(80, "y") == y).then_some(()));
        assert_eq!(count(81, "x"), 0, "{names:?}");
    }
    drop(client);
    site.ringway.stop();
}

fn open_connections_go_by_the_new_plan(driver: Driver) {
    let (old, new) = (says("old"), says("new"));
    let site = Site::new(driver, &Config::to(&[&old]));
    let mut clients: Vec<_> = (0..8).map(|_| site.ringway.client()).collect(); // on both workers
    clients.iter_mut().for_each(|client| expect(client, "old"));
    site.reload(&Config::to(&[&new]));
    clients.iter_mut().for_each(|client| expect(client, "new"));
    drop(clients);
    site.ringway.quiet();
    site.ringway.stop();
}

fn a_request_in_flight_ends_on_its_plan(driver: Driver) {
    let ((old, go), new) = (on_command("old"), says("new"));
    let config = Config::to(&[&old]);
    let site = Site::new(driver, &config);
    let mut client = site.ringway.client();
    client.send(GET);
    eventually("the request at the origin", || (old.requests().len() == 1).then_some(()));
    site.reload(&Config { service: "other".to_owned(), ..Config::to(&[&new]) });
    assert_eq!(site.answer(), "new");
    go.send(()).expect("the origin waits");
    let response = client.response();
    assert_eq!((response.status, response.text()), (200, "old".to_owned()));
    expect(&mut client, "new");
    drop(client);
    // Nobody keeps a connection to what no plan has any more.
    eventually("the connection to the old origin closed", || (old.open() == 0).then_some(()));
    let line = site.ringway.logged(&["outbound|8000||origin.default"]);
    assert!(line.contains(" 200 "), "{line}");
    site.ringway.stop();
}

fn an_upload_in_flight_ends_on_its_plan(driver: Driver) {
    let (old, new) = (Origin::echo(), says("new"));
    let site = Site::new(driver, &Config::to(&[&old]));
    let mut client = site.ringway.client();
    client.send("POST /x HTTP/1.1\r\nHost: a.example.com\r\ncontent-length: 10\r\n\r\n12345");
    eventually("the upload at the origin", || (old.open() == 1).then_some(()));
    site.reload(&Config::to(&[&new]));
    client.send("67890");
    assert_eq!(client.response().text(), "1234567890");
    expect(&mut client, "new");
    drop(client);
    site.ringway.stop();
}

fn upstream_connections_are_used_on(driver: Driver) {
    let (origin, go) = on_command("hello");
    let config = Config::to(&[&origin]);
    let site = Site::with(driver, &config, |setup| setup.cpus(&[0]));
    let cluster = config.cluster();
    let mut client = site.ringway.client();
    go.send(()).expect("the origin waits");
    expect(&mut client, "hello");
    for number in 1..=3 {
        // At rest while the plan changes...
        site.reload(&Config { condition: Some(format!("a{number}")), ..config.clone() });
        // ...and in use.
        client.send(GET);
        eventually("the request at the origin", || (origin.requests().len() == 2 * number).then_some(()));
        site.reload(&Config { condition: Some(format!("b{number}")), ..config.clone() });
        go.send(()).expect("the origin waits");
        assert_eq!(client.response().text(), "hello");
        go.send(()).expect("the origin waits");
        expect(&mut client, "hello");
    }
    assert_eq!(origin.accepted(), 1, "one connection carried all");
    assert_eq!(site.ringway.stat(&format!("{cluster}.upstream_cx_total")), 1);
    assert_eq!(site.ringway.stat(&format!("{cluster}.upstream_rq_total")), 7, "counted on over six reloads");
    assert_eq!(site.reloads(), 6);
    drop(client);
    site.ringway.quiet();
    site.ringway.stop();
}

fn a_changed_cluster_keeps_the_connections_of_endpoints_that_stay(driver: Driver) {
    let (stays, comes) = (says("stays"), says("comes"));
    let site = Site::with(driver, &Config::to(&[&stays]), |setup| setup.cpus(&[0]));
    let mut client = site.ringway.client();
    expect(&mut client, "stays");
    site.reload(&Config::to(&[&stays, &comes]));
    let mut answers: Vec<String> = (0..40).map(|_| client.ask(GET).text()).collect();
    answers.sort();
    answers.dedup();
    assert_eq!(answers, ["comes", "stays"]);
    assert_eq!((stays.accepted(), comes.accepted()), (1, 1));
    site.reload(&Config::to(&[&stays]));
    (0..5).for_each(|_| expect(&mut client, "stays"));
    assert_eq!(stays.accepted(), 1);
    drop(client);
    site.ringway.stop();
}

fn connections_to_endpoints_that_go_are_closed(driver: Driver) {
    let ((busy, go), idle, new) = (on_command("busy"), says("idle"), says("new"));
    let site = Site::with(driver, &Config::to(&[&idle]), |setup| setup.cpus(&[0]));
    let mut client = site.ringway.client();
    expect(&mut client, "idle");
    assert_eq!(idle.open(), 1);
    site.reload(&Config::to(&[&busy]));
    eventually("the idle connection closed", || (idle.open() == 0).then_some(()));
    client.send(GET);
    eventually("the request at the origin", || (busy.requests().len() == 1).then_some(()));
    site.reload(&Config::to(&[&new]));
    assert_eq!(busy.open(), 1, "it has a request under way");
    go.send(()).expect("the origin waits");
    assert_eq!(client.response().text(), "busy");
    eventually("the connection closed after its request", || (busy.open() == 0).then_some(()));
    drop(client);
    site.ringway.quiet();
    assert_eq!(site.ringway.sum_of("upstream_cx_active"), 0);
    site.ringway.stop();
}

fn what_vanishes_and_returns_begins_anew(driver: Driver) {
    let origin = says("hello");
    let config = Config::to(&[&origin]);
    let site = Site::new(driver, &config);
    let name = format!("{}.upstream_rq_total", config.cluster());
    assert_eq!(site.answer(), "hello");
    assert_eq!(site.ringway.stat(&name), 1);
    let other = Config { service: "other".to_owned(), ..config.clone() };
    site.reload(&other);
    assert_eq!(site.answer(), "hello");
    assert!(!site.ringway.admin("/stats").text().contains(&config.cluster()), "no plan has it");
    assert_eq!(site.ringway.stat(&format!("{}.upstream_rq_total", other.cluster())), 1);
    site.reload(&config);
    assert_eq!(site.answer(), "hello");
    assert_eq!(site.ringway.stat(&name), 1);
    site.ringway.stop();
}

fn nothing_is_lost_under_load(driver: Driver) {
    let (first, second) = (says("first"), says("second"));
    let configs = [Config::to(&[&first]), Config::to(&[&second]), Config::to(&[&first, &second])];
    let site = Site::new(driver, &configs[0]);
    let address = site.ringway.address();
    let (stop, stopped) = (std::sync::atomic::AtomicBool::new(false), std::sync::atomic::Ordering::Relaxed);
    let asked: usize = std::thread::scope(|scope| {
        let ask = || {
            let (mut client, mut asked) = (super::Client::connect(address), 0);
            while !stop.load(stopped) {
                assert_eq!(client.ask(GET).status, 200);
                asked += 1;
            }
            asked
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        for round in 0..12 {
            site.reload(&configs[(round + 1) % configs.len()]);
        }
        stop.store(true, stopped);
        clients.into_iter().map(|client| client.join().expect("every request is answered with 200")).sum()
    });
    let stats = site.ringway.admin("/stats").text();
    assert_eq!(site.ringway.sum_of("downstream_rq_2xx"), asked as u64, "{stats}");
    site.ringway.quiet();
    site.ringway.stop();
}

fn many_reloads_leave_nothing_behind(driver: Driver) {
    let origin = says("hello");
    let config = Config::to(&[&origin]);
    let site = Site::new(driver, &config);
    let mut client = site.ringway.client();
    let version = |number: usize| Config { condition: Some(number.to_string()), ..config.clone() };
    // The first ones fill what is kept: buffers, the allocator's pools.
    for number in 0..5 {
        site.reload(&version(number));
        expect(&mut client, "hello");
    }
    let (descriptors, threads) = (site.ringway.process.descriptors(), site.ringway.process.threads());
    for number in 5..25 {
        site.reload(&version(number));
        expect(&mut client, "hello");
    }
    eventually("no descriptor more than before", || (site.ringway.process.descriptors() <= descriptors).then_some(()));
    eventually("no thread more than before", || (site.ringway.process.threads() <= threads).then_some(()));
    drop(client);
    site.ringway.stop();
}

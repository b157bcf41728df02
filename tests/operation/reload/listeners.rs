//! Listeners come and go with the Gateway's ports; connections of those that stay do not notice.

use std::net::TcpListener;

use super::{Config, GET, Site, expect, on_each_driver, says};
use crate::support::client::{Client, once};
use crate::support::origin::Origin;
use crate::support::ports::loopback;
use crate::support::ringway::Driver;
use crate::support::wait::eventually;

on_each_driver![
    a_new_port_opens_and_a_removed_one_closes,
    a_port_can_come_and_go,
    listeners_that_stay_keep_their_connections,
    a_request_under_way_on_a_removed_port_finishes,
    a_port_in_use_refuses_the_whole,
    the_address_can_change,
];

#[track_caller]
fn refuses(site: &Site, port: u16) {
    let address = site.ringway.listener(port);
    assert!(Client::try_connect(address).is_err(), "Gateway port {port} is still listened on");
}

fn a_new_port_opens_and_a_removed_one_closes(driver: Driver) {
    let origin = says("hello");
    let config = Config::to(&[&origin]);
    let site = Site::new(driver, &config);
    refuses(&site, 81);
    site.reload(&config.ports(&[80, 81]));
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(site.ringway.listener(81))).collect();
    clients.iter_mut().for_each(|client| expect(client, "hello"));
    let mut unused = Client::connect(site.ringway.listener(81));
    eventually("the last one is accepted", || (site.ringway.sum_of("downstream_cx_active") >= 9).then_some(()));
    site.reload(&config.ports(&[80]));
    refuses(&site, 81);
    clients.iter_mut().for_each(Client::expect_closed);
    unused.expect_closed();
    assert_eq!(site.answer(), "hello");
    site.ringway.quiet();
    site.ringway.stop();
}

fn a_port_can_come_and_go(driver: Driver) {
    let origin = says("hello");
    let config = Config::to(&[&origin]);
    let site = Site::new(driver, &config);
    for _ in 0..5 {
        site.reload(&config.ports(&[80, 81]));
        let mut kept = Client::connect(site.ringway.listener(81));
        expect(&mut kept, "hello");
        site.reload(&config);
        refuses(&site, 81);
        kept.expect_closed();
    }
    assert_eq!(site.refused(), 0);
    site.ringway.stop();
}

/// Listeners are numbered by Gateway port: a lower one that comes gives the others new numbers.
fn listeners_that_stay_keep_their_connections(driver: Driver) {
    let origin = says("hello");
    let config = Config::to(&[&origin]);
    let site = Site::new(driver, &config.ports(&[81]));
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(site.ringway.listener(81))).collect();
    clients.iter_mut().for_each(|client| expect(client, "hello"));
    site.reload(&config.ports(&[80, 81]));
    clients.iter_mut().for_each(|client| expect(client, "hello"));
    assert_eq!(site.answer(), "hello");
    site.reload(&config.ports(&[81]));
    clients.iter_mut().for_each(|client| expect(client, "hello"));
    let port = site.ringway.listener(81).port();
    assert_eq!(site.ringway.stat(&format!("http.outbound_127.0.0.1_{port}.downstream_rq_total")), 24);
    assert_eq!(site.ringway.stat(&format!("listener.127.0.0.1_{port}.downstream_cx_total")), 8);
    drop(clients);
    site.ringway.quiet();
    site.ringway.stop();
}

fn a_request_under_way_on_a_removed_port_finishes(driver: Driver) {
    let (old, new) = (Origin::echo(), says("new"));
    let config = Config::to(&[&old]).ports(&[80, 81]);
    let site = Site::new(driver, &config);
    let mut uploading = Client::connect(site.ringway.listener(81));
    uploading.send("POST /x HTTP/1.1\r\nHost: a.example.com\r\ncontent-length: 10\r\n\r\n12345");
    eventually("the upload at the origin", || (old.open() == 1).then_some(()));
    let mut beginning = Client::connect(site.ringway.listener(81));
    beginning.send("POST /y HTTP/1.1\r\nHost: a.exam");
    let mut unused = Client::connect(site.ringway.listener(81));
    eventually("all three are accepted", || (site.ringway.sum_of("downstream_cx_active") >= 3).then_some(()));
    eventually("the half head is read", || (site.ringway.sum_of("downstream_cx_rx_bytes_total") >= 90).then_some(()));
    site.reload(&Config::to(&[&new]).ports(&[80]));
    refuses(&site, 81);
    unused.expect_closed();
    uploading.send("67890");
    let response = uploading.response();
    assert_eq!((response.text(), response.header("connection")), ("1234567890".to_owned(), Some("close")));
    uploading.expect_closed();
    // The new plan has no such listener: the last one that had it answers.
    beginning.send("ple.com\r\ncontent-length: 3\r\n\r\nabc");
    let response = beginning.response();
    assert_eq!((response.text(), response.header("connection")), ("abc".to_owned(), Some("close")));
    beginning.expect_closed();
    assert_eq!(site.answer(), "new");
    site.ringway.quiet();
    site.ringway.stop();
}

fn a_port_in_use_refuses_the_whole(driver: Driver) {
    let (old, new) = (says("old"), says("new"));
    let site = Site::new(driver, &Config::to(&[&old]));
    let taken = TcpListener::bind(site.ringway.listener(81)).expect("a port that is free");
    site.write(&Config::to(&[&new]).ports(&[80, 81]));
    site.hang_up();
    let said = site.refusal_after(0);
    let wanted = format!("cannot listen on {} for Gateway port 81", site.ringway.listener(81));
    assert!(said.contains(&wanted) && said.contains("stays as it was"), "{said}");
    assert_eq!(site.answer(), "old", "nothing of it is in force");
    assert_eq!((site.reloads(), site.ringway.admin("/ready").status), (0, 200));
    drop(taken);
    site.hang_up();
    eventually("the reload", || (site.reloads() == 1).then_some(()));
    assert_eq!(once(site.ringway.listener(81), GET).text(), "new");
    site.ringway.stop();
}

/// 0.0.0.0 overlaps with 127.0.0.1: the new listener must not take the old one for a stranger's.
fn the_address_can_change(driver: Driver) {
    let (old, new) = (says("old"), says("new"));
    let site = Site::new(driver, &Config::to(&[&old]));
    assert_eq!(site.answer(), "old");
    let proxy = site.ringway.config().join("proxy.yaml");
    let text = std::fs::read_to_string(&proxy).expect("read proxy.yaml");
    assert!(text.contains("bind: 127.0.0.1\n"));
    super::replace(&proxy, &text.replace("bind: 127.0.0.1\n", "bind: 0.0.0.0\n"));
    site.reload(&Config::to(&[&new]));
    let port = site.ringway.address().port();
    assert_eq!(once(loopback(port), GET).text(), "new");
    assert_eq!(site.ringway.stat(&format!("listener.0.0.0.0_{port}.downstream_cx_total")), 1);
    site.ringway.stop();
}

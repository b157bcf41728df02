//! Reloads: endpoints that stay, come and go.

use rustix::process::Signal;

use super::{Sockets, app, counted, field, finish, on_each_driver, routed, text};
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::wait::eventually;

on_each_driver![an_endpoint_that_stays_keeps_its_connections];

/// Puts other endpoints in place and waits until they are in force.
#[track_caller]
fn reload(ringway: &Ringway, addresses: &[String]) {
    let before = ringway.stat("ringway.config_reload_success");
    let (file, beside) = (ringway.config().join("1.yaml"), ringway.config().join("new"));
    std::fs::write(&beside, app(addresses)).expect("write beside");
    std::fs::rename(&beside, &file).expect("rename over");
    ringway.process.signal(Signal::HUP);
    eventually("the reload", || (ringway.stat("ringway.config_reload_success") > before).then_some(()));
}

fn an_endpoint_that_stays_keeps_its_connections(driver: Driver) {
    let sockets = Sockets::new();
    let (stays, goes, comes) = (sockets.origin("stays"), sockets.origin("goes"), sockets.origin("comes"));
    let [first, second, third] = ["stays", "goes", "comes"].map(|name| sockets.address(name));
    let ringway = Setup::new(driver).yaml(routed("")).yaml(app(&[second.clone(), first.clone()])).start();
    let mut client = ringway.client();
    let mut until = |who: &str| eventually(who, || (text(&mut client) == who).then_some(()));
    until("stays");
    until("goes");
    let path = |name: &str| sockets.path(name).display().to_string();
    reload(&ringway, &[third, first.clone()]);
    eventually("the connections of who went end", || (goes.open() == 0).then_some(()));
    until("comes");
    until("stays");
    assert_eq!((stays.accepted(), goes.accepted(), comes.accepted()), (1, 1, 1));
    assert_eq!(field(&ringway, &path("stays"), "cx_total").as_deref(), Some("1"), "it goes on counting");
    assert_eq!(field(&ringway, &path("goes"), "cx_total"), None);
    // The socket in place of an address, and the other way round.
    reload(&ringway, &["127.0.0.1".to_owned()]);
    eventually("none of them is used", || (stays.open() + comes.open() == 0).then_some(()));
    reload(&ringway, &[first]);
    until("stays");
    assert_eq!(stays.accepted(), 2);
    counted(&ringway, "membership_total", 1);
    drop(client);
    finish(ringway, (stays, goes, comes));
}

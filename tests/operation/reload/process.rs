//! Settings of the process: those that a reload changes, and those that it says it does not.

use std::fs;

use rustix::process::Signal;

use super::{Config, GET, Site, expect, on_each_driver, replace, says};
use crate::support::client::Client;
use crate::support::ringway::Driver;
use crate::support::wait::eventually;

on_each_driver![limits_take_their_new_values, the_log_takes_its_new_form, a_moved_log_is_opened_anew];

fn edit(site: &Site, from: &str, to: &str) {
    let proxy = site.ringway.config().join("proxy.yaml");
    let text = fs::read_to_string(&proxy).expect("read proxy.yaml");
    assert!(text.contains(from), "{text}");
    replace(&proxy, &text.replace(from, to));
}

fn limits_take_their_new_values(driver: Driver) {
    let origin = says("hello");
    let config = Config::to(&[&origin]);
    let site = Site::with(driver, &config, |setup| setup.limit("maxConnections", "9").limit("maxHeaders", "50"));
    let mut first = site.ringway.client();
    expect(&mut first, "hello");
    edit(&site, "maxConnections: 9", "maxConnections: 1");
    edit(&site, "maxHeaders: 50", "maxHeaders: 2");
    site.reload(&config);
    let mut second = site.ringway.client();
    second.expect_closed();
    let many = GET.replace("\r\n\r\n", "\r\na: 1\r\nb: 2\r\n\r\n");
    assert_eq!(first.ask(&many).status, 431, "also on a connection that was open");
    drop(first);
    site.ringway.quiet();
    edit(&site, "maxConnections: 1", "maxConnections: 2");
    edit(&site, "maxHeaders: 2", "maxHeaders: 50");
    site.reload(&config);
    let mut clients = [site.ringway.client(), site.ringway.client()];
    clients.iter_mut().for_each(|client| assert_eq!(client.ask(&many).status, 200));
    drop(clients);
    site.ringway.quiet();
    site.ringway.stop();
}

fn the_log_takes_its_new_form(driver: Driver) {
    let origin = says("hello");
    let config = Config::to(&[&origin]);
    let site = Site::with(driver, &config, |setup| setup.mesh_config("accessLogFormat", "'before %RESPONSE_CODE%'"));
    let mut client = site.ringway.client();
    expect(&mut client, "hello");
    site.ringway.logged(&["before 200"]);
    edit(&site, "before %RESPONSE_CODE%", "after %RESPONSE_CODE% %PROTOCOL%");
    site.reload(&config);
    expect(&mut client, "hello");
    site.ringway.logged(&["after 200 HTTP/1.1"]);
    drop(client);
    site.ringway.stop();
}

fn a_moved_log_is_opened_anew(driver: Driver) {
    let origin = says("hello");
    let site = Site::new(driver, &Config::to(&[&origin]));
    let mut client = site.ringway.client();
    expect(&mut client, "hello");
    site.ringway.logged(&["GET /x"]);
    let log = site.ringway.config().with_file_name("access.log");
    let moved = log.with_extension("log.1");
    fs::rename(&log, &moved).expect("move the log");
    site.ringway.process.signal(Signal::USR1);
    eventually("a new file", || log.exists().then_some(()));
    expect(&mut client, "hello");
    site.ringway.logged(&["GET /x"]);
    assert_eq!(fs::read_to_string(&moved).expect("the old log").lines().count(), 1);
    drop(client);
    site.ringway.stop();
}

#[test]
fn what_cannot_change_is_said() {
    let (old, new) = (says("old"), says("new"));
    let site = Site::new(Driver::Epoll, &Config::to(&[&old]));
    let admin = site.ringway.admin;
    edit(&site, "cpus: [0, 1]", "cpus: [0]");
    edit(&site, "driver: epoll", "driver: io_uring");
    edit(&site, &format!("admin: {admin}"), "admin: 'off'");
    edit(&site, "access.log", "other.log");
    site.reload(&Config::to(&[&new]));
    let said = site.ringway.process.said();
    for field in ["spec.cpus", "spec.driver", "spec.admin", "spec.meshConfig.accessLogFile"] {
        let told = said.lines().any(|line| line.contains(&format!("{field} was changed")) && line.contains("WARN"));
        assert!(told, "{field}: {said}");
    }
    assert_eq!(site.answer(), "new", "the rest is in force");
    assert_eq!(site.ringway.stat("server.concurrency"), 2);
    site.ringway.logged(&["GET /x"]);
    assert!(Client::try_connect(admin).is_ok());
    site.ringway.stop();
}

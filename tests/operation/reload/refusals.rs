//! A configuration that cannot be served changes nothing, and it is said why.

use std::process::{Command, Stdio};

use super::{Config, Site, replace, says};
use crate::support::ringway::{Driver, Setup};
use crate::support::wait::eventually;

const DRIVER: Driver = Driver::Epoll; // the workers have no part in this

#[test]
fn a_bad_file_keeps_the_old_plan_until_it_is_mended() {
    let (old, new) = (says("old"), says("new"));
    let site = Site::new(DRIVER, &Config::to(&[&old]));
    let good = Config::to(&[&new]).yaml();
    // A field that does not exist, and what is no YAML at all.
    let bad = good.replace("hosts: ['*']\n  gateways", "hostz: ['*']\n  gateways");
    assert_ne!(bad, good);
    for (number, (text, problem)) in [(bad.as_str(), "hostz"), ("{", "site.yaml:1: ")].into_iter().enumerate() {
        replace(&site.file(), text);
        let said = site.refusal_after(number as u64);
        let place = format!("{}:", site.file().display());
        let told = said.lines().any(|line| line.starts_with(&place) && line.contains(problem));
        assert!(told, "each problem has a line: {said}");
        assert!(said.contains("not reloaded"), "{said}");
        assert_eq!(site.answer(), "old");
        assert_eq!((site.reloads(), site.ringway.admin("/ready").status), (0, 200));
    }
    replace(&site.file(), &good);
    eventually("the answer of the mended one", || (site.answer() == "new").then_some(()));
    assert_eq!((site.reloads(), site.refused()), (1, 2));
    site.ringway.stop();
}

#[test]
fn a_file_that_is_gone_keeps_the_old_plan() {
    let origin = says("hello");
    let site = Site::new(DRIVER, &Config::to(&[&origin]));
    std::fs::remove_dir_all(site.folder.path()).expect("remove");
    let said = site.refusal_after(0);
    assert!(said.contains("no such file or folder"), "{said}");
    assert_eq!(site.answer(), "hello");
    site.ringway.stop();
}

#[test]
fn a_log_format_that_is_wrong_keeps_the_old_plan() {
    let (old, new) = (says("old"), says("new"));
    let site = Site::new(DRIVER, &Config::to(&[&old]));
    let proxy = site.ringway.config().join("proxy.yaml");
    let text = std::fs::read_to_string(&proxy).expect("read proxy.yaml");
    replace(&proxy, &format!("{text}    accessLogFormat: '%NONSENSE%'\n"));
    site.write(&Config::to(&[&new]));
    let said = site.refusal_after(0);
    assert!(said.contains("NONSENSE"), "{said}");
    assert_eq!(site.answer(), "old");
    site.ringway.stop();
}

#[test]
fn problems_can_be_had_as_json() {
    let origin = says("hello");
    let site = Site::with(DRIVER, &Config::to(&[&origin]), |setup| setup.flags(&["--output", "json"]));
    replace(&site.file(), "kind: Gateway\n");
    let said = site.refusal_after(0);
    let mut problems = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    assert!(problems.any(|problem| problem["file"].as_str() == site.file().to_str()), "{said}");
    site.ringway.stop();
}

#[test]
fn standard_input_cannot_be_read_again() {
    let origin = says("hello");
    let site = Site::with(DRIVER, &Config::to(&[&origin]), |setup| setup.path("-"));
    site.hang_up();
    let said = site.refusal_after(0);
    assert!(said.contains("standard input"), "{said}");
    assert_eq!(site.answer(), "hello");
    site.ringway.stop();
}

/// Reading this configuration again does not end: a pipe that nobody writes to.
#[test]
fn a_stop_does_not_wait_for_a_reload() {
    let origin = says("hello");
    let mut site = Site::new(DRIVER, &Config::to(&[&origin]));
    let pipe = site.folder.path().join("pipe.yaml");
    let made = Command::new("mkfifo").arg(&pipe).stdin(Stdio::null()).status().expect("mkfifo");
    assert!(made.success());
    site.hang_up();
    eventually("the reload has begun", || site.ringway.process.said().contains("reloading").then_some(()));
    assert_eq!(site.answer(), "hello");
    site.ringway.process.signal(rustix::process::Signal::TERM);
    site.ringway.ended();
}

#[test]
fn a_reload_while_starting_is_not_lost() {
    let origin = says("hello");
    let setup = Setup::new(DRIVER).yaml(Config::to(&[&origin]).yaml());
    let ringway = setup.start();
    // Signals that come faster than reloads are done become one or more reloads, and none is left undone.
    for _ in 0..20 {
        ringway.process.signal(rustix::process::Signal::HUP);
    }
    eventually("a reload", || (ringway.stat("ringway.config_reload_success") >= 1).then_some(()));
    assert_eq!(ringway.stat("ringway.config_reload_failure"), 0);
    ringway.stop();
}

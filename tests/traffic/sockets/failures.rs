//! What does not work: sockets that are not there, that nobody listens on or may connect to, and what becomes of them in
//! retries and ejection.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{GET, Sockets, app, counted, field, finish, on_each_driver, once, routed, rule, start, stat, text};
use crate::support::origin::Origin;
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::skip;
use crate::support::wait::eventually;

on_each_driver![
    a_server_may_come_later_and_go,
    a_server_that_accepts_nobody_is_not_waited_for,
    who_may_not_connect_is_told,
    a_retry_goes_to_another,
    who_fails_is_out,
    who_is_not_there_is_out,
    a_connection_closed_at_its_reuse_is_not_noticed,
];

const UNREACHED: &str =
    "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure";

/// Asserts that a request fails, and what the log says of it.
#[track_caller]
fn refused(ringway: &Ringway, path: &str, why: &str) {
    let answer = once(ringway);
    assert_eq!((answer.status, answer.text().as_str()), (503, UNREACHED));
    let reason = format!("immediate_connect_error:_{why}|remote_address:{path}");
    let details = format!("upstream_reset_before_response_started{{remote_connection_failure|{reason}}}");
    let line = ringway.logged(&[" 503 UF", &format!(" {details} "), &format!("\"{reason}\"")]);
    assert!(line.contains(&format!("\"{path}\"")), "{line}");
}

fn a_server_may_come_later_and_go(driver: Driver) {
    let sockets = Sockets::new();
    // One core, so that there is one pool. No retries, so that each request is one connect.
    let ringway =
        Setup::new(driver).yaml(routed("retries: {attempts: 0}")).yaml(app(&[sockets.address("app")])).start();
    let path = sockets.path("app").display().to_string();
    refused(&ringway, &path, "No_such_file_or_directory");
    let origin = sockets.origin("app");
    let mut client = ringway.client();
    assert_eq!(text(&mut client), "app");
    drop(client);
    ringway.quiet();
    drop(origin); // its file stays
    eventually("the end of the pooled connection", || (stat(&ringway, "upstream_cx_active") == 0).then_some(()));
    refused(&ringway, &path, "Connection_refused");
    let origin = sockets.origin("app");
    assert_eq!(once(&ringway).text(), "app");
    assert_eq!((stat(&ringway, "upstream_cx_connect_fail"), stat(&ringway, "upstream_cx_total")), (2, 4));
    assert_eq!(field(&ringway, &path, "cx_connect_fail").as_deref(), Some("2"));
    finish(ringway, origin);
}

fn a_server_that_accepts_nobody_is_not_waited_for(driver: Driver) {
    let sockets = Sockets::new();
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&socket2::SockAddr::unix(sockets.path("app")).expect("a path")).expect("it is bound");
    socket.listen(0).expect("it listens");
    let _first = UnixStream::connect(sockets.path("app")).expect("there is room for one");
    let policy = rule("connectionPool: {tcp: {connectTimeout: 60s}}");
    let ringway = Setup::new(driver)
        .yaml(routed("retries: {attempts: 0}"))
        .yaml(app(&[sockets.address("app")]))
        .yaml(policy)
        .start();
    let begun = Instant::now();
    let path = sockets.path("app").display().to_string();
    refused(&ringway, &path, "Resource_temporarily_unavailable");
    assert!(begun.elapsed() < Duration::from_secs(30), "long before the connect timeout");
    finish(ringway, socket);
}

/// Root's ringway is started without the capabilities to which permissions mean nothing.
fn who_may_not_connect_is_told(driver: Driver) {
    let sockets = Sockets::new();
    let inner = sockets.path("closed");
    std::fs::create_dir(&inner).expect("a folder");
    let origin = sockets.origin("closed/app");
    std::fs::set_permissions(&inner, PermissionsExt::from_mode(0o000)).expect("nobody may enter");
    let may_anyway = std::fs::metadata(inner.join("app")).is_ok();
    let bounded: &[&str] =
        if may_anyway { &["setpriv", "--bounding-set=-dac_override,-dac_read_search"] } else { &["env"] };
    let (program, arguments) = bounded.split_first().expect("a program");
    if !Command::new(program).args(arguments).arg("true").status().is_ok_and(|status| status.success()) {
        skip::loudly(
            "SKIPPED: failures::who_may_not_connect_is_told, because root's capabilities cannot be given up here",
        );
        return;
    }
    let ringway = Setup::new(driver)
        .launcher(bounded)
        .yaml(routed("retries: {attempts: 0}"))
        .yaml(app(&[sockets.address("closed/app")]))
        .start();
    let path = sockets.path("closed/app").display().to_string();
    refused(&ringway, &path, "Permission_denied");
    std::fs::set_permissions(&inner, PermissionsExt::from_mode(0o700)).expect("its owner may");
    assert_eq!(once(&ringway).text(), "closed/app");
    finish(ringway, origin);
}

fn a_retry_goes_to_another(driver: Driver) {
    let sockets = Sockets::new();
    let origin = sockets.origin("app");
    let addresses = [sockets.address("missing"), sockets.address("app")];
    let ringway = Setup::new(driver)
        .yaml(routed("retries: {attempts: 2, retryOn: connect-failure, backoff: 1ms}"))
        .yaml(app(&addresses))
        .yaml(rule("loadBalancer: {simple: ROUND_ROBIN}"))
        .start();
    let mut client = ringway.client();
    for _ in 0..10 {
        assert_eq!(text(&mut client), "app");
    }
    counted(&ringway, "upstream_rq_retry_success", stat(&ringway, "upstream_rq_retry"));
    assert!(stat(&ringway, "upstream_cx_connect_fail") > 0, "the missing one was tried");
    drop(client);
    finish(ringway, origin);
}

const DETECTION: &str = "consecutive5xxErrors: 2, interval: 10ms, baseEjectionTime: 500ms, maxEjectionPercent: 100";

/// In use, then out, then in use again, for all workers.
fn who_fails_is_out(driver: Driver) {
    let sockets = Sockets::new();
    let bad = Arc::new(AtomicBool::new(true));
    let now = Arc::clone(&bad);
    let moody = Origin::start_on(sockets.bind("moody"), move |peer| {
        while peer.request()?.is_some() {
            let status = if now.load(Ordering::SeqCst) { "500 Bad" } else { "200 OK" };
            peer.send(format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nmoody"))?;
        }
        Ok(())
    });
    let good = sockets.origin("good");
    let ringway = Setup::new(driver)
        .cpus(&[0, 1])
        .yaml(routed("retries: {attempts: 0}"))
        .yaml(app(&[sockets.address("moody"), sockets.address("good")]))
        .yaml(rule(&format!("loadBalancer: {{simple: ROUND_ROBIN}}, outlierDetection: {{{DETECTION}}}")))
        .start();
    let mut clients: Vec<_> = (0..6).map(|_| ringway.client()).collect();
    let path = sockets.path("moody").display().to_string();
    let flags = || field(&ringway, &path, "health_flags").unwrap_or_default();
    eventually("out", || {
        clients.iter_mut().for_each(|client| _ = text(client));
        (flags() == "/failed_outlier_check").then_some(())
    });
    assert_eq!(stat(&ringway, "outlier_detection.ejections_enforced_consecutive_5xx"), 1);
    bad.store(false, Ordering::SeqCst);
    eventually("in again", || (flags() == "healthy").then_some(()));
    eventually("used again", || (clients.iter_mut().any(|client| text(client) == "moody")).then_some(()));
    drop(clients);
    finish(ringway, (moody, good));
}

fn who_is_not_there_is_out(driver: Driver) {
    let sockets = Sockets::new();
    let good = sockets.origin("good");
    let detection = DETECTION.replace("500ms", "60s");
    let ringway = Setup::new(driver)
        .yaml(routed("retries: {attempts: 0}"))
        .yaml(app(&[sockets.address("good"), sockets.address("missing")]))
        .yaml(rule(&format!("loadBalancer: {{simple: ROUND_ROBIN}}, outlierDetection: {{{detection}}}")))
        .start();
    let mut client = ringway.client();
    let statuses: Vec<u16> = (0..20).map(|_| client.ask(GET).status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 2, "{statuses:?}");
    let path = sockets.path("missing").display().to_string();
    assert_eq!(field(&ringway, &path, "health_flags").as_deref(), Some("/failed_outlier_check"));
    drop(client);
    finish(ringway, good);
}

/// A server that ends its connections after each answer, without having said so.
fn a_connection_closed_at_its_reuse_is_not_noticed(driver: Driver) {
    let sockets = Sockets::new();
    let origin = Origin::start_on(sockets.bind("app"), |peer| -> io::Result<()> {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    });
    let ringway = start(driver, &[sockets.address("app")], |setup| setup);
    let mut client = ringway.client();
    for _ in 0..50 {
        assert_eq!(text(&mut client), "ok");
    }
    counted(&ringway, "upstream_rq_200", 50);
    drop(client);
    finish(ringway, origin);
}

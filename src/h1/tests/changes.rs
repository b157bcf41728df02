use proptest::collection::vec;
use proptest::prelude::*;

use super::super::encode::{self, Connection};
use super::written::{EDGE, Hop, out, sent_over};
use super::*;
use crate::http::head::{HeaderLine, Known};
use crate::http::header_ops::{self, Change, HeaderOps};
use crate::http::outgoing::{BodyLen, RequestOut, ResponseOut, Server};

pub(super) fn changed(change: impl FnOnce(&mut HeaderOps)) -> HeaderOps {
    let mut ops = HeaderOps::new();
    change(&mut ops);
    ops
}

fn remove(ops: &mut HeaderOps, name: &str) {
    ops.remove(Known::of(name.as_bytes()), name.as_bytes());
}

pub(super) fn set(ops: &mut HeaderOps, name: &str, value: &str) {
    ops.set(Known::of(name.as_bytes()), name.as_bytes(), |out| out.extend_from_slice(value.as_bytes()));
}

pub(super) fn add(ops: &mut HeaderOps, name: &str, value: &str) {
    ops.add(Known::of(name.as_bytes()), name.as_bytes(), |out| out.extend_from_slice(value.as_bytes()));
}

fn request(lines: &str, ops: &HeaderOps) -> String {
    let message = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    let what = RequestOut { original_path: Some(b"/old"), ..out("/", BodyLen::None) };
    let edge = Hop { external_address: b"10.0.0.1", ..EDGE };
    sent_over(edge, &message, &RequestOut { ops, ..what })
}

#[test]
fn what_is_added_to_a_list_of_the_proxys_own_stands_in_it() {
    let ops = changed(|ops| {
        for name in ["x-forwarded-for", "X-Request-Id", "x-forwarded-proto", "x-forwarded-for", "x-a"] {
            add(ops, name, "new");
        }
    });
    let written = request("x-a: old\r\nX-Forwarded-For: 1.2.3.4\r\nx-b: b\r\nx-forwarded-for: 5.6.7.8\r\n", &ops);
    let lines: Vec<_> = written.lines().skip(2).take_while(|line| !line.starts_with("x-envoy")).collect();
    assert_eq!(
        lines,
        ["x-a: old", "X-Forwarded-For: 1.2.3.4,5.6.7.8,10.0.0.1,new,new", "x-b: b", "x-forwarded-proto: http,new"]
    );
    assert!(written.contains("\r\nx-request-id: id-1,new\r\n") && written.contains("\r\nx-a: new\r\n"), "{written}");
}

fn response(lines: &str, server: Server<'_>, ops: &HeaderOps) -> String {
    let message = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
    let what =
        ResponseOut { server, date: b"NOW", service_time_ms: Some(7), body: BodyLen::Known(2), switches: false, ops };
    let mut written = Vec::new();
    let kept = (Version::Http11, Connection::KeepAlive);
    encode::response(&mut written, (&good_response(message.as_bytes()), message.as_bytes()), &what, kept);
    String::from_utf8(written).expect("text")
}

/// As Envoy 1.40 does it: what goes leaves no trace, what comes stands behind what the proxy itself says.
#[test]
fn requests() {
    let ops = changed(|ops| {
        remove(ops, "x-rm");
        remove(ops, "user-agent");
        remove(ops, "x-again");
        set(ops, "x-set", "S");
        set(ops, "accept", "text/html");
        set(ops, "x-empty", "");
        add(ops, "x-add", "A");
        add(ops, "x-again", "here");
        add(ops, "x-empty", "");
    });
    let lines = "User-Agent: ua\r\nAccept: */*\r\nX-Rm: 1\r\nx-set: old\r\nX-Set: old2\r\nX-Last: l\r\nx-add: a\r\n\
                 x-again: b\r\nX-Empty: kept\r\nx-rm: 2\r\n";
    assert_eq!(
        request(lines, &ops),
        "GET / HTTP/1.1\r\nHost: h\r\nX-Last: l\r\nx-add: a\r\nX-Empty: kept\r\nx-forwarded-for: 10.0.0.1\r\n\
         x-forwarded-proto: http\r\nx-envoy-external-address: 10.0.0.1\r\nx-request-id: id-1\r\n\
         x-envoy-attempt-count: 1\r\nx-set: S\r\naccept: text/html\r\nx-add: A\r\nx-again: here\r\n\
         x-envoy-original-path: /old\r\n\r\n"
    );
}

#[test]
fn what_the_proxy_says_can_be_changed_too() {
    let ours =
        ["x-forwarded-for", "x-forwarded-proto", "x-envoy-external-address", "x-request-id", "x-envoy-attempt-count"];
    let client = "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Request-Id: mine\r\n";
    let none = changed(|ops| ours.iter().for_each(|name| remove(ops, name)));
    let own = changed(|ops| ours.iter().for_each(|name| set(ops, name, "own")));
    let owned: String = ours.iter().map(|name| format!("{name}: own\r\n")).collect();
    for lines in ["", client] {
        let head = "GET / HTTP/1.1\r\nHost: h\r\n";
        assert_eq!(request(lines, &none), format!("{head}x-envoy-original-path: /old\r\n\r\n"));
        assert_eq!(request(lines, &own), format!("{head}{owned}x-envoy-original-path: /old\r\n\r\n"));
    }
}

#[test]
fn responses() {
    let ops = changed(|ops| {
        remove(ops, "x-up");
        remove(ops, "date");
        set(ops, "x-r", "R");
        set(ops, "x-envoy-upstream-service-time", "9999");
    });
    let lines = "x-up: 1\r\nServer: s\r\nDate: THEN\r\nContent-Length: 2\r\nX-UP: 2\r\n";
    assert_eq!(
        response(lines, Server::Overwrite(b"ringway"), &ops),
        "HTTP/1.1 200 OK\r\nserver: ringway\r\nContent-Length: 2\r\nx-r: R\r\nx-envoy-upstream-service-time: 9999\r\n\
         date: NOW\r\n\r\n"
    );
    let ops = changed(|ops| {
        set(ops, "date", "SET");
        set(ops, "server", "mine");
    });
    assert_eq!(
        response(lines, Server::PassThrough, &ops),
        "HTTP/1.1 200 OK\r\nx-up: 1\r\nContent-Length: 2\r\nX-UP: 2\r\nx-envoy-upstream-service-time: 7\r\ndate: SET\r\n\
         server: mine\r\n\r\n"
    );
}

#[test]
fn nothing_changes_framing_or_host() {
    let names =
        ["host", "connection", "content-length", "Transfer-Encoding", "upgrade", "Keep-Alive", "proxy-connection"];
    let ops = changed(|ops| {
        for name in names {
            remove(ops, name);
            set(ops, name, "1");
            add(ops, name, "2");
        }
    });
    assert!(ops.is_empty());
}

#[test]
fn what_is_set_later_goes_over_what_was_added() {
    let mut ops = changed(|ops| {
        add(ops, "a", "1");
        add(ops, "b", "2");
        add(ops, "A", "3");
        add(ops, "c", "4");
        set(ops, "a", "5");
    });
    assert_eq!(lines(&ops), ["b: 2", "c: 4", "a: 5"]);
    assert_eq!(ops.of(Known::Other, b"C"), Change::To(b"4"));
    assert_eq!(ops.of(Known::Other, b"a"), Change::To(b"5"));
    remove(&mut ops, "d");
    assert_eq!(ops.of(Known::Other, b"D"), Change::Gone);
    assert_eq!(ops.of(Known::Other, b"e"), Change::None);
    ops.clear();
    assert!(ops.is_empty() && !ops.drops(Known::Other, b"a"));
}

#[test]
fn a_value_cannot_begin_another_line() {
    let ops = changed(|ops| {
        set(ops, "a", "x\r\nEvil: 1");
        add(ops, "b", "2");
    });
    assert_eq!(lines(&ops), ["a: xEvil: 1", "b: 2"]);
    assert_eq!(ops.of(Known::Other, b"b"), Change::To(b"2"));
    assert!(header_ops::NONE.is_empty());
}

/// The plain way: a list of lines, changed one operation after the other.
fn naive(
    lines: &[(String, String)],
    removed: &[String],
    set: &[(String, String)],
    added: &[(String, String)],
) -> Vec<String> {
    let mut list = lines.to_vec();
    list.retain(|(name, _)| !removed.iter().any(|other| other.eq_ignore_ascii_case(name)));
    for (name, value) in set {
        if !value.is_empty() {
            list.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            list.push((name.clone(), value.clone()));
        }
    }
    list.extend(added.iter().filter(|(_, value)| !value.is_empty()).cloned());
    list.into_iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

fn shown(lines: &[HeaderLine], buf: &[u8]) -> Vec<String> {
    let lines = lines.iter().filter(|line| line.name.of(buf).len() < 4);
    lines.map(|line| format!("{}: {}", text(line.name.of(buf)), text(line.value.of(buf)))).collect()
}

fn lines(ops: &HeaderOps) -> Vec<String> {
    ops.lines().map(|(_, name, value)| format!("{}: {}", text(name), text(value))).collect()
}

fn some_lines() -> impl Strategy<Value = Vec<(String, String)>> {
    vec(("[abAB][abAB]?", "[a-z]{0,3}"), 0..6)
}

proptest! {
    #[test]
    fn changes_are_what_a_list_would_become(
        lines in some_lines(), removed in vec("[ab][ab]?", 0..3), to_set in some_lines(), added in some_lines(),
        canonical in any::<bool>(),
    ) {
        let ops = changed(|ops| {
            removed.iter().for_each(|name| remove(ops, name));
            to_set.iter().for_each(|(name, value)| set(ops, name, value));
            added.iter().for_each(|(name, value)| add(ops, name, value));
        });
        let colon = if canonical { ": " } else { ":" };
        let text: String = lines.iter().map(|(name, value)| format!("{name}{colon}{value}\r\n")).collect();
        let written = request(&text, &ops);
        let head = good_request(written.as_bytes());
        prop_assert_eq!(shown(&head.headers, written.as_bytes()), naive(&lines, &removed, &to_set, &added));
        let written = response(&text, Server::Overwrite(b"ringway"), &ops);
        let head = good_response(written.as_bytes());
        prop_assert_eq!(shown(&head.headers, written.as_bytes()), naive(&lines, &removed, &to_set, &added));
    }
}

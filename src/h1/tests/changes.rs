use proptest::collection::vec;
use proptest::prelude::*;

use super::super::change::{self, Change, Changes};
use super::super::encode::{self, Connection, OutBody, RequestOut, ResponseOut, Server};
use super::super::head::{HeaderLine, Known};
use super::written::{EDGE, Hop, out, sent_over};
use super::*;

pub(super) fn changed(change: impl FnOnce(&mut Changes)) -> Changes {
    let mut changes = Changes::new();
    change(&mut changes);
    changes
}

fn remove(changes: &mut Changes, name: &str) {
    changes.remove(Known::of(name.as_bytes()), name.as_bytes());
}

pub(super) fn set(changes: &mut Changes, name: &str, value: &str) {
    changes.set(Known::of(name.as_bytes()), name.as_bytes(), |out| out.extend_from_slice(value.as_bytes()));
}

pub(super) fn add(changes: &mut Changes, name: &str, value: &str) {
    changes.add(Known::of(name.as_bytes()), name.as_bytes(), |out| out.extend_from_slice(value.as_bytes()));
}

fn request(lines: &str, changes: &Changes) -> String {
    let message = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    let what = RequestOut { original_path: Some(b"/old"), ..out("/", OutBody::None) };
    let edge = Hop { external_address: b"10.0.0.1", ..EDGE };
    sent_over(edge, &message, &RequestOut { changes, ..what })
}

#[test]
fn what_is_added_to_a_list_of_the_proxys_own_stands_in_it() {
    let changes = changed(|changes| {
        for name in ["x-forwarded-for", "X-Request-Id", "x-forwarded-proto", "x-forwarded-for", "x-a"] {
            add(changes, name, "new");
        }
    });
    let written = request("x-a: old\r\nX-Forwarded-For: 1.2.3.4\r\nx-b: b\r\nx-forwarded-for: 5.6.7.8\r\n", &changes);
    let lines: Vec<_> = written.lines().skip(2).take_while(|line| !line.starts_with("x-envoy")).collect();
    assert_eq!(
        lines,
        ["x-a: old", "X-Forwarded-For: 1.2.3.4,5.6.7.8,10.0.0.1,new,new", "x-b: b", "x-forwarded-proto: http,new"]
    );
    assert!(written.contains("\r\nx-request-id: id-1,new\r\n") && written.contains("\r\nx-a: new\r\n"), "{written}");
}

fn response(lines: &str, server: Server<'_>, changes: &Changes) -> String {
    let message = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
    let what = ResponseOut {
        server,
        date: b"NOW",
        service_time_ms: Some(7),
        body: OutBody::Length(2),
        connection: Connection::KeepAlive,
        client: Version::Http11,
        changes,
    };
    let mut written = Vec::new();
    encode::response(&mut written, &good_response(message.as_bytes()), message.as_bytes(), &what);
    String::from_utf8(written).expect("text")
}

/// As Envoy 1.40 does it: what goes leaves no trace, what comes stands behind what the proxy itself says.
#[test]
fn requests() {
    let changes = changed(|changes| {
        remove(changes, "x-rm");
        remove(changes, "user-agent");
        remove(changes, "x-again");
        set(changes, "x-set", "S");
        set(changes, "accept", "text/html");
        set(changes, "x-empty", "");
        add(changes, "x-add", "A");
        add(changes, "x-again", "here");
        add(changes, "x-empty", "");
    });
    let lines = "User-Agent: ua\r\nAccept: */*\r\nX-Rm: 1\r\nx-set: old\r\nX-Set: old2\r\nX-Last: l\r\nx-add: a\r\n\
                 x-again: b\r\nX-Empty: kept\r\nx-rm: 2\r\n";
    assert_eq!(
        request(lines, &changes),
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
    let none = changed(|changes| ours.iter().for_each(|name| remove(changes, name)));
    let own = changed(|changes| ours.iter().for_each(|name| set(changes, name, "own")));
    let owned: String = ours.iter().map(|name| format!("{name}: own\r\n")).collect();
    for lines in ["", client] {
        let head = "GET / HTTP/1.1\r\nHost: h\r\n";
        assert_eq!(request(lines, &none), format!("{head}x-envoy-original-path: /old\r\n\r\n"));
        assert_eq!(request(lines, &own), format!("{head}{owned}x-envoy-original-path: /old\r\n\r\n"));
    }
}

#[test]
fn responses() {
    let changes = changed(|changes| {
        remove(changes, "x-up");
        remove(changes, "date");
        set(changes, "x-r", "R");
        set(changes, "x-envoy-upstream-service-time", "9999");
    });
    let lines = "x-up: 1\r\nServer: s\r\nDate: THEN\r\nContent-Length: 2\r\nX-UP: 2\r\n";
    assert_eq!(
        response(lines, Server::Overwrite(b"ringway"), &changes),
        "HTTP/1.1 200 OK\r\nserver: ringway\r\nContent-Length: 2\r\nx-r: R\r\nx-envoy-upstream-service-time: 9999\r\n\
         date: NOW\r\n\r\n"
    );
    let changes = changed(|changes| {
        set(changes, "date", "SET");
        set(changes, "server", "mine");
    });
    assert_eq!(
        response(lines, Server::PassThrough, &changes),
        "HTTP/1.1 200 OK\r\nx-up: 1\r\nContent-Length: 2\r\nX-UP: 2\r\nx-envoy-upstream-service-time: 7\r\ndate: SET\r\n\
         server: mine\r\n\r\n"
    );
}

#[test]
fn nothing_changes_framing_or_host() {
    let names =
        ["host", "connection", "content-length", "Transfer-Encoding", "upgrade", "Keep-Alive", "proxy-connection"];
    let changes = changed(|changes| {
        for name in names {
            remove(changes, name);
            set(changes, name, "1");
            add(changes, name, "2");
        }
    });
    assert!(changes.is_empty());
}

#[test]
fn what_is_set_later_goes_over_what_was_added() {
    let mut changes = changed(|changes| {
        add(changes, "a", "1");
        add(changes, "b", "2");
        add(changes, "A", "3");
        add(changes, "c", "4");
        set(changes, "a", "5");
    });
    assert_eq!(text(changes.lines()), "b: 2\\r\\nc: 4\\r\\na: 5\\r\\n");
    assert_eq!(changes.of(Known::Other, b"C"), Change::To(b"4"));
    assert_eq!(changes.of(Known::Other, b"a"), Change::To(b"5"));
    remove(&mut changes, "d");
    assert_eq!(changes.of(Known::Other, b"D"), Change::Gone);
    assert_eq!(changes.of(Known::Other, b"e"), Change::None);
    changes.clear();
    assert!(changes.is_empty() && !changes.drops(Known::Other, b"a"));
}

#[test]
fn a_value_cannot_begin_another_line() {
    let changes = changed(|changes| {
        set(changes, "a", "x\r\nEvil: 1");
        add(changes, "b", "2");
    });
    assert_eq!(text(changes.lines()), "a: xEvil: 1\\r\\nb: 2\\r\\n");
    assert_eq!(changes.of(Known::Other, b"b"), Change::To(b"2"));
    assert!(change::NONE.is_empty());
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

fn some_lines() -> impl Strategy<Value = Vec<(String, String)>> {
    vec(("[abAB][abAB]?", "[a-z]{0,3}"), 0..6)
}

proptest! {
    #[test]
    fn changes_are_what_a_list_would_become(
        lines in some_lines(), removed in vec("[ab][ab]?", 0..3), to_set in some_lines(), added in some_lines(),
        canonical in any::<bool>(),
    ) {
        let changes = changed(|changes| {
            removed.iter().for_each(|name| remove(changes, name));
            to_set.iter().for_each(|(name, value)| set(changes, name, value));
            added.iter().for_each(|(name, value)| add(changes, name, value));
        });
        let colon = if canonical { ": " } else { ":" };
        let text: String = lines.iter().map(|(name, value)| format!("{name}{colon}{value}\r\n")).collect();
        let written = request(&text, &changes);
        let head = good_request(written.as_bytes());
        prop_assert_eq!(shown(&head.headers, written.as_bytes()), naive(&lines, &removed, &to_set, &added));
        let written = response(&text, Server::Overwrite(b"ringway"), &changes);
        let head = good_response(written.as_bytes());
        prop_assert_eq!(shown(&head.headers, written.as_bytes()), naive(&lines, &removed, &to_set, &added));
    }
}

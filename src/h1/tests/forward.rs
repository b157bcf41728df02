//! The view of a request, and that what is written is what it shows.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::encode;
use super::super::framing::{self, Upgrade};
use super::properties::downstream;
use super::written::out;
use super::*;
use crate::http::forward::{self, Completion, Downstream, View};
use crate::http::head::Known;
use crate::http::outgoing::{BodyLen, RequestOut};

/// Calls `look` with the view of a request that came from 10.0.0.1.
fn viewed<T>(message: &str, downstream: Downstream, look: impl FnOnce(&View<'_>) -> T) -> T {
    let (head, buf) = (&good_request(message.as_bytes()), message.as_bytes());
    let completion = &mut Completion::default();
    completion.complete(head, buf, downstream, b"10.0.0.1", || "new-id");
    completion.hops.extend_from_slice(b"00000000=1");
    let tunnel = framing::upgrade(head, buf) == Upgrade::WebSocket;
    look(&View { head, buf, completion, downstream, external_address: b"10.0.0.2", tunnel })
}

fn values(view: &View<'_>, name: &str) -> Vec<String> {
    let values = view.values(Known::of(name.as_bytes()), name);
    values.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// Each row: lines of the request, a header, and its values as they are sent from an edge and from an application.
#[test]
fn what_is_seen_of_a_header() {
    let nothing: &[&str] = &[];
    #[rustfmt::skip] // one header a line
    let table: &[(&str, &str, &[&str], &[&str])] = &[
        ("", "x-forwarded-for", &["10.0.0.1"], nothing),
        ("X-Forwarded-For: 9.9.9.9\r\n", "x-forwarded-for", &["9.9.9.9,10.0.0.1"], &["9.9.9.9"]),
        ("X-Forwarded-For: 1\r\nA: b\r\nx-forwarded-for: 2, 3\r\n", "x-forwarded-for", &["1,2, 3,10.0.0.1"], &["1,2, 3"]),
        ("X-Forwarded-For:\r\n", "x-forwarded-for", &["10.0.0.1"], &[""]),
        ("", "x-forwarded-proto", &["http"], &["http"]),
        ("X-Forwarded-Proto: https\r\n", "x-forwarded-proto", &["http"], &["https"]),
        ("X-Forwarded-Proto: gopher\r\nX-Forwarded-Proto: https\r\n", "x-forwarded-proto", &["http"], &["gopher,https"]),
        ("X-Forwarded-Proto:\r\n", "x-forwarded-proto", &["http"], &["http"]),
        ("", "x-request-id", &["new-id"], &["new-id"]),
        ("X-Request-Id:\r\n", "x-request-id", &["new-id"], &["new-id"]),
        ("X-Request-Id: mine\r\n", "x-request-id", &["new-id"], &["mine"]),
        ("X-Request-Id: a\r\nX-Request-Id: b\r\n", "x-request-id", &["new-id"], &["a,b"]),
        ("X-Request-Id: mine\r\nConnection: x-request-id\r\n", "x-request-id", &["new-id"], &["new-id"]),
        ("", "x-envoy-external-address", &["10.0.0.2"], nothing),
        ("X-Envoy-External-Address: 1\r\n", "x-envoy-external-address", &["10.0.0.2"], nothing),
        ("X-Envoy-Retry-On: 5xx\r\nX-Envoy-Foo: 1\r\n", "x-envoy-foo", nothing, nothing),
        ("X-Envoy-Attempt-Count: 1\r\n", "x-envoy-attempt-count", nothing, nothing),
        ("X-Envoy-Upstream-Service-Time: 1\r\n", "x-envoy-upstream-service-time", nothing, nothing),
        ("X-Forwarded-Client-Cert: By=a\r\n", "x-forwarded-client-cert", nothing, nothing),
        ("X-Ringway-Hops: a\r\n", "x-ringway-hops", &["00000000=1"], &["00000000=1"]),
        ("Connection: keep-alive\r\n", "connection", nothing, nothing),
        ("Keep-Alive: 5\r\n", "keep-alive", nothing, nothing),
        ("Proxy-Connection: keep-alive\r\n", "proxy-connection", nothing, nothing),
        ("Transfer-Encoding: chunked\r\n", "transfer-encoding", nothing, nothing),
        ("Upgrade: h2c\r\n", "upgrade", nothing, nothing),
        ("TE: gzip\r\n", "te", nothing, nothing),
        ("TE: gzip, trailers;q=1\r\nTE: a, TRAILERS\r\n", "te", &["trailers"], &["trailers"]),
        ("Connection: Upgrade\r\nUpgrade: WebSocket\r\n", "upgrade", &["WebSocket"], &["WebSocket"]),
        ("Connection: x, UPGRADE\r\nUpgrade: websocket\r\n", "connection", &["UPGRADE"], &["UPGRADE"]),
        ("Expect: 100-continue\r\n", "expect", &["100-continue"], &["100-continue"]),
        ("Expect: 100-continue\r\nConnection: Expect\r\n", "expect", nothing, nothing),
        ("X-A: 1\r\nx-a: 2\r\n", "x-a", &["1", "2"], &["1", "2"]),
        ("X-A: 1\r\nConnection: close\r\nConnection: b, X-a\r\nx-a: 2\r\n", "x-a", nothing, nothing),
        ("X-Real-IP: 1\r\nConnection: x-real-ip\r\n", "x-real-ip", &["1"], &["1"]),
        ("Close: 1\r\nConnection: close, x-a\r\n", "close", &["1"], &["1"]),
        ("User-Agent: a\r\nConnection: user-agent\r\n", "user-agent", nothing, nothing),
        ("Content-Length: 5\r\nConnection: content-length\r\n", "content-length", &["5"], &["5"]),
    ];
    for (lines, name, edge, outbound) in table {
        let message = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        for (from, expected) in [(Downstream::Edge, edge), (Downstream::Outbound, outbound)] {
            let seen = viewed(&message, from, |view| values(view, name));
            assert_eq!(seen, *expected, "{name} of {lines:?} from {from:?}");
            assert!(seen.is_empty() || !forward::is_never_sent(name), "{name}");
        }
    }
    let tried = "GET / HTTP/1.1\r\nHost: h\r\nX-Envoy-Attempt-Count: 3\r\n\r\n";
    assert_eq!(viewed(tried, Downstream::Inbound, |view| values(view, "x-envoy-attempt-count")), ["3"]);
}

#[test]
fn before_it_is_completed_nothing_is_said() {
    let message =
        "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1\r\nX-Request-Id: 2\r\nX-Forwarded-Proto: https\r\n\r\n";
    let (head, buf, completion) = (&good_request(message.as_bytes()), message.as_bytes(), &Completion::default());
    let (downstream, external_address, tunnel) = (Downstream::Edge, &b""[..], false);
    let view = View { head, buf, completion, downstream, external_address, tunnel };
    for name in ["x-forwarded-for", "x-request-id", "x-forwarded-proto", "x-envoy-external-address", "x-ringway-hops"] {
        assert_eq!(values(&view, name), [""; 0], "{name}");
    }
}

#[test]
fn schemes() {
    for (lines, expected) in [
        ("", "http"),
        ("X-Forwarded-Proto: HTTPS\r\n", "https"),
        ("X-Forwarded-Proto: gopher\r\n", "http"),
        ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: https\r\n", "http"),
    ] {
        let message = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let head = good_request(message.as_bytes());
        assert_eq!(forward::scheme(&head, message.as_bytes(), Downstream::Outbound), expected, "{lines:?}");
        assert_eq!(forward::scheme(&head, message.as_bytes(), Downstream::Edge), "http", "{lines:?}");
    }
}

/// Envoy's `isLoopbackAddress`: 127.0.0.1 and ::1 alone.
#[test]
fn addresses_of_peers() {
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    let own = address("192.0.2.1");
    for (peer, expected) in [
        ("127.0.0.1", "192.0.2.1"),
        ("::1", "192.0.2.1"),
        ("::ffff:127.0.0.1", "192.0.2.1"),
        ("127.0.0.2", "127.0.0.2"),
        ("127.1.2.3", "127.1.2.3"),
        ("::ffff:127.0.0.2", "127.0.0.2"),
        ("198.51.100.7", "198.51.100.7"),
    ] {
        assert_eq!(forward::peer_address(address(peer), Some(own)), address(expected), "{peer}");
    }
    assert_eq!(forward::peer_address(address("127.0.0.1"), None), address("127.0.0.1"));
}

/// The names that the proxy has an opinion on, and some that it has none on.
const NAMES: &[&str] = &[
    "X-Forwarded-For",
    "x-forwarded-proto",
    "X-Request-Id",
    "x-forwarded-host",
    "x-forwarded-client-cert",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Expect",
    "User-Agent",
    "Server",
    "Date",
    "x-envoy-external-address",
    "x-envoy-attempt-count",
    "X-Envoy-Retry-On",
    "x-envoy-upstream-service-time",
    "x-ringway-hops",
    "Forwarded",
    "x-real-ip",
    "X-A",
    "x-b",
    "Close",
    "Upgrade",
];
const VALUES: &[&str] =
    &["", "1", "9.9.9.9", "trailers", "gzip, trailers", "100-continue", "https", "a,b", "websocket"];

fn line() -> impl Strategy<Value = String> {
    let named = (select(NAMES), select(VALUES)).prop_map(|(name, value)| format!("{name}: {value}\r\n"));
    // A `Connection` that names one of these is refused.
    let may_be_named = |name: &&str| !["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"].contains(name);
    let named_in_connection =
        select(NAMES).prop_map(str::to_ascii_lowercase).prop_filter("refused", move |name| may_be_named(&&**name));
    let usual = select(&["close", "keep-alive", "upgrade"][..]).prop_map(str::to_owned);
    let options = vec(prop_oneof![named_in_connection, usual], 1..4);
    prop_oneof![6 => named, 1 => options.prop_map(|options| format!("Connection: {}\r\n", options.join(", ")))]
}

proptest! {
    /// Whatever a condition sees is what the upstream gets, and the other way round.
    #[test]
    fn what_is_written_is_what_is_seen(lines in vec(line(), 0..8), from in downstream()) {
        let message = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", lines.concat());
        let (seen, written) = viewed(&message, from, |view| {
            let what = RequestOut { attempt: 0, ..out("/", BodyLen::None) };
            let mut written = Vec::new();
            encode::request(&mut written, view, &what);
            let seen: Vec<_> = NAMES.iter().chain(&["connection"]).map(|name| values(view, name)).collect();
            (seen, written)
        });
        let again = good_request(&written);
        for (name, seen) in NAMES.iter().chain(&["connection"]).zip(seen) {
            let lines = again.headers.iter().filter(|line| line.name.of(&written).eq_ignore_ascii_case(name.as_bytes()));
            let lines: Vec<_> = lines.map(|line| text(line.value.of(&written))).collect();
            prop_assert_eq!(lines, seen, "{}", name);
        }
    }
}

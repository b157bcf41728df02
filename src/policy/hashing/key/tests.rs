use proptest::prelude::{any, prop, prop_assert_eq, proptest};

use super::*;

/// A request of lines, a query and two addresses.
struct Request<'a> {
    lines: &'a [(&'a str, &'a [u8])],
    query: &'a [u8],
    peer: &'a str,
}

impl Outgoing for Request<'_> {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.lines.iter().filter(move |(own, _)| *own == name).map(|(_, value)| *value)
    }

    fn query(&self) -> &[u8] {
        self.query
    }

    fn connection(&self) -> (SocketAddr, SocketAddr) {
        let local = SocketAddr::from(([127, 0, 0, 1], 80));
        (self.peer.parse().expect("an address"), local)
    }
}

fn with<'a>(lines: &'a [(&'a str, &'a [u8])]) -> Request<'a> {
    Request { lines, query: b"", peer: "10.0.0.1:4321" }
}

fn cookie(ttl: Option<u64>) -> Cookie {
    Cookie { name: "user".into(), path: "".into(), ttl: ttl.map(Duration::from_secs), attributes: Box::default() }
}

/// The value that a request is hashed by, told by its hash.
fn assert_hashed_by(key: Key, request: &Request<'_>, expected: Option<&[u8]>) {
    assert_eq!(hash(std::slice::from_ref(&key), request).hash, expected.map(xxh64), "{key:?}");
}

#[test]
fn headers_in_any_order() {
    let key = || Key::Header("x-user".into());
    assert_hashed_by(key(), &with(&[]), None);
    assert_hashed_by(key(), &with(&[("x-other", b"a")]), None);
    assert_hashed_by(key(), &with(&[("x-user", b"")]), Some(b""));
    assert_hashed_by(key(), &with(&[("x-user", b"anna")]), Some(b"anna"));
    let two = with(&[("x-user", b"b"), ("x-other", b"z"), ("x-user", b"aa")]);
    assert_eq!(hash(&[key()], &two).hash, Some(XxHash64::oneshot(xxh64(b"aa"), b"b")));
}

#[test]
fn cookies_as_envoy_reads_them() {
    for (line, expected) in [
        ("user=anna", Some("anna")),
        ("a=b; user=anna; c=d", Some("anna")),
        ("a=b;   user=anna", Some("anna")),
        ("user=\"anna\"", Some("anna")),
        ("user=\"", Some("\"")),
        ("user=a=b", Some("a=b")),
        ("user=anna ; c=d", Some("anna ")),
        ("user=first; user=second", Some("first")),
        ("USER=anna", None),
        ("user =anna", None),
        ("user", None),
        ("user=", None),
        ("user=; user=second", None),
        ("user=\"\"", None),
        ("xuser=anna", None),
        (";;", None),
        ("", None),
    ] {
        let lines = [("cookie", line.as_bytes())];
        assert_hashed_by(Key::Cookie(cookie(None)), &with(&lines), expected.map(str::as_bytes));
    }
    let lines: [(&str, &[u8]); 2] = [("cookie", b"a=b"), ("cookie", b"user=anna")];
    assert_hashed_by(Key::Cookie(cookie(None)), &with(&lines), Some(b"anna"));
}

#[test]
fn parameters_as_they_are_written() {
    for (query, expected) in [
        ("user=anna", Some("anna")),
        ("a=b&user=anna&user=other", Some("anna")),
        ("user=a%20b", Some("a%20b")),
        ("user=a=b", Some("a=b")),
        ("user", Some("")),
        ("user=", Some("")),
        ("xuser=anna", None),
        ("", None),
        ("&&", None),
    ] {
        let request = Request { query: query.as_bytes(), ..with(&[]) };
        assert_hashed_by(Key::Query("user".into()), &request, expected.map(str::as_bytes));
    }
}

#[test]
fn addresses_without_their_ports() {
    for (peer, expected) in
        [("10.0.0.1:4321", "10.0.0.1"), ("10.0.0.1:1", "10.0.0.1"), ("[2001:db8::1]:80", "2001:db8::1")]
    {
        assert_hashed_by(Key::SourceIp, &Request { peer, ..with(&[]) }, Some(expected.as_bytes()));
    }
}

#[test]
fn a_missing_cookie_is_made_from_the_connection() {
    let keys = [Key::Cookie(cookie(Some(60)))];
    let hashed = hash(&keys, &with(&[]));
    let expected = format!("{:016x}", xxh64(b"10.0.0.1:4321127.0.0.1:80"));
    assert_eq!(hashed.hash, Some(xxh64(expected.as_bytes())));
    let mut out = Vec::new();
    hashed.cookies[0].write(&mut out);
    assert_eq!(String::from_utf8(out).expect("text"), format!("user=\"{expected}\"; Max-Age=60; HttpOnly"));
    // The client's next request says it itself, and belongs to the same endpoint.
    let line = format!("user=\"{expected}\"");
    let lines = [("cookie", line.as_bytes())];
    let next = hash(&keys, &with(&lines));
    assert_eq!((next.hash, next.cookies.len()), (hashed.hash, 0));
    assert_eq!(hash(&[Key::Cookie(cookie(None))], &with(&[])), Hashed::default());
}

#[test]
fn a_cookie_with_everything() {
    let whole = Cookie {
        name: "user".into(),
        path: "/p".into(),
        ttl: Some(Duration::ZERO),
        attributes: [("SameSite".into(), "Lax".into()), ("Secure".into(), "".into())].into(),
    };
    let mut out = Vec::new();
    NewCookie { cookie: &whole, value: *b"0123456789abcdef" }.write(&mut out);
    let expected = "user=\"0123456789abcdef\"; Path=/p; SameSite=Lax; Secure; HttpOnly";
    assert_eq!(String::from_utf8(out).expect("text"), expected);
}

#[test]
fn several_keys_are_rotated_into_one() {
    let keys = [Key::Header("a".into()), Key::Header("b".into()), Key::SourceIp];
    let (a, b, ip) = (xxh64(b"1"), xxh64(b"2"), xxh64(b"10.0.0.1"));
    let hash_of = |lines: &[(&str, &[u8])]| hash(&keys, &with(lines)).hash;
    assert_eq!(hash_of(&[]), Some(ip));
    assert_eq!(hash_of(&[("a", b"1")]), Some(a.rotate_left(1) ^ ip));
    assert_eq!(hash_of(&[("b", b"2"), ("a", b"1")]), Some((a.rotate_left(1) ^ b).rotate_left(1) ^ ip));
    assert_eq!(hash(&[], &with(&[("a", b"1")])).hash, None);
}

proptest! {
    #[test]
    fn the_order_of_values_does_not_matter(mut values in prop::collection::vec(any::<Vec<u8>>(), 1..5)) {
        let of = |values: &[Vec<u8>]| {
            let lines: Vec<(&str, &[u8])> = values.iter().map(|value| ("x", value.as_slice())).collect();
            hash(&[Key::Header("x".into())], &with(&lines)).hash
        };
        let before = of(&values);
        values.reverse();
        prop_assert_eq!(before, of(&values));
    }

    #[test]
    fn anything_may_be_in_a_cookie_line(line: Vec<u8>, query: Vec<u8>) {
        let lines = [("cookie", line.as_slice())];
        let request = Request { query: &query, ..with(&lines) };
        let _ = hash(&[Key::Cookie(cookie(Some(0))), Key::Query("a".into())], &request);
    }
}

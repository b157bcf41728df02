//! The head of a mirrored request, made from the head of the original as it goes upstream.
//!
//! Envoy makes it of its own: a copy passes through a router a second time, as if this host had sent it. So this host
//! stands in `x-forwarded-for` once more, and `x-envoy-internal` says that it did (behaviour.md 3.9).

use super::encode::put;

/// What a copy says that the original does not.
#[derive(Debug, Clone, Copy)]
pub struct Mirrored<'a> {
    /// Appended to the name in `Host`, before the port; may be empty.
    pub host_suffix: &'a [u8],
    /// This host's address, the last one in `x-forwarded-for`.
    pub own_address: &'a [u8],
}

/// Appends the head of the copy to `out`. `head` is a head that [`encode::request`](super::encode::request) wrote.
pub fn mirrored(out: &mut Vec<u8>, head: &[u8], what: &Mirrored<'_>) {
    out.reserve(head.len() + 64);
    let (mut host_done, mut forwarded_for_done) = (false, false);
    let mut rest = head;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, after) = rest.split_at(end + 1);
        rest = after;
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        if text.is_empty() {
            break;
        }
        match split(text) {
            (b"", _) => out.extend_from_slice(line),
            (name, value) if name.eq_ignore_ascii_case(b"host") && !host_done => {
                host_done = true;
                put_host(out, name, value, what.host_suffix);
            }
            (name, _) if name.eq_ignore_ascii_case(b"x-forwarded-for") => {
                if !forwarded_for_done {
                    forwarded_for_done = true;
                    put_forwarded_for(out, name, values(head, name), what.own_address);
                }
            }
            (name, _) if name.eq_ignore_ascii_case(b"x-envoy-internal") => {}
            _ => out.extend_from_slice(line),
        }
    }
    if !forwarded_for_done {
        put(out, b"x-forwarded-for", what.own_address);
    }
    put(out, b"x-envoy-internal", b"true");
    out.extend_from_slice(b"\r\n");
}

/// Name and value of a line; the request line has no name.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let is_name = |byte: &u8| !matches!(byte, b' ' | b'\t');
    match memchr::memchr(b':', line) {
        Some(colon) if line[..colon].iter().all(is_name) => (&line[..colon], line[colon + 1..].trim_ascii()),
        _ => (b"", line),
    }
}

/// The values of all lines of this name, without empty ones.
fn values<'h>(head: &'h [u8], name: &'h [u8]) -> impl Iterator<Item = &'h [u8]> {
    let lines = head.split(|byte| *byte == b'\n').map(|line| split(line.trim_ascii_end()));
    lines.filter(move |(own, value)| own.eq_ignore_ascii_case(name) && !value.is_empty()).map(|(_, value)| value)
}

fn put_host(out: &mut Vec<u8>, name: &[u8], value: &[u8], suffix: &[u8]) {
    // A colon inside brackets is an IPv6 address's.
    let port = match (memchr::memrchr(b':', value), memchr::memrchr(b']', value)) {
        (Some(colon), bracket) if bracket.is_none_or(|bracket| bracket < colon) => colon,
        _ => value.len(),
    };
    let (host, port) = value.split_at(port);
    for part in [name, b": ", host, suffix, port, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

fn put_forwarded_for<'v>(out: &mut Vec<u8>, name: &[u8], values: impl Iterator<Item = &'v [u8]>, own: &'v [u8]) {
    out.extend_from_slice(name);
    let mut before: &[u8] = b": ";
    for value in values.chain([own]) {
        out.extend_from_slice(before);
        out.extend_from_slice(value);
        before = b",";
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(head: &str, suffix: &str) -> String {
        let mut out = Vec::new();
        mirrored(&mut out, head.as_bytes(), &Mirrored { host_suffix: suffix.as_bytes(), own_address: b"10.0.0.1" });
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn the_rest_of_the_head_is_the_originals() {
        assert_eq!(
            of(
                "POST /a?b=c:d HTTP/1.1\r\nHost: shop.com:8080\r\nx-forwarded-for: 1.2.3.4\r\nX-A:  b: c\r\n\
                 x-envoy-attempt-count: 1\r\ncontent-length: 3\r\n\r\nabc",
                "-shadow"
            ),
            "POST /a?b=c:d HTTP/1.1\r\nHost: shop.com-shadow:8080\r\nx-forwarded-for: 1.2.3.4,10.0.0.1\r\nX-A:  b: c\r\n\
             x-envoy-attempt-count: 1\r\ncontent-length: 3\r\nx-envoy-internal: true\r\n\r\n"
        );
    }

    #[test]
    fn the_suffix_comes_before_the_port() {
        for (host, suffix, expected) in [
            ("shop.com", "-shadow", "shop.com-shadow"),
            ("shop.com:8080", "-shadow", "shop.com-shadow:8080"),
            ("shop.com:8080", "", "shop.com:8080"),
            ("[::1]", "-shadow", "[::1]-shadow"),
            ("[::1]:80", "-shadow", "[::1]-shadow:80"),
            ("", "-shadow", "-shadow"),
        ] {
            let head = of(&format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"), suffix);
            assert!(head.starts_with(&format!("GET / HTTP/1.1\r\nhost: {expected}\r\n")), "{head}");
        }
    }

    #[test]
    fn forwarded_for_becomes_one_list() {
        for (lines, expected) in [
            ("", "x-envoy-internal: true\r\n"),
            ("x-forwarded-for: \r\n", "x-forwarded-for: 10.0.0.1\r\n"),
            ("X-Forwarded-For: 1, 2\r\na: b\r\nx-forwarded-for: 3\r\n", "X-Forwarded-For: 1, 2,3,10.0.0.1\r\na: b\r\n"),
        ] {
            let head = of(&format!("GET / HTTP/1.1\r\n{lines}\r\n"), "-shadow");
            assert!(head.contains(expected), "{head}");
            assert_eq!(head.to_ascii_lowercase().matches("x-forwarded-for: ").count(), 1, "{head}");
        }
        assert!(of("GET / HTTP/1.1\r\n\r\n", "").contains("\r\nx-forwarded-for: 10.0.0.1\r\n"));
    }

    #[test]
    fn it_says_once_that_it_is_internal() {
        let head = of("GET / HTTP/1.1\r\nx-envoy-internal: no\r\nX-Envoy-Internal: no\r\n\r\n", "");
        assert_eq!(head, "GET / HTTP/1.1\r\nx-forwarded-for: 10.0.0.1\r\nx-envoy-internal: true\r\n\r\n");
    }
}

//! The head of a mirrored request, made from the head of the original as it goes upstream.
//!
//! As in Envoy, a mirrored request passes through a router a second time, as if this host had sent it. So
//! `x-forwarded-for` has this host once more, and `x-envoy-internal` is set.

use super::field_list::FieldList;
use super::field_value;
use super::head::Known;
use super::sink::HeadSink;

/// The headers of a mirrored request that the original does not have.
#[derive(Debug, Clone, Copy)]
pub struct Mirrored<'a> {
    /// Appended to the name in `Host`, before the port; may be empty.
    pub host_suffix: &'a [u8],
    /// This host's address, the last one in `x-forwarded-for`.
    pub own_address: &'a [u8],
}

/// Gives the head of the copy of the request `sent` to `sink`.
pub fn request(sink: &mut impl HeadSink, sent: &FieldList, what: &Mirrored<'_>) {
    sink.request(sent.method(), sent.target());
    let (mut host_done, mut forwarded_for_done) = (false, false);
    for (id, name, value) in sent.fields() {
        match id {
            Known::Host if !host_done => {
                host_done = true;
                let (host, port) = split_port(value);
                sink.put_with(name, |out| {
                    [host, what.host_suffix, port].iter().for_each(|part| field_value::put(out, part));
                });
            }
            Known::XForwardedFor if forwarded_for_done => {}
            Known::XForwardedFor => {
                forwarded_for_done = true;
                sink.put_list(name, sent.values(name).chain([what.own_address]));
            }
            Known::XEnvoy if name.eq_ignore_ascii_case(b"x-envoy-internal") => {}
            _ => sink.put(name, value),
        }
    }
    if !forwarded_for_done {
        sink.put(b"x-forwarded-for", what.own_address);
    }
    sink.put(b"x-envoy-internal", b"true");
    sink.end(sent.framing());
}
/// An authority taken apart: the name, and the port with its colon.
fn split_port(authority: &[u8]) -> (&[u8], &[u8]) {
    // A colon inside brackets is an IPv6 address's.
    let port = match (memchr::memrchr(b':', authority), memchr::memrchr(b']', authority)) {
        (Some(colon), bracket) if bracket.is_none_or(|bracket| bracket < colon) => colon,
        _ => authority.len(),
    };
    authority.split_at(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::sink::Framing;

    /// The fields of the copy of a request with these.
    fn of(fields: &[(&str, &str)], suffix: &str) -> String {
        let (mut sent, mut copy) = (FieldList::default(), FieldList::default());
        let mut sink = sent.sink(b"");
        sink.request(b"POST", b"/a?b=c:d");
        fields.iter().for_each(|(name, value)| sink.put(name.as_bytes(), value.as_bytes()));
        sink.end(Framing::Length(3));
        request(&mut copy.sink(b""), &sent, &Mirrored { host_suffix: suffix.as_bytes(), own_address: b"10.0.0.1" });
        assert_eq!((copy.method(), copy.target()), (sent.method(), sent.target()));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        copy.fields().map(|(_, name, value)| format!("{}: {}\n", text(name), text(value))).collect()
    }

    #[test]
    fn the_rest_of_the_head_is_the_originals() {
        let fields = [
            ("Host", "shop.com:8080"),
            ("x-forwarded-for", "1.2.3.4"),
            ("X-A", "b: c"),
            ("x-envoy-attempt-count", "1"),
        ];
        assert_eq!(
            of(&fields, "-shadow"),
            "Host: shop.com-shadow:8080\nx-forwarded-for: 1.2.3.4,10.0.0.1\nX-A: b: c\nx-envoy-attempt-count: 1\n\
             content-length: 3\nx-envoy-internal: true\n"
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
            let copy = of(&[("host", host)], suffix);
            assert!(copy.starts_with(&format!("host: {expected}\n")), "{copy}");
        }
    }

    #[test]
    fn forwarded_for_becomes_one_list() {
        for (fields, expected) in [
            (&[][..], "\nx-forwarded-for: 10.0.0.1\n"),
            (&[("x-forwarded-for", "")], "\nx-forwarded-for: 10.0.0.1\n"),
            (
                &[("X-Forwarded-For", "1, 2"), ("a", "b"), ("x-forwarded-for", "3")],
                "\nX-Forwarded-For: 1, 2,3,10.0.0.1\na: b\n",
            ),
        ] {
            let copy = format!("\n{}", of(fields, "-shadow"));
            assert!(copy.contains(expected), "{copy}");
            assert_eq!(copy.to_ascii_lowercase().matches("x-forwarded-for: ").count(), 1, "{copy}");
        }
    }

    #[test]
    fn it_says_once_that_it_is_internal() {
        let copy = of(&[("x-envoy-internal", "no"), ("X-Envoy-Internal", "no")], "");
        assert_eq!(copy, "content-length: 3\nx-forwarded-for: 10.0.0.1\nx-envoy-internal: true\n");
    }
}

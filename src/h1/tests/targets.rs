use super::*;
use crate::http::target::{self, Normal, PathForm};

/// `path?query @host [scheme]` of a request line with `Host: h`.
fn split(method: &str, target: &str, host: &str) -> Result<String, ProtocolError> {
    let message = format!("{method} {target} HTTP/1.1\r\n{host}\r\n").into_bytes();
    let parts = target::split(&good_request(&message), &message)?;
    let part = |span: crate::http::head::Span| text(span.of(&message));
    let query = if parts.has_query { format!("?{}", part(parts.query)) } else { String::new() };
    let scheme = parts.scheme.map(|scheme| format!(" {}", part(scheme))).unwrap_or_default();
    assert!(parts.authority.is_none_or(|authority| authority == parts.host));
    assert!(
        !parts.has_query || message[parts.path.end as usize..parts.query.start as usize] == *b"?",
        "they lie together"
    );
    Ok(format!("{}{query} @{}{scheme}", part(parts.path), part(parts.host)))
}

#[test]
fn targets() {
    use ProtocolError as B;
    let host = "Host: h\r\n";
    let table: &[(&str, &str, &str, Result<&str, ProtocolError>)] = &[
        ("GET", "/", host, Ok("/ @h")),
        ("GET", "/a/b", host, Ok("/a/b @h")),
        ("GET", "//a/b", host, Ok("//a/b @h")),
        ("GET", "/a?", host, Ok("/a? @h")),
        ("GET", "/a?b=1?c", host, Ok("/a?b=1?c @h")),
        ("GET", "/?http://x/", host, Ok("/?http://x/ @h")),
        ("GET", "/a", "Host:\r\n", Ok("/a @")),
        ("GET", "/a", "Host: h:80\r\n", Ok("/a @h:80")),
        ("GET", "/a", "", Err(B::HostMissing)),
        ("GET", "http://a.b/x?y", host, Ok("/x?y @a.b http")),
        ("GET", "HTTP://a.b:81/x", host, Ok("/x @a.b:81 HTTP")),
        ("GET", "http://[::1]:81/x", host, Ok("/x @[::1]:81 http")),
        ("GET", "http://a.b/x", "", Ok("/x @a.b http")),
        ("GET", "http://a.b", host, Ok("/ @a.b http")),
        ("GET", "http://a.b?q", host, Err(B::Target)),
        ("OPTIONS", "http://a.b", host, Ok("/ @a.b http")),
        ("OPTIONS", "*", host, Ok("* @h")),
        ("GET", "*", host, Err(B::Target)),
        ("GET", "a", host, Err(B::Target)),
        ("GET", "a.b:80", host, Err(B::Target)),
        ("GET", "?a", host, Err(B::Target)),
        ("GET", "http:/a", host, Err(B::Target)),
        ("GET", "://a/", host, Err(B::Scheme)),
        ("GET", "ftp://a/", host, Err(B::Scheme)),
        ("GET", "https://a/", host, Err(B::HttpsTarget)),
        ("GET", "http:///x", host, Err(B::Authority)),
        ("GET", "http://u@a/x", host, Err(B::Authority)),
        ("GET", "http://u:p@a/x", host, Err(B::Authority)),
        ("GET", "http://a\\b/x", host, Err(B::Authority)),
        ("GET", "http://a:b/x", host, Err(B::Authority)),
        ("GET", "/a#b", host, Err(B::Path)),
        ("GET", "/a?b#c", host, Err(B::Path)),
        ("GET", "http://a#b", host, Err(B::Path)),
        ("GET", "/\u{e9}", host, Err(B::Target)),
        ("GET", "/?\u{e9}", host, Err(B::Target)),
        ("CONNECT", "a.b:80", host, Ok(" @a.b:80")),
        ("CONNECT", "[::1]:80", host, Ok(" @[::1]:80")),
        ("CONNECT", "a.b", host, Err(B::Target)),
        ("CONNECT", "/a", host, Err(B::Target)),
        ("CONNECT", "http://a/", host, Err(B::Target)),
    ];
    for (method, target, host, expected) in table {
        let found = split(method, target, host);
        assert_eq!(found.as_deref(), expected.as_ref().copied(), "{method} {target} {host}");
    }
}

#[test]
fn http_1_0_needs_no_host() {
    let message = b"GET /a HTTP/1.0\r\n\r\n";
    let parts = target::split(&good_request(message), message).expect("a good target");
    assert!(parts.host.is_empty() && parts.authority.is_none());
}

#[test]
fn authorities() {
    let good = [
        "a",
        "a.b",
        "A-B.c_d",
        "a:80",
        "a:",
        "a:65535",
        "1.2.3.4",
        "1.2.3.4:5",
        "[::1]",
        "[::1]:80",
        "[::ffff:1.2.3.4]",
        "*.x",
        "a%41",
        "xn--a",
        "a,b",
        "~a!$&'()*+;=",
    ];
    let bad = [
        "",
        ":80",
        "a:b",
        "a:65536",
        "a:000080",
        "a:80:80",
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "u@a",
        "a\\b",
        "a\"",
        "<a>",
        "a|b",
        "a^b",
        "{a}",
        "[::1",
        "::1",
        "[]",
        "[zz]",
        "[1]",
        "[::1]a",
        "[::1]]",
        "[::1]:a",
        "a]",
        "[a",
        "a\t",
        "a\u{e9}",
        "[fe80::1%25eth0]",
    ];
    for authority in good {
        assert!(target::is_authority(authority.as_bytes()), "{authority}");
    }
    for authority in bad {
        assert!(!target::is_authority(authority.as_bytes()), "{authority}");
    }
}

/// The normal form of a path, which must be its own normal form.
fn normal(path: &str) -> Result<String, ProtocolError> {
    let mut out = b"left over".to_vec();
    let first = match target::normalize(path.as_bytes(), PathForm::Base, &mut out)? {
        Normal::AsIs => path.as_bytes().to_vec(),
        Normal::Rewritten => out.clone(),
    };
    assert_eq!(
        target::normalize(&first, PathForm::Base, &mut out),
        Ok(Normal::AsIs),
        "{path} is normal after one pass"
    );
    Ok(text(&first))
}

/// Each row: a path, and what `MERGE_SLASHES` and `DECODE_AND_MERGE_SLASHES` make of it. Tried on Envoy 1.40.
#[test]
fn other_forms() {
    let table = [
        ("/", "/", "/"),
        ("/a/b", "/a/b", "/a/b"),
        ("//a///b//", "/a/b/", "/a/b/"),
        ("/a%2fb", "/a%2fb", "/a/b"),
        ("/a%5Cb%2F%2fc", "/a%5Cb%2F%2fc", "/a/b/c"),
        ("/a/..%2fb", "/a/..%2fb", "/b"),
        ("/a%2f..%2Fb", "/a%2f..%2Fb", "/b"),
        ("/a/%2e%2e%2f%2fb", "/a/..%2f%2fb", "/b"),
        ("/a//../b", "/a/b", "/a/b"),
        ("/a\\b\\\\c", "/a/b/c", "/a/b/c"),
        ("/%252f", "/%252f", "/%252f"),
        ("/a%2", "/a%2", "/a%2"),
        ("/%2f%2", "/%2f%2", "/%2"),
    ];
    for (path, merged, decoded) in table {
        for (form, expected) in
            [(PathForm::AsSent, path), (PathForm::MergeSlashes, merged), (PathForm::DecodeAndMergeSlashes, decoded)]
        {
            let mut out = b"left over".to_vec();
            let first = match target::normalize(path.as_bytes(), form, &mut out).expect("a good path") {
                Normal::AsIs => path.as_bytes().to_vec(),
                Normal::Rewritten => out.clone(),
            };
            assert_eq!(String::from_utf8_lossy(&first), expected, "{path} {form:?}");
            assert_eq!(target::normalize(&first, form, &mut out), Ok(Normal::AsIs), "{path} {form:?}");
        }
    }
}

#[test]
fn paths_in_normal_form_are_left_alone() {
    for path in [
        "/",
        "/a",
        "/a/b.c",
        "/a/",
        "//a///b",
        "/.well-known",
        "/...",
        "/a/..b",
        "/a/.b/",
        "/a../b",
        "/a./b",
        "/%2f%2F",
        "/%20",
        "/%zz",
        "/%",
        "/a%7",
        "/%c3%a9",
        "/%5c",
        "/a'b[c]@!$&()*+,;=:~",
        "/%01%7f",
        "/%2F../b",
        "/a%2f..%2fb",
        "*",
        "",
    ] {
        assert_eq!(target::normalize(path.as_bytes(), PathForm::Base, &mut Vec::new()), Ok(Normal::AsIs), "{path}");
    }
}

#[test]
fn other_paths_are_rewritten_as_envoy_does() {
    let table = [
        ("/a/../b/./c", "/b/c"),
        ("/../../etc", "/etc"),
        ("/..", "/"),
        ("/.", "/"),
        ("/a/..", "/"),
        ("/a/.", "/a/"),
        ("/a/./", "/a/"),
        ("/a/b/..", "/a/"),
        ("/a/b/../", "/a/"),
        ("/a//../b", "/a/b"),
        ("/a;x/../b", "/b"),
        ("/%2e%2e/x", "/x"),
        ("/a/%2E./c", "/c"),
        ("/a/.%2e/b", "/b"),
        ("/a%2E%2e", "/a.."),
        ("/%41%7e%20%2d", "/A~%20-"),
        ("/~%7E%5f%2B", "/~~_%2B"),
        ("/a\\b", "/a/b"),
        ("/a\\..\\b", "/b"),
        ("/a/..\\b", "/b"),
        ("/a\"b", "/a%22b"),
        ("/a<b>", "/a%3Cb%3E"),
        ("/a{b}", "/a%7Bb%7D"),
        ("/a|b^c`d", "/a%7Cb%5Ec%60d"),
        // Not as Envoy does: it makes `%2e` of these, which an upstream decodes once more.
        ("/./%2%65", "/%2%65"),
        ("/./%%32e", "/%%32e"),
        ("/./%%32%65", "/%%32e"),
    ];
    for (path, expected) in table {
        assert_eq!(normal(path).as_deref(), Ok(expected), "{path}");
    }
}

#[test]
fn paths_that_have_no_normal_form() {
    for path in ["/%00", "/a/../%00", "/a#b", "#"] {
        assert_eq!(normal(path), Err(ProtocolError::Path), "{path}");
    }
}

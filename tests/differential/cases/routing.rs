//! Which rule a request meets.

use super::EDGE;
use crate::bench::compare;
use crate::case::Step::{Read, Send};
use crate::case::{Case, VIA};

#[test]
fn routing() {
    compare(EDGE, ROUTING);
}

/// What Envoy logs when no rule matches.
const NR: &[&str] = &["404 NR route_not_found"];

const ROUTING: &[Case] = &[
    Case::get("unknown host", &[Send(b"GET /x HTTP/1.1\r\nHost: b.example.com\r\n\r\n"), Read("GET")], NR),
    Case::get("HEAD of an unknown host", &[Send(b"HEAD /x HTTP/1.1\r\nHost: b.example.com\r\n\r\n"), Read("HEAD")], NR),
    Case::get(
        "POST to an unknown host",
        &[Send(b"POST /x HTTP/1.1\r\nHost: b.example.com\r\nContent-Length: 2\r\n\r\nab"), Read("POST")],
        NR,
    ),
    Case::get(
        "exposed path",
        &[Send(b"GET /status/200 HTTP/1.1\r\nHost: paths.example.com\r\n\r\n"), Read("GET")],
        VIA,
    ),
    Case::get(
        "prefix of a word",
        &[Send(b"GET /statusx HTTP/1.1\r\nHost: paths.example.com\r\n\r\n"), Read("GET")],
        VIA,
    ),
    Case::get(
        "path not exposed",
        &[Send(b"GET /headers HTTP/1.1\r\nHost: paths.example.com\r\n\r\n"), Read("GET")],
        NR,
    ),
    Case::get(
        "path exposed only after normalisation",
        &[Send(b"GET /x/../status/200 HTTP/1.1\r\nHost: paths.example.com\r\n\r\n"), Read("GET")],
        VIA,
    ),
    Case::get(
        "path not exposed after normalisation",
        &[Send(b"GET /status/../headers HTTP/1.1\r\nHost: paths.example.com\r\n\r\n"), Read("GET")],
        NR,
    ),
    Case::get(
        "path in other letters",
        &[Send(b"GET /Status/200 HTTP/1.1\r\nHost: paths.example.com\r\n\r\n"), Read("GET")],
        NR,
    ),
    Case::get(
        "no such service",
        &[Send(b"GET /x HTTP/1.1\r\nHost: unknown.example.com\r\n\r\n"), Read("GET")],
        &["503 NC cluster_not_found"],
    ),
    Case::get(
        "HEAD, no such service",
        &[Send(b"HEAD /x HTTP/1.1\r\nHost: unknown.example.com\r\n\r\n"), Read("HEAD")],
        &["503 NC cluster_not_found"],
    ),
    Case::get(
        "no endpoint",
        &[Send(b"GET /x HTTP/1.1\r\nHost: empty.example.com\r\n\r\n"), Read("GET")],
        &["503 UH no_healthy_upstream"],
    ),
    Case::get(
        "HEAD, no endpoint",
        &[Send(b"HEAD /x HTTP/1.1\r\nHost: empty.example.com\r\n\r\n"), Read("HEAD")],
        &["503 UH no_healthy_upstream"],
    ),
    Case::get(
        "the next request after a 404",
        &[
            Send(b"GET /x HTTP/1.1\r\nHost: b.example.com\r\n\r\nGET /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"),
            Read("GET"),
            Read("GET"),
        ],
        &["404 NR route_not_found", "200 - via_upstream"],
    ),
    Case::get(
        "404 and close",
        &[Send(b"GET /x HTTP/1.1\r\nHost: b.example.com\r\nConnection: close\r\n\r\n"), Read("GET")],
        NR,
    ),
    Case::get("404 for HTTP/1.0", &[Send(b"GET /x HTTP/1.0\r\nHost: b.example.com\r\n\r\n"), Read("GET")], NR),
    Case::get(
        "a dot at the end of the host",
        &[Send(b"GET /x HTTP/1.1\r\nHost: a.example.com.\r\n\r\n"), Read("GET")],
        NR,
    ),
];

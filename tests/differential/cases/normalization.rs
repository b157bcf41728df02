//! `meshConfig.pathNormalization`: what a path becomes before any rule sees it, as the origin gets it.

use super::{ask, gateway, service, workload};
use crate::bench::{World, compare};
use crate::case::{Case, Stated, VIA};

#[test]
fn base() {
    compare(WORLD.under(&[("pathNormalization", "{normalization: BASE}")]), PATHS);
}

#[test]
fn merge_slashes() {
    compare(WORLD.under(&[("pathNormalization", "{normalization: MERGE_SLASHES}")]), PATHS);
}

#[test]
fn decode_and_merge_slashes() {
    compare(WORLD.under(&[("pathNormalization", "{normalization: DECODE_AND_MERGE_SLASHES}")]), PATHS);
}

#[test]
fn none() {
    let cases = [PATHS, WITH_BACKSLASH].concat();
    compare(WORLD.under(&[("pathNormalization", "{normalization: NONE}")]), &cases);
}

/// Everything is forwarded, by one rule or the other: which one says what the rules saw.
const WORLD: World = World::gateway(
    concat!(
        gateway!(),
        r"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.example.com]
  gateways: [edge]
  http:
  - name: in-a
    match: [{uri: {prefix: /a/}}]
    route: [{destination: {host: origin}}]
  - name: other
    route: [{destination: {host: origin}}]
",
        service!("origin"),
        workload!("origin", "@0")
    ),
    1,
);

#[rustfmt::skip] // one request a line
const PATHS: &[Case] = &[
    ask!("GET" "/a" "a.example.com" [] => VIA),
    ask!("GET" "//a" "a.example.com" [] => VIA),
    ask!("GET" "/a//b" "a.example.com" [] => VIA),
    ask!("GET" "/a///b//c/" "a.example.com" [] => VIA),
    ask!("GET" "/a/./b" "a.example.com" [] => VIA),
    ask!("GET" "/a/../b" "a.example.com" [] => VIA),
    ask!("GET" "/../b" "a.example.com" [] => VIA),
    ask!("GET" "/a/%2e%2e/b" "a.example.com" [] => VIA),
    ask!("GET" "/a/%2E/b" "a.example.com" [] => VIA),
    ask!("GET" "/%61" "a.example.com" [] => VIA),
    ask!("GET" "/%7e" "a.example.com" [] => VIA),
    ask!("GET" "/a%20b" "a.example.com" [] => VIA),
    ask!("GET" "/a%2fb" "a.example.com" [] => VIA),
    ask!("GET" "/a%2Fb" "a.example.com" [] => VIA),
    ask!("GET" "/a%5cb" "a.example.com" [] => VIA),
    ask!("GET" "/a%2f%2fb" "a.example.com" [] => VIA),
    ask!("GET" "/a%2f../b" "a.example.com" [] => VIA),
    ask!("GET" "/a/..%2fb" "a.example.com" [] => VIA),
    ask!("GET" "/a%252fb" "a.example.com" [] => VIA),
    ask!("GET" "/%zz" "a.example.com" [] => VIA),
    ask!("GET" "/%" "a.example.com" [] => VIA),
    ask!("GET" "/a;b/../c" "a.example.com" [] => VIA),
    ask!("GET" "/a?x=//b/../c%2fd" "a.example.com" [] => VIA),
    ask!("GET" "/." "a.example.com" [] => VIA),
    ask!("GET" "/.." "a.example.com" [] => VIA),
    ask!("GET" "/a/." "a.example.com" [] => VIA),
    ask!("GET" "/a/.." "a.example.com" [] => VIA),
    ask!("GET" "/a//../b" "a.example.com" [] => VIA),
    ask!("GET" "/a/b/../../../c" "a.example.com" [] => VIA),
];

#[rustfmt::skip] // as above
const WITH_BACKSLASH: &[Case] = &[
    ask!("GET" "/a\\b" "a.example.com" [] => VIA).but(ESCAPED),
];

const ESCAPED: &[Stated] = &[Stated {
    place: "log.0.request",
    ringway: "GET /a\\x5Cb HTTP/1.1",
    why: "a text log escapes what could forge a field",
}];

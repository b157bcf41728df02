//! Rewritten paths and authorities, as the origin sees them.

use super::{ask, gateway, service, workload};
use crate::bench::{World, compare};
use crate::case::{Case, Stated, VIA};

#[test]
fn paths() {
    compare(WORLD, PATHS);
}

#[test]
fn authorities() {
    compare(WORLD, AUTHORITIES);
}

const WORLD: World = World::gateway(
    concat!(
        gateway!(),
        r"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: paths}
spec:
  hosts: [paths.example.com]
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /folder/}}]
    rewrite: {uri: /}
    route: [{destination: {host: origin}}]
  - match: [{uri: {prefix: /trap}}]
    rewrite: {uri: /}
    route: [{destination: {host: origin}}]
  - match: [{uri: {prefix: /short}}]
    rewrite: {uri: /x/y}
    route: [{destination: {host: origin}}]
  - match: [{uri: {exact: /exact}}]
    rewrite: {uri: /replaced}
    route: [{destination: {host: origin}}]
  - match: [{uri: {regex: '/regex/[a-z]+'}}]
    rewrite: {uri: /whole}
    route: [{destination: {host: origin}}]
  - match: [{uri: {prefix: /Any}, ignoreUriCase: true}]
    rewrite: {uri: /case}
    route: [{destination: {host: origin}}]
  - match: [{uri: {prefix: /same}}]
    rewrite: {uri: /same}
    route: [{destination: {host: origin}}]
  - match: [{uri: {prefix: /query}}]
    rewrite: {uri: '/q?added=1'}
    route: [{destination: {host: origin}}]
  - match: [{uri: {prefix: /blank}}]
    rewrite: {uri: '/a b'}
    route: [{destination: {host: origin}}]
  - match: [{uri: {prefix: /groups/}}]
    rewrite: {uriRegexRewrite: {match: '^/groups/([^/]+)(/.*)$', rewrite: '/c\2/\1'}}
    route: [{destination: {host: origin}}]
  - match: [{uri: {prefix: /all}}]
    rewrite: {uriRegexRewrite: {match: 'a', rewrite: '<\0>'}}
    route: [{destination: {host: origin}}]
  - match: [{uri: {prefix: /none}}]
    rewrite: {uriRegexRewrite: {match: 'zzz', rewrite: 'y'}}
    route: [{destination: {host: origin}}]
  - match: [{headers: {x-no-path: {}}}]
    rewrite: {uri: /v1}
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: everything}
spec:
  hosts: [everything.example.com]
  gateways: [edge]
  http:
  - rewrite: {uri: /v1}
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: authorities}
spec:
  hosts: ['*.authority.example.com']
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /plain}}]
    rewrite: {authority: new.example.com}
    route: [{destination: {host: origin}}]
  - match: [{uri: {prefix: /port}}]
    rewrite: {authority: 'new.example.com:8080'}
    route: [{destination: {host: origin}}]
  - match: [{uri: {prefix: /both}}]
    rewrite: {uri: /path, authority: new.example.com}
    route: [{destination: {host: origin}}]
  - match: [{uri: {prefix: /set}}]
    headers: {request: {set: {Host: set.example.com}}}
    route: [{destination: {host: origin}}]
  - match: [{uri: {prefix: /add}}]
    headers: {request: {add: {':authority': added.example.com}}}
    route: [{destination: {host: origin}}]
  - match: [{uri: {prefix: /of-destination}}]
    route:
    - destination: {host: origin}
      headers: {request: {set: {host: destination.example.com}}}
  - match: [{uri: {prefix: /missing}}]
    rewrite: {uri: /other, authority: new.example.com}
    route: [{destination: {host: missing, port: {number: 8000}}}]
",
        service!("origin"),
        workload!("origin", "@0")
    ),
    1,
);

#[rustfmt::skip] // one request a line
const PATHS: &[Case] = &[
    ask!("GET" "/folder/a/b?x=1" "paths.example.com" [] => VIA),
    ask!("GET" "/folder/" "paths.example.com" [] => VIA),
    ask!("GET" "/trap/foo" "paths.example.com" [] => VIA),
    ask!("GET" "/trapfoo" "paths.example.com" [] => VIA),
    ask!("GET" "/trap" "paths.example.com" [] => VIA),
    ask!("GET" "/trap?q" "paths.example.com" [] => VIA),
    ask!("GET" "/shortz?q" "paths.example.com" [] => VIA),
    ask!("GET" "/short" "paths.example.com" [] => VIA),
    ask!("GET" "/exact?z=1" "paths.example.com" [] => VIA),
    ask!("GET" "/exact" "paths.example.com" [] => VIA),
    ask!("GET" "/regex/abc?z=1" "paths.example.com" [] => VIA),
    ask!("GET" "/regex/abc" "paths.example.com" [] => VIA),
    ask!("GET" "/any/x" "paths.example.com" [] => VIA),
    ask!("GET" "/ANYTHING?a" "paths.example.com" [] => VIA),
    ask!("GET" "/same/x" "paths.example.com" [] => VIA),
    ask!("GET" "/query?b=2" "paths.example.com" [] => VIA),
    ask!("GET" "/query" "paths.example.com" [] => VIA),
    ask!("GET" "/groups/v1/api?x=/groups/9" "paths.example.com" [] => VIA),
    ask!("GET" "/blank/x" "paths.example.com" [] => VIA).but(&[Stated {
        place: "origin.0.start",
        ringway: "GET /a%20b/x HTTP/1.1",
        why: "a blank would split the request line",
    }]),
    ask!("GET" "/groups/v1" "paths.example.com" [] => VIA),
    ask!("GET" "/all/a/b?a=a" "paths.example.com" [] => VIA),
    ask!("GET" "/none?a" "paths.example.com" [] => VIA),
    ask!("GET" "/a/../short/x" "paths.example.com" [] => VIA),
    ask!("GET" "/%73hort/x" "paths.example.com" [] => VIA),
    ask!("GET" "/x/y?z" "paths.example.com" ["X-No-Path: 1"] => VIA),
    ask!("GET" "/" "paths.example.com" ["X-No-Path: 1"] => VIA),
    ask!("GET" "/short" "paths.example.com" ["X-Envoy-Original-Path: /mine"] => VIA),
    ask!("POST" "/short" "paths.example.com" [] => VIA),
    ask!("GET" "/x?a=b" "everything.example.com" [] => VIA),
    ask!("GET" "/" "everything.example.com" [] => VIA),
];

#[rustfmt::skip] // one request a line
const AUTHORITIES: &[Case] = &[
    ask!("GET" "/plain" "a.authority.example.com" [] => VIA),
    ask!("GET" "/plain" "a.authority.example.com:8080" [] => VIA),
    ask!("GET" "/port" "a.authority.example.com" [] => VIA),
    ask!("GET" "/both/x?y" "a.authority.example.com" [] => VIA),
    ask!("GET" "/set" "a.authority.example.com" [] => VIA),
    ask!("GET" "/add" "a.authority.example.com" [] => VIA),
    ask!("GET" "/of-destination" "a.authority.example.com" [] => VIA),
    ask!("GET" "/plain" "a.authority.example.com" ["X-Envoy-Original-Host: mine", "X-Forwarded-Host: mine"] => VIA),
    ask!("GET" "http://a.authority.example.com/plain" "other.example.com" [] => VIA),
    ask!("GET" "/missing/x" "a.authority.example.com" [] => &["503 NC cluster_not_found -"]),
];

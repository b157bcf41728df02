//! Which rule a request meets: conditions of every kind, one at a time and together.

use super::{ask, gateway, service, workload};
use crate::bench::{World, compare};
use crate::case::Case;

#[test]
fn paths() {
    compare(WORLD, PATHS);
}

#[test]
fn methods_authorities_schemes() {
    compare(WORLD, PSEUDO);
}

#[test]
fn headers() {
    compare(WORLD, HEADERS);
}

#[test]
fn query_parameters() {
    compare(WORLD, QUERIES);
}

#[test]
fn order() {
    compare(WORLD, ORDER);
}

/// A host for each kind of condition. No rule takes everything, so that what does not match is a 404.
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
  - name: exact
    match: [{uri: {exact: /exact}}]
    route: [{destination: {host: origin}}]
  - name: exact-any-case
    match: [{uri: {exact: /Any-Case}, ignoreUriCase: true}]
    route: [{destination: {host: origin}}]
  - name: prefix
    match: [{uri: {prefix: /prefix}}]
    route: [{destination: {host: origin}}]
  - name: prefix-slash
    match: [{uri: {prefix: /folder/}}]
    route: [{destination: {host: origin}}]
  - name: prefix-any-case
    match: [{uri: {prefix: /Any-Prefix}, ignoreUriCase: true}]
    route: [{destination: {host: origin}}]
  - name: regex
    match: [{uri: {regex: '/rx/[a-z]+'}}]
    route: [{destination: {host: origin}}]
  - name: regex-inline-case
    match: [{uri: {regex: '(?i)/inline/[a-z]+'}}]
    route: [{destination: {host: origin}}]
  - name: regex-alternatives
    match: [{uri: {regex: '/one|/two.*'}}]
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: methods}
spec:
  hosts: [methods.example.com]
  gateways: [edge]
  http:
  - name: exact
    match: [{method: {exact: POST}}]
    route: [{destination: {host: origin}}]
  - name: regex
    match: [{method: {regex: 'P(UT|ATCH)'}}]
    route: [{destination: {host: origin}}]
  - name: prefix
    match: [{method: {prefix: D}}]
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: authorities}
spec:
  hosts: ['*.authority.example.com']
  gateways: [edge]
  http:
  - name: exact
    match: [{authority: {exact: a.authority.example.com}}]
    route: [{destination: {host: origin}}]
  - name: with-port
    match: [{authority: {exact: 'b.authority.example.com:8080'}}]
    route: [{destination: {host: origin}}]
  - name: prefix
    match: [{authority: {prefix: c.}}]
    route: [{destination: {host: origin}}]
  - name: regex
    match: [{authority: {regex: 'd[0-9]+\.authority\.example\.com(:[0-9]+)?'}}]
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: schemes}
spec:
  hosts: [schemes.example.com]
  gateways: [edge]
  http:
  - name: http
    match: [{scheme: {exact: http}, uri: {prefix: /http}}]
    route: [{destination: {host: origin}}]
  - name: https
    match: [{scheme: {exact: https}}]
    route: [{destination: {host: origin}}]
  - name: regex
    match: [{scheme: {regex: 'https?'}, uri: {prefix: /either}}]
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: headers}
spec:
  hosts: [headers.example.com]
  gateways: [edge]
  http:
  - name: exact
    match: [{headers: {x-exact: {exact: value}}}]
    route: [{destination: {host: origin}}]
  - name: prefix
    match: [{headers: {x-prefix: {prefix: val}}}]
    route: [{destination: {host: origin}}]
  - name: regex
    match: [{headers: {x-regex: {regex: 'v[0-9]+'}}}]
    route: [{destination: {host: origin}}]
  - name: present
    match: [{headers: {x-present: {}}}]
    route: [{destination: {host: origin}}]
  - name: star
    match: [{headers: {x-star: {regex: '*'}}}]
    route: [{destination: {host: origin}}]
  - name: user-agent
    match: [{headers: {User-Agent: {regex: '.*Firefox.*'}}}]
    route: [{destination: {host: origin}}]
  - name: cookie
    match: [{headers: {cookie: {regex: '^(.*?;)?(user=jason)(;.*)?$'}}}]
    route: [{destination: {host: origin}}]
  - name: two
    match: [{headers: {x-one: {exact: '1'}, x-two: {exact: '2'}}}]
    route: [{destination: {host: origin}}]
  - name: without
    match: [{uri: {exact: /without}, withoutHeaders: {x-not: {exact: bad}}}]
    route: [{destination: {host: origin}}]
  - name: without-any
    match: [{uri: {exact: /without-any}, withoutHeaders: {x-not: {}}}]
    route: [{destination: {host: origin}}]
  - name: without-regex
    match: [{uri: {exact: /without-regex}, withoutHeaders: {x-not: {regex: 'b.*'}}}]
    route: [{destination: {host: origin}}]
  - name: without-empty
    match: [{uri: {exact: /without-empty}, withoutHeaders: {x-not: {regex: '.*'}}}]
    route: [{destination: {host: origin}}]
  - name: with-and-without
    match: [{headers: {x-yes: {}}, withoutHeaders: {x-not: {prefix: b}}}]
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: queries}
spec:
  hosts: [queries.example.com]
  gateways: [edge]
  http:
  - name: exact
    match: [{queryParams: {exact: {exact: value}}}]
    route: [{destination: {host: origin}}]
  - name: empty
    match: [{queryParams: {empty: {exact: ''}}}]
    route: [{destination: {host: origin}}]
  - name: prefix
    match: [{queryParams: {prefix: {prefix: val}}}]
    route: [{destination: {host: origin}}]
  - name: regex
    match: [{queryParams: {regex: {regex: 'v[0-9]+$'}}}]
    route: [{destination: {host: origin}}]
  - name: present
    match: [{queryParams: {present: {}}}]
    route: [{destination: {host: origin}}]
  - name: star
    match: [{queryParams: {star: {regex: '*'}}}]
    route: [{destination: {host: origin}}]
  - name: two
    match: [{queryParams: {one: {exact: '1'}, two: {exact: '2'}}}]
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: order}
spec:
  hosts: [order.example.com]
  gateways: [edge]
  http:
  - name: either
    match:
    - name: path
      uri: {prefix: /either}
    - name: header
      headers: {x-either: {exact: 'yes'}}
    route: [{destination: {host: origin}}]
  - name: first
    match: [{uri: {prefix: /same}, method: {exact: GET}}]
    route: [{destination: {host: origin}}]
  - name: second
    match: [{uri: {prefix: /same}}]
    route: [{destination: {host: origin}}]
  - name: other-port
    match: [{port: 8080, uri: {prefix: /port}}]
    route: [{destination: {host: origin}}]
  - name: this-port
    match: [{port: 80, uri: {prefix: /port}}]
    route: [{destination: {host: origin}}]
  - name: mesh-only
    match: [{gateways: [mesh], uri: {prefix: /gateway}}]
    route: [{destination: {host: origin}}]
  - name: this-gateway
    match: [{gateways: [default/edge], uri: {prefix: /gateway}, sourceLabels: {app: nothing}}]
    route: [{destination: {host: origin}}]
  - name: other-labels
    match: [{sourceLabels: {app: nothing}, uri: {prefix: /labels}}]
    route: [{destination: {host: origin}}]
  - name: no-labels
    match: [{uri: {prefix: /labels}}]
    route: [{destination: {host: origin}}]
  - name: everything
    match: [{uri: {prefix: /}}]
    route: [{destination: {host: origin}}]
  - name: never
    match: [{uri: {prefix: /never}}]
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: merged-1}
spec:
  hosts: [merged.example.com]
  gateways: [edge]
  http:
  - name: first-everything
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: merged-2}
spec:
  hosts: [merged.example.com]
  gateways: [edge]
  http:
  - name: second-path
    match: [{uri: {prefix: /second}}]
    route: [{destination: {host: origin}}]
  - name: second-everything
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wild}
spec:
  hosts: ['*.wild.example.com']
  gateways: [edge]
  http:
  - name: wild
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wilder}
spec:
  hosts: ['*.deep.wild.example.com']
  gateways: [edge]
  http:
  - name: wilder
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: tame}
spec:
  hosts: [tame.wild.example.com]
  gateways: [edge]
  http:
  - name: tame
    match: [{uri: {prefix: /only}}]
    route: [{destination: {host: origin}}]
",
        service!("origin"),
        workload!("origin", "@0")
    ),
    1,
);

/// What Envoy logs when no rule matches.
const NR: &[&str] = &["404 NR route_not_found -"];

/// Exact paths, prefixes (of characters, not of segments) and regular expressions, all without the query.
#[rustfmt::skip] // one request a line
const PATHS: &[Case] = &[
    ask!("GET" "/exact" "paths.example.com" [] => &["200 - via_upstream exact"]),
    ask!("GET" "/exact?a=b" "paths.example.com" [] => &["200 - via_upstream exact"]),
    ask!("GET" "/exact/" "paths.example.com" [] => NR),
    ask!("GET" "/exact/x" "paths.example.com" [] => NR),
    ask!("GET" "/exac" "paths.example.com" [] => NR),
    ask!("GET" "/Exact" "paths.example.com" [] => NR),
    ask!("GET" "/x/../exact" "paths.example.com" [] => &["200 - via_upstream exact"]),
    ask!("GET" "/%65xact" "paths.example.com" [] => &["200 - via_upstream exact"]),
    ask!("GET" "/exact%2f" "paths.example.com" [] => NR),
    ask!("GET" "/exact;p=1" "paths.example.com" [] => NR),
    ask!("GET" "/any-case" "paths.example.com" [] => &["200 - via_upstream exact-any-case"]),
    ask!("GET" "/ANY-CASE?X" "paths.example.com" [] => &["200 - via_upstream exact-any-case"]),
    ask!("GET" "/any-casex" "paths.example.com" [] => NR),
    ask!("GET" "/prefix" "paths.example.com" [] => &["200 - via_upstream prefix"]),
    ask!("GET" "/prefixed" "paths.example.com" [] => &["200 - via_upstream prefix"]),
    ask!("GET" "/prefix/x?y" "paths.example.com" [] => &["200 - via_upstream prefix"]),
    ask!("GET" "/prefi" "paths.example.com" [] => NR),
    ask!("GET" "/PREFIX" "paths.example.com" [] => NR),
    ask!("GET" "/prefix/../other" "paths.example.com" [] => NR),
    ask!("GET" "/folder/" "paths.example.com" [] => &["200 - via_upstream prefix-slash"]),
    ask!("GET" "/folder/x" "paths.example.com" [] => &["200 - via_upstream prefix-slash"]),
    ask!("GET" "/folder" "paths.example.com" [] => NR),
    ask!("GET" "/folder?x=/folder/" "paths.example.com" [] => NR),
    ask!("GET" "/any-prefix" "paths.example.com" [] => &["200 - via_upstream prefix-any-case"]),
    ask!("GET" "/ANY-PREFIXED/x" "paths.example.com" [] => &["200 - via_upstream prefix-any-case"]),
    ask!("GET" "/rx/abc" "paths.example.com" [] => &["200 - via_upstream regex"]),
    ask!("GET" "/rx/abc?q=1" "paths.example.com" [] => &["200 - via_upstream regex"]),
    ask!("GET" "/rx/abc1" "paths.example.com" [] => NR),
    ask!("GET" "/rx/ABC" "paths.example.com" [] => NR),
    ask!("GET" "/a/rx/abc" "paths.example.com" [] => NR),
    ask!("GET" "/rx/" "paths.example.com" [] => NR),
    ask!("GET" "/Inline/ABC" "paths.example.com" [] => &["200 - via_upstream regex-inline-case"]),
    ask!("GET" "/one" "paths.example.com" [] => &["200 - via_upstream regex-alternatives"]),
    ask!("GET" "/onex" "paths.example.com" [] => NR),
    ask!("GET" "/two/and/more" "paths.example.com" [] => &["200 - via_upstream regex-alternatives"]),
    ask!("GET" "//exact" "paths.example.com" [] => NR),
    ask!("GET" "/" "paths.example.com" [] => NR),
];

/// The method, the authority with its port as sent, the scheme of the connection.
#[rustfmt::skip] // one request a line
const PSEUDO: &[Case] = &[
    ask!("GET" "/x" "methods.example.com" [] => NR),
    ask!("POST" "/x" "methods.example.com" [] => &["200 - via_upstream exact"]),
    ask!("PUT" "/x" "methods.example.com" [] => &["200 - via_upstream regex"]),
    ask!("PATCH" "/x" "methods.example.com" [] => &["200 - via_upstream regex"]),
    ask!("DELETE" "/x" "methods.example.com" [] => &["200 - via_upstream prefix"]),
    ask!("HEAD" "/x" "methods.example.com" [] => NR),
    ask!("OPTIONS" "/x" "methods.example.com" [] => NR),
    ask!("GET" "/x" "a.authority.example.com" [] => &["200 - via_upstream exact"]),
    ask!("GET" "/x" "a.authority.example.com:80" [] => NR),
    ask!("GET" "/x" "A.authority.example.com" [] => NR),
    ask!("GET" "/x" "b.authority.example.com" [] => NR),
    ask!("GET" "/x" "b.authority.example.com:8080" [] => &["200 - via_upstream with-port"]),
    ask!("GET" "/x" "c.authority.example.com" [] => &["200 - via_upstream prefix"]),
    ask!("GET" "/x" "c.x.y.authority.example.com:1" [] => &["200 - via_upstream prefix"]),
    ask!("GET" "/x" "d12.authority.example.com" [] => &["200 - via_upstream regex"]),
    ask!("GET" "/x" "d12.authority.example.com:99" [] => &["200 - via_upstream regex"]),
    ask!("GET" "/x" "dx.authority.example.com" [] => NR),
    ask!("GET" "/x" "authority.example.com" [] => NR),
    ask!("GET" "/http" "schemes.example.com" [] => &["200 - via_upstream http"]),
    ask!("GET" "/http" "schemes.example.com" ["X-Forwarded-Proto: https"] => &["200 - via_upstream http"]),
    ask!("GET" "/x" "schemes.example.com" ["X-Forwarded-Proto: https"] => NR),
    ask!("GET" "/either" "schemes.example.com" [] => &["200 - via_upstream regex"]),
    ask!("GET" "http://schemes.example.com/http" "other.example.com" [] => &["200 - via_upstream http"]),
    ask!("GET" "https://schemes.example.com/x" "other.example.com" [] => &["403 DPE http1.https_url_on_plaintext_connection"]),
];

/// Each line of a header is tested by itself. What must be without a header takes a missing one as empty.
#[rustfmt::skip] // one request a line
const HEADERS: &[Case] = &[
    ask!("GET" "/x" "headers.example.com" ["X-Exact: value"] => &["200 - via_upstream exact"]),
    ask!("GET" "/x" "headers.example.com" ["x-exact: value"] => &["200 - via_upstream exact"]),
    ask!("GET" "/x" "headers.example.com" ["X-Exact: Value"] => NR),
    ask!("GET" "/x" "headers.example.com" ["X-Exact: values"] => NR),
    ask!("GET" "/x" "headers.example.com" ["X-Exact:   value  "] => &["200 - via_upstream exact"]),
    ask!("GET" "/x" "headers.example.com" ["X-Exact:"] => NR),
    ask!("GET" "/x" "headers.example.com" ["X-Exact: other", "X-Exact: value"] => &["200 - via_upstream exact"]),
    ask!("GET" "/x" "headers.example.com" ["X-Exact: value", "X-Exact: other"] => &["200 - via_upstream exact"]),
    ask!("GET" "/x" "headers.example.com" ["X-Exact: value,other"] => NR),
    ask!("GET" "/x" "headers.example.com" ["X-Prefix: val"] => &["200 - via_upstream prefix"]),
    ask!("GET" "/x" "headers.example.com" ["X-Prefix: value"] => &["200 - via_upstream prefix"]),
    ask!("GET" "/x" "headers.example.com" ["X-Prefix: va"] => NR),
    ask!("GET" "/x" "headers.example.com" ["X-Prefix: aval"] => NR),
    ask!("GET" "/x" "headers.example.com" ["X-Regex: v1"] => &["200 - via_upstream regex"]),
    ask!("GET" "/x" "headers.example.com" ["X-Regex: v12"] => &["200 - via_upstream regex"]),
    ask!("GET" "/x" "headers.example.com" ["X-Regex: v1x"] => NR),
    ask!("GET" "/x" "headers.example.com" ["X-Regex: xv1"] => NR),
    ask!("GET" "/x" "headers.example.com" ["X-Regex: no", "X-Regex: v3"] => &["200 - via_upstream regex"]),
    ask!("GET" "/x" "headers.example.com" ["X-Present: anything"] => &["200 - via_upstream present"]),
    ask!("GET" "/x" "headers.example.com" ["X-Present:"] => &["200 - via_upstream present"]),
    ask!("GET" "/x" "headers.example.com" ["X-Star: anything"] => &["200 - via_upstream star"]),
    ask!("GET" "/x" "headers.example.com" ["X-Star:"] => &["200 - via_upstream star"]),
    ask!("GET" "/x" "headers.example.com" ["User-Agent: Mozilla/5.0 Firefox/83.0"] => &["200 - via_upstream user-agent"]),
    ask!("GET" "/x" "headers.example.com" ["User-Agent: Chrome"] => NR),
    ask!("GET" "/x" "headers.example.com" ["Cookie: user=jason"] => &["200 - via_upstream cookie"]),
    ask!("GET" "/x" "headers.example.com" ["Cookie: a=b;user=jason"] => &["200 - via_upstream cookie"]),
    ask!("GET" "/x" "headers.example.com" ["Cookie: a=b; user=jason"] => NR),
    ask!("GET" "/x" "headers.example.com" ["Cookie: user=jason2"] => NR),
    ask!("GET" "/x" "headers.example.com" ["X-One: 1"] => NR),
    ask!("GET" "/x" "headers.example.com" ["X-One: 1", "X-Two: 2"] => &["200 - via_upstream two"]),
    ask!("GET" "/x" "headers.example.com" ["X-Two: 2", "X-One: 1"] => &["200 - via_upstream two"]),
    ask!("GET" "/x" "headers.example.com" ["X-One: 1", "X-Two: 3"] => NR),
    ask!("GET" "/x" "headers.example.com" ["X-Yes: 1"] => &["200 - via_upstream with-and-without"]),
    ask!("GET" "/x" "headers.example.com" ["X-Yes: 1", "X-Not: bad"] => NR),
    ask!("GET" "/x" "headers.example.com" ["X-Yes: 1", "X-Not: good"] => &["200 - via_upstream with-and-without"]),
    ask!("GET" "/without" "headers.example.com" [] => &["200 - via_upstream without"]),
    ask!("GET" "/without" "headers.example.com" ["X-Not: bad"] => NR),
    ask!("GET" "/without" "headers.example.com" ["X-Not: good"] => &["200 - via_upstream without"]),
    ask!("GET" "/without" "headers.example.com" ["X-Not:"] => &["200 - via_upstream without"]),
    ask!("GET" "/without" "headers.example.com" ["X-Not: good", "X-Not: bad"] => NR),
    ask!("GET" "/without" "headers.example.com" ["X-Not: bad", "X-Not: good"] => NR),
    ask!("GET" "/without-any" "headers.example.com" [] => &["200 - via_upstream without-any"]),
    ask!("GET" "/without-any" "headers.example.com" ["X-Not: bad"] => NR),
    ask!("GET" "/without-any" "headers.example.com" ["X-Not:"] => NR),
    ask!("GET" "/without-regex" "headers.example.com" [] => &["200 - via_upstream without-regex"]),
    ask!("GET" "/without-regex" "headers.example.com" ["X-Not: bad"] => NR),
    ask!("GET" "/without-regex" "headers.example.com" ["X-Not: good"] => &["200 - via_upstream without-regex"]),
    ask!("GET" "/without-regex" "headers.example.com" ["X-Not: b"] => NR),
    ask!("GET" "/without-empty" "headers.example.com" [] => NR),
    ask!("GET" "/without-empty" "headers.example.com" ["X-Not: bad"] => NR),
];

/// The first of parameters of one name counts, and nothing is decoded.
#[rustfmt::skip] // one request a line
const QUERIES: &[Case] = &[
    ask!("GET" "/x?exact=value" "queries.example.com" [] => &["200 - via_upstream exact"]),
    ask!("GET" "/x?a=b&exact=value" "queries.example.com" [] => &["200 - via_upstream exact"]),
    ask!("GET" "/x?exact=value&exact=other" "queries.example.com" [] => &["200 - via_upstream exact"]),
    ask!("GET" "/x?exact=other&exact=value" "queries.example.com" [] => NR),
    ask!("GET" "/x?exact=Value" "queries.example.com" [] => NR),
    ask!("GET" "/x?Exact=value" "queries.example.com" [] => NR),
    ask!("GET" "/x?exact=val%75e" "queries.example.com" [] => NR),
    ask!("GET" "/x?exact=value#" "queries.example.com" [] => &["400 - path_normalization_failed -"]),
    ask!("GET" "/x?xexact=value" "queries.example.com" [] => NR),
    ask!("GET" "/x?exact" "queries.example.com" [] => NR),
    ask!("GET" "/x?exact=value=" "queries.example.com" [] => NR),
    ask!("GET" "/x?exact=value;a=b" "queries.example.com" [] => NR),
    ask!("GET" "/x?empty=" "queries.example.com" [] => &["200 - via_upstream empty"]),
    ask!("GET" "/x?empty" "queries.example.com" [] => &["200 - via_upstream empty"]),
    ask!("GET" "/x?empty=1" "queries.example.com" [] => NR),
    ask!("GET" "/x" "queries.example.com" [] => NR),
    ask!("GET" "/x?" "queries.example.com" [] => NR),
    ask!("GET" "/x?prefix=val" "queries.example.com" [] => &["200 - via_upstream prefix"]),
    ask!("GET" "/x?prefix=value" "queries.example.com" [] => &["200 - via_upstream prefix"]),
    ask!("GET" "/x?prefix=va" "queries.example.com" [] => NR),
    ask!("GET" "/x?regex=v1" "queries.example.com" [] => &["200 - via_upstream regex"]),
    ask!("GET" "/x?regex=v123" "queries.example.com" [] => &["200 - via_upstream regex"]),
    ask!("GET" "/x?regex=av1" "queries.example.com" [] => NR),
    ask!("GET" "/x?regex=v1a" "queries.example.com" [] => NR),
    ask!("GET" "/x?present" "queries.example.com" [] => &["200 - via_upstream present"]),
    ask!("GET" "/x?present=" "queries.example.com" [] => &["200 - via_upstream present"]),
    ask!("GET" "/x?present=1" "queries.example.com" [] => &["200 - via_upstream present"]),
    ask!("GET" "/x?a&present" "queries.example.com" [] => &["200 - via_upstream present"]),
    ask!("GET" "/x?presents" "queries.example.com" [] => NR),
    ask!("GET" "/x?star=1" "queries.example.com" [] => &["200 - via_upstream star"]),
    ask!("GET" "/x?star" "queries.example.com" [] => &["200 - via_upstream star"]),
    ask!("GET" "/x?one=1&two=2" "queries.example.com" [] => &["200 - via_upstream two"]),
    ask!("GET" "/x?two=2&one=1" "queries.example.com" [] => &["200 - via_upstream two"]),
    ask!("GET" "/x?one=1" "queries.example.com" [] => NR),
    ask!("GET" "/x?one=1&two=1" "queries.example.com" [] => NR),
    ask!("GET" "/x?&&one=1&&two=2" "queries.example.com" [] => &["200 - via_upstream two"]),
];

/// The first rule in order; several VirtualServices of one host; the most specific host.
#[rustfmt::skip] // one request a line
const ORDER: &[Case] = &[
    ask!("GET" "/either/x" "order.example.com" [] => &["200 - via_upstream either.path"]),
    ask!("GET" "/x" "order.example.com" ["X-Either: yes"] => &["200 - via_upstream either.header"]),
    ask!("GET" "/either" "order.example.com" ["X-Either: yes"] => &["200 - via_upstream either.path"]),
    ask!("GET" "/x" "order.example.com" [] => &["200 - via_upstream everything"]),
    ask!("GET" "/same" "order.example.com" [] => &["200 - via_upstream first"]),
    ask!("POST" "/same" "order.example.com" [] => &["200 - via_upstream second"]),
    ask!("GET" "/port" "order.example.com" [] => &["200 - via_upstream this-port"]),
    ask!("GET" "/gateway" "order.example.com" [] => &["200 - via_upstream this-gateway"]),
    ask!("GET" "/labels" "order.example.com" [] => &["200 - via_upstream no-labels"]),
    ask!("GET" "/never" "order.example.com" [] => &["200 - via_upstream everything"]),
    ask!("GET" "/second" "merged.example.com" [] => &["200 - via_upstream second-path"]),
    ask!("GET" "/x" "merged.example.com" [] => &["200 - via_upstream first-everything"]),
    ask!("GET" "/x" "a.wild.example.com" [] => &["200 - via_upstream wild"]),
    ask!("GET" "/x" "a.b.wild.example.com" [] => &["200 - via_upstream wild"]),
    ask!("GET" "/x" "wild.example.com" [] => NR),
    ask!("GET" "/x" "a.deep.wild.example.com" [] => &["200 - via_upstream wilder"]),
    ask!("GET" "/x" "deep.wild.example.com" [] => &["200 - via_upstream wild"]),
    ask!("GET" "/x" "A.Deep.WILD.example.com:8080" [] => &["200 - via_upstream wilder"]),
    ask!("GET" "/only" "tame.wild.example.com" [] => &["200 - via_upstream tame"]),
    ask!("GET" "/x" "tame.wild.example.com" [] => NR),
];

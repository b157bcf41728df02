//! Answers that need no upstream: redirects, and `directResponse`.

use super::{ask, gateway, service, workload};
use crate::bench::{World, compare};
use crate::case::Step::{Read, Send};
use crate::case::{Case, Stated};

#[test]
fn redirects() {
    compare(WORLD, REDIRECTS);
}

#[test]
fn direct_responses() {
    compare(WORLD, DIRECT);
}

const WORLD: World = World::gateway(
    concat!(
        gateway!(),
        r"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: redirects}
spec:
  hosts: [redirects.example.com]
  gateways: [edge]
  http:
  - match: [{uri: {exact: /uri}}]
    redirect: {uri: /new}
  - match: [{uri: {prefix: /query}}]
    redirect: {uri: '/new?fixed=1'}
  - match: [{uri: {prefix: /authority}}]
    redirect: {authority: new.example.com}
  - match: [{uri: {prefix: /new-port}}]
    redirect: {authority: 'new.example.com:8443'}
  - match: [{uri: {prefix: /both}}]
    redirect: {uri: /new, authority: new.example.com}
  - match: [{uri: {prefix: /302}}]
    redirect: {uri: /new, redirectCode: 302}
  - match: [{uri: {prefix: /303}}]
    redirect: {uri: /new, redirectCode: 303}
  - match: [{uri: {prefix: /307}}]
    redirect: {uri: /new, redirectCode: 307}
  - match: [{uri: {prefix: /308}}]
    redirect: {uri: /new, redirectCode: 308}
  - match: [{uri: {prefix: /https}}]
    redirect: {scheme: https}
  - match: [{uri: {prefix: /s443}}]
    redirect: {scheme: https, port: 443}
  - match: [{uri: {prefix: /s8443}}]
    redirect: {scheme: https, port: 8443}
  - match: [{uri: {prefix: /s80}}]
    redirect: {scheme: https, port: 80}
  - match: [{uri: {prefix: /to80}}]
    redirect: {port: 80}
  - match: [{uri: {prefix: /p8080}}]
    redirect: {port: 8080}
  - match: [{uri: {prefix: /p443}}]
    redirect: {port: 443}
  - match: [{uri: {prefix: /default}}]
    redirect: {derivePort: FROM_PROTOCOL_DEFAULT, authority: new.example.com}
  - match: [{uri: {prefix: /secure-default}}]
    redirect: {derivePort: FROM_PROTOCOL_DEFAULT, scheme: https}
  - match: [{uri: {prefix: /derive-only}}]
    redirect: {derivePort: FROM_PROTOCOL_DEFAULT, uri: /new}
  - match: [{uri: {prefix: /from-request}}]
    redirect: {derivePort: FROM_REQUEST_PORT, scheme: https}
  - match: [{uri: {prefix: /from-plain}}]
    redirect: {derivePort: FROM_REQUEST_PORT, uri: /new}
  - match: [{uri: {prefix: /prefix}}]
    redirect: {prefixRewrite: /other}
  - match: [{uri: {prefix: /slash/}}]
    redirect: {prefixRewrite: /}
  - match: [{uri: {prefix: /relative}}]
    redirect: {uri: new/x}
  - match: [{uri: {prefix: /blank}}]
    redirect: {uri: '/a b'}
  - match: [{uri: {prefix: /hash}}]
    redirect: {uri: '/a#b'}
  - match: [{uri: {prefix: /all-blank}}]
    redirect: {uri: ' '}
  - match: [{uri: {prefix: /of-blank}}]
    redirect: {prefixRewrite: '/a b'}
  - match: [{uri: {prefix: /headers}}]
    headers: {response: {set: {x-set: 'yes', cache-control: no-store}, remove: [server]}, request: {set: {x-q: q}}}
    redirect: {uri: /new}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: direct}
spec:
  hosts: [direct.example.com]
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /text}}]
    directResponse: {status: 200, body: {string: hello}}
  - match: [{uri: {prefix: /bytes}}]
    directResponse: {status: 200, body: {bytes: aGVsbG8gYnl0ZXM=}}
  - match: [{uri: {prefix: /nothing}}]
    directResponse: {status: 200}
  - match: [{uri: {prefix: /204}}]
    directResponse: {status: 204}
  - match: [{uri: {prefix: /304}}]
    directResponse: {status: 304}
  - match: [{uri: {prefix: /418}}]
    directResponse: {status: 418, body: {string: teapot}}
  - match: [{uri: {prefix: /503}}]
    directResponse: {status: 503, body: {string: closed}}
  - match: [{uri: {prefix: /555}}]
    directResponse: {status: 555, body: {string: strange}}
  - match: [{uri: {prefix: /301}}]
    headers: {response: {set: {location: /elsewhere}}}
    directResponse: {status: 301}
  - match: [{uri: {prefix: /json}}]
    headers: {response: {set: {content-type: application/json, x-code: '%RESPONSE_CODE%'}}}
    directResponse: {status: 200, body: {string: '{}'}}
  - match: [{uri: {prefix: /long}}]
    directResponse: {status: 200, body: {string: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}}
",
        service!("origin"),
        workload!("origin", "@0")
    ),
    1,
);

#[rustfmt::skip] // one request a line
const REDIRECTS: &[Case] = &[
    ask!("GET" "/uri" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/uri?a=b" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/query" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/query?a=b" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/authority/x?y" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/new-port/x" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/both?a=b" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/302" "redirects.example.com" [] => &["302 - direct_response -"]),
    ask!("GET" "/303" "redirects.example.com" [] => &["303 - direct_response -"]),
    ask!("GET" "/307" "redirects.example.com" [] => &["307 - direct_response -"]),
    ask!("GET" "/308" "redirects.example.com" [] => &["308 - direct_response -"]),
    ask!("GET" "/https/x?y" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/s443" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/s8443" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/s80" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/to80" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/p8080/x" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/p443" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/default" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/secure-default" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/derive-only" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/from-request" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/from-plain" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/prefix/x?y" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/prefixed" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/slash/x" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/relative" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/relative/y?z" "redirects.example.com:8080" [] => &["301 - direct_response -"]),
    ask!("GET" "/blank" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/hash" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/all-blank" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/of-blank/x" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/headers" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/a/../prefix/x" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/uri" "redirects.example.com:8080" [] => &["301 - direct_response -"]),
    ask!("GET" "/authority" "redirects.example.com:8080" [] => &["301 - direct_response -"]),
    ask!("GET" "/https" "redirects.example.com:8080" [] => &["301 - direct_response -"]),
    ask!("GET" "/s443" "redirects.example.com:8080" [] => &["301 - direct_response -"]),
    ask!("GET" "/s8443" "redirects.example.com:8080" [] => &["301 - direct_response -"]),
    ask!("GET" "/to80" "redirects.example.com:8080" [] => &["301 - direct_response -"]),
    ask!("GET" "/p8080" "redirects.example.com:8080" [] => &["301 - direct_response -"]),
    ask!("GET" "/default" "redirects.example.com:8080" [] => &["301 - direct_response -"]),
    ask!("GET" "/secure-default" "redirects.example.com:8080" [] => &["301 - direct_response -"]),
    ask!("GET" "/derive-only" "redirects.example.com:8080" [] => &["301 - direct_response -"]),
    ask!("GET" "/from-request" "redirects.example.com:8080" [] => &["301 - direct_response -"]),
    ask!("GET" "/from-plain" "redirects.example.com:8080" [] => &["301 - direct_response -"]),
    ask!("GET" "/prefix" "redirects.example.com:8080" [] => &["301 - direct_response -"]),
    ask!("GET" "/https" "redirects.example.com:80" [] => &["301 - direct_response -"]),
    ask!("GET" "/uri" "redirects.example.com:80" [] => &["301 - direct_response -"]),
    ask!("GET" "/uri" "redirects.example.com:443" [] => &["301 - direct_response -"]),
    ask!("HEAD" "/uri" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("DELETE" "/uri" "redirects.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/uri" "Redirects.EXAMPLE.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/https" "redirects.example.com" ["X-Forwarded-Proto: https"] => &["301 - direct_response -"]),
    ask!("GET" "/uri" "redirects.example.com" ["X-Forwarded-Proto: https"] => &["301 - direct_response -"]),
    ask!("GET" "http://redirects.example.com/uri" "x.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/uri" "redirects.example.com" ["Connection: close"] => &["301 - direct_response -"]),
];

const NO_UPGRADE: &str = "an answer other than 101 leaves HTTP in force (RFC 9110 §7.8), so the connection can stay";

const STAYS_OPEN: &[Stated] = &[
    Stated { place: "client.0.header.connection", ringway: "<absent>", why: NO_UPGRADE },
    Stated { place: "client.after", ringway: "open", why: NO_UPGRADE },
];

#[rustfmt::skip] // one request a line
const DIRECT: &[Case] = &[
    ask!("GET" "/text" "direct.example.com" [] => &["200 - direct_response -"]),
    ask!("HEAD" "/text" "direct.example.com" [] => &["200 - direct_response -"]),
    ask!("GET" "/bytes" "direct.example.com" [] => &["200 - direct_response -"]),
    ask!("GET" "/nothing" "direct.example.com" [] => &["200 - direct_response -"]),
    ask!("HEAD" "/nothing" "direct.example.com" [] => &["200 - direct_response -"]),
    ask!("GET" "/204" "direct.example.com" [] => &["204 - direct_response -"]),
    ask!("GET" "/304" "direct.example.com" [] => &["304 - direct_response -"]),
    ask!("GET" "/418" "direct.example.com" [] => &["418 - direct_response -"]),
    ask!("GET" "/503" "direct.example.com" [] => &["503 - direct_response -"]),
    ask!("GET" "/555" "direct.example.com" [] => &["555 - direct_response -"]),
    ask!("GET" "/301" "direct.example.com" [] => &["301 - direct_response -"]),
    ask!("GET" "/json" "direct.example.com" [] => &["200 - direct_response -"]),
    ask!("GET" "/long" "direct.example.com" [] => &["200 - direct_response -"]),
    ask!("GET" "/text" "direct.example.com" ["Connection: close"] => &["200 - direct_response -"]),
    ask!("OPTIONS" "/text" "direct.example.com" [] => &["200 - direct_response -"]),
    ask!("GET" "/text" "direct.example.com" ["Connection: Upgrade", "Upgrade: websocket"] => &["200 - direct_response -"]).but(STAYS_OPEN),
    Case::get(
        "POST with a body",
        &[Send(b"POST /text HTTP/1.1\r\nHost: direct.example.com\r\nContent-Length: 5\r\n\r\nhello"), Read("POST")],
        &["200 - direct_response -"],
    ),
    Case::get(
        "POST with a chunked body",
        &[
            Send(b"POST /text HTTP/1.1\r\nHost: direct.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Send(b"5\r\nhello\r\n0\r\n\r\n"),
            Read("POST"),
        ],
        &["200 - direct_response -"],
    ),
    Case::get(
        "two in a row",
        &[
            Send(b"GET /text HTTP/1.1\r\nHost: direct.example.com\r\n\r\nGET /418 HTTP/1.1\r\nHost: direct.example.com\r\n\r\n"),
            Read("GET"),
            Read("GET"),
        ],
        &["200 - direct_response -", "418 - direct_response -"],
    ),
    Case::get(
        "HTTP/1.0",
        &[Send(b"GET /text HTTP/1.0\r\nHost: direct.example.com\r\n\r\n"), Read("GET")],
        &["200 - direct_response -"],
    ),
];

//! Header operations of rules and of destinations, on requests and on responses, with their `%OPERATORS%`.

use super::{ask, gateway, service, workload};
use crate::bench::{World, compare};
use crate::case::{Case, Reply, Stated, VIA};

#[test]
fn operations() {
    compare(WORLD, OPERATIONS);
}

#[test]
fn operators() {
    compare(WORLD, OPERATORS);
}

#[test]
fn answers_of_our_own() {
    compare(WORLD, OWN);
}

const WORLD: World = World::gateway(
    concat!(
        gateway!(),
        r"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: headers}
spec:
  hosts: [headers.example.com]
  gateways: [edge]
  http:
  - name: request
    match: [{uri: {prefix: /request}}]
    headers: {request: {set: {x-set: new, X-Set-Two: '2'}, add: {x-add: more, x-b: b, x-a: a}, remove: [x-remove, X-Remove-Two]}}
    route: [{destination: {host: origin}}]
  - name: response
    match: [{uri: {prefix: /response}}]
    headers: {response: {set: {x-set: new, X-Set-Two: '2'}, add: {x-add: more, x-b: b, x-a: a}, remove: [x-remove, X-Remove-Two]}}
    route: [{destination: {host: origin}}]
  - name: all-of-one
    match: [{uri: {prefix: /all-of-one}}]
    headers:
      request: {remove: [x-h], set: {x-h: set}, add: {x-h: added}}
      response: {remove: [x-h], set: {x-h: set}, add: {x-h: added}}
    route: [{destination: {host: origin}}]
  - name: remove-and-add
    match: [{uri: {prefix: /remove-and-add}}]
    headers: {request: {remove: [x-h], add: {x-h: added}}, response: {remove: [x-h], add: {x-h: added}}}
    route: [{destination: {host: origin}}]
  - name: empty
    match: [{uri: {prefix: /empty}}]
    headers: {request: {set: {x-set: ''}, add: {x-add: ''}}, response: {set: {x-set: ''}, add: {x-add: ''}}}
    route: [{destination: {host: origin}}]
  - name: destination
    match: [{uri: {prefix: /destination}}]
    headers: {request: {set: {x-set: rule, x-rule: rule}, add: {x-add: rule}}, response: {set: {x-set: rule}, add: {x-add: rule}}}
    route:
    - destination: {host: origin}
      headers: {request: {set: {x-set: destination}, add: {x-add: destination}, remove: [x-gone]}, response: {set: {x-set: destination}, add: {x-add: destination}}}
  - name: removed-by-rule
    match: [{uri: {prefix: /removed-by-rule}}]
    headers: {request: {remove: [x-h]}, response: {remove: [x-h]}}
    route:
    - destination: {host: origin}
      headers: {request: {add: {x-h: destination}}, response: {add: {x-h: destination}}}
  - name: removed-by-destination
    match: [{uri: {prefix: /removed-by-destination}}]
    headers: {request: {add: {x-h: rule}}, response: {add: {x-h: rule}}}
    route:
    - destination: {host: origin}
      headers: {request: {remove: [x-h]}, response: {remove: [x-h]}}
  - name: weighted
    match: [{uri: {prefix: /weighted}}]
    headers: {request: {add: {x-rule: rule}}, response: {add: {x-rule: rule}}}
    route:
    - destination: {host: origin}
      weight: 1
      headers: {request: {set: {x-set: destination}, remove: [x-gone]}, response: {set: {x-set: destination}, remove: [x-gone]}}
    - destination: {host: missing, port: {number: 8000}}
      weight: 0
  - name: weighted-both
    match: [{uri: {prefix: /both-weighted}}]
    headers: {request: {set: {x-set: rule}}, response: {set: {x-set: rule}}}
    route:
    - destination: {host: origin}
      weight: 1
      headers: {request: {set: {x-set: destination}}, response: {set: {x-set: destination}}}
    - destination: {host: missing, port: {number: 8000}}
      weight: 0
  - name: lists
    match: [{uri: {prefix: /lists}}]
    headers:
      request: {add: {x-forwarded-for: 1.2.3.4, x-forwarded-proto: ftp, x-plain: more}}
      response: {add: {x-forwarded-for: '%REQ(x-forwarded-for)%', x-proto: '%REQ(x-forwarded-proto)%'}}
    route: [{destination: {host: origin}}]
  - name: new-list
    match: [{uri: {prefix: /new-list}}]
    headers: {request: {set: {x-forwarded-for: 1.2.3.4}, add: {x-forwarded-for: 5.6.7.8}}}
    route: [{destination: {host: origin}}]
  - name: known
    match: [{uri: {prefix: /known}}]
    headers:
      request: {set: {user-agent: mine, x-request-id: mine, x-forwarded-for: 1.2.3.4}, remove: [accept, x-envoy-external-address]}
      response: {set: {server: mine, date: never, content-type: text/x-mine}, remove: [x-envoy-upstream-service-time, etag]}
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: operators}
spec:
  hosts: [operators.example.com]
  gateways: [edge]
  http:
  - headers:
      request:
        set:
          x-01-header: '%REQ(x-a)%'
          x-02-missing: '%REQ(x-none)%'
          x-03-either: '%REQ(x-none?x-a)%'
          x-04-cut: '%REQ(x-a):3%'
          x-05-pseudo: '%REQ(:method)% %REQ(:path)% %REQ(:authority)%'
          x-06-protocol: '%PROTOCOL%'
          x-07-remote: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'
          x-08-percent: '100%%'
          x-09-mixed: 'a=%REQ(x-a)%; b=%REQ(x-b)%.'
          x-10-route: '%ROUTE_NAME%'
          x-11-twice: '%REQ(x-twice)%'
          x-13-direct: '%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%'
      response:
        set:
          x-01-code: '%RESPONSE_CODE%'
          x-02-request: '%REQ(x-a)%'
          x-03-response: '%RESP(x-from)%'
          x-04-upstream: '%UPSTREAM_CLUSTER%'
          x-05-flags: '%RESPONSE_FLAGS%'
          x-06-missing: '%RESP(x-none)%'
    name: named
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: own}
spec:
  hosts: [own.example.com]
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /missing}}]
    headers: {request: {set: {x-q: q}}, response: {set: {x-set: 'yes', x-code: '%RESPONSE_CODE%'}, remove: [server]}}
    route:
    - destination: {host: missing, port: {number: 8000}}
      headers: {response: {set: {x-destination: 'yes'}}}
  - match: [{uri: {prefix: /empty}}]
    headers: {response: {set: {x-set: 'yes', x-code: '%RESPONSE_CODE%'}, remove: [content-type]}}
    route:
    - destination: {host: empty}
      headers: {response: {set: {x-destination: 'yes'}}}
  - match: [{uri: {prefix: /refusing}}]
    headers: {response: {set: {x-set: 'yes', x-code: '%RESPONSE_CODE%'}}}
    route:
    - destination: {host: refusing}
      headers: {response: {set: {x-destination: 'yes'}}}
",
        service!("origin"),
        service!("empty"),
        service!("refusing"),
        workload!("origin", "@0"),
        workload!("refusing", "@refusing")
    ),
    1,
);

/// A response with the headers that the rules are about.
const MARKED: Reply = Reply::Bytes(
    b"HTTP/1.1 200 OK\r\nX-Set: old\r\nX-Set: older\r\nX-Add: first\r\nX-Remove: 1\r\nx-remove-two: 2\r\nX-H: old\r\nX-Gone: 1\r\n\
      ETag: abc\r\nServer: origin\r\nX-From: origin\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nok",
);

const FOR_THIS_HOP: Reply =
    Reply::Bytes(b"HTTP/1.1 200 OK\r\nConnection: x-from\r\nX-From: origin\r\nContent-Length: 2\r\n\r\nok");

const ONE_RULE: &str = "decisions.md: the destination wins, always";

const DESTINATION_WINS: &[Stated] = &[
    Stated { place: "client.0.header.x-set", ringway: "destination", why: ONE_RULE },
    Stated { place: "origin.0.header.x-set", ringway: "destination", why: ONE_RULE },
];

/// What the origin keeps to this hop; nothing else of it is seen either.
const KEPT_TO_THE_HOP: &[Stated] = &[
    Stated { place: "client.0.header.x-03-response", ringway: "<absent>", why: KEPT },
    Stated { place: "client.0.header.x-from", ringway: "<absent>", why: KEPT },
];

const KEPT: &str = "RFC 9110, 7.6.1 binds answers too; no other proxy does it";

const STILL_TIMED: &[Stated] = &[Stated {
    place: "log.0.service_time",
    ringway: "<ms>",
    why: "the log says how long the upstream took, whatever the client is told",
}];

#[rustfmt::skip] // one request a line
const OPERATIONS: &[Case] = &[
    ask!("GET" "/request" "headers.example.com" [] => VIA).origin(MARKED),
    ask!("GET" "/request" "headers.example.com" ["X-Set: old", "X-Set: older", "X-Add: first", "X-Remove: 1", "x-remove-two: 2", "X-H: old", "X-Gone: 1"] => VIA).origin(MARKED),
    ask!("GET" "/response" "headers.example.com" [] => VIA).origin(MARKED),
    ask!("GET" "/response" "headers.example.com" ["X-Set: old", "X-Set: older", "X-Add: first", "X-Remove: 1", "x-remove-two: 2", "X-H: old", "X-Gone: 1"] => VIA).origin(MARKED),
    ask!("GET" "/all-of-one" "headers.example.com" [] => VIA).origin(MARKED),
    ask!("GET" "/all-of-one" "headers.example.com" ["X-Set: old", "X-Set: older", "X-Add: first", "X-Remove: 1", "x-remove-two: 2", "X-H: old", "X-Gone: 1"] => VIA).origin(MARKED),
    ask!("GET" "/remove-and-add" "headers.example.com" [] => VIA).origin(MARKED),
    ask!("GET" "/remove-and-add" "headers.example.com" ["X-Set: old", "X-Set: older", "X-Add: first", "X-Remove: 1", "x-remove-two: 2", "X-H: old", "X-Gone: 1"] => VIA).origin(MARKED),
    ask!("GET" "/empty" "headers.example.com" [] => VIA).origin(MARKED),
    ask!("GET" "/empty" "headers.example.com" ["X-Set: old", "X-Set: older", "X-Add: first", "X-Remove: 1", "x-remove-two: 2", "X-H: old", "X-Gone: 1"] => VIA).origin(MARKED),
    ask!("GET" "/destination" "headers.example.com" [] => VIA).origin(MARKED),
    ask!("GET" "/destination" "headers.example.com" ["X-Set: old", "X-Set: older", "X-Add: first", "X-Remove: 1", "x-remove-two: 2", "X-H: old", "X-Gone: 1"] => VIA).origin(MARKED),
    ask!("GET" "/removed-by-rule" "headers.example.com" [] => VIA).origin(MARKED),
    ask!("GET" "/removed-by-rule" "headers.example.com" ["X-Set: old", "X-Set: older", "X-Add: first", "X-Remove: 1", "x-remove-two: 2", "X-H: old", "X-Gone: 1"] => VIA).origin(MARKED),
    ask!("GET" "/removed-by-destination" "headers.example.com" [] => VIA).origin(MARKED),
    ask!("GET" "/removed-by-destination" "headers.example.com" ["X-Set: old", "X-Set: older", "X-Add: first", "X-Remove: 1", "x-remove-two: 2", "X-H: old", "X-Gone: 1"] => VIA).origin(MARKED),
    ask!("GET" "/weighted" "headers.example.com" [] => VIA).origin(MARKED),
    ask!("GET" "/weighted" "headers.example.com" ["X-Set: old", "X-Set: older", "X-Add: first", "X-Remove: 1", "x-remove-two: 2", "X-H: old", "X-Gone: 1"] => VIA).origin(MARKED),
    ask!("GET" "/both-weighted" "headers.example.com" [] => VIA).origin(MARKED).but(DESTINATION_WINS),
    ask!("GET" "/both-weighted" "headers.example.com" ["X-Set: old", "X-Set: older", "X-Add: first", "X-Remove: 1", "x-remove-two: 2", "X-H: old", "X-Gone: 1"] => VIA).origin(MARKED).but(DESTINATION_WINS),
    ask!("GET" "/response" "headers.example.com" [] => VIA),
    ask!("HEAD" "/response" "headers.example.com" [] => VIA).origin(MARKED),
    ask!("GET" "/lists" "headers.example.com" [] => VIA).origin(MARKED),
    ask!("GET" "/lists" "headers.example.com" ["X-Forwarded-For: 9.9.9.9", "X-Plain: first", "x-forwarded-for: 8.8.8.8, 7.7.7.7", "X-Forwarded-Proto: gopher"] => VIA).origin(MARKED),
    ask!("GET" "/new-list" "headers.example.com" ["X-Forwarded-For: 9.9.9.9"] => VIA).origin(MARKED),
    ask!("GET" "/known" "headers.example.com" ["User-Agent: curl", "Accept: */*", "X-Request-Id: theirs", "X-Forwarded-For: 9.9.9.9"] => VIA).origin(MARKED).but(STILL_TIMED),
];

#[rustfmt::skip] // one request a line
const OPERATORS: &[Case] = &[
    ask!("GET" "/x?y" "operators.example.com" ["X-A: value", "X-B: other"] => &["200 - via_upstream named"]).origin(MARKED),
    ask!("GET" "/x" "operators.example.com" [] => &["200 - via_upstream named"]).origin(MARKED),
    ask!("GET" "/x" "operators.example.com" ["X-Twice: 1", "X-Twice: 2", "X-A:"] => &["200 - via_upstream named"]),
    ask!("GET" "/x" "operators.example.com" ["X-A: 1", "X-B: 2", "Connection: x-a"] => &["200 - via_upstream named"]).origin(FOR_THIS_HOP).but(KEPT_TO_THE_HOP),
];

/// Where the proxy itself answers, the rule's response operations apply.
#[rustfmt::skip] // one request a line
const OWN: &[Case] = &[
    ask!("GET" "/missing" "own.example.com" [] => &["503 NC cluster_not_found -"]),
    ask!("GET" "/empty" "own.example.com" [] => &["503 UH no_healthy_upstream -"]),
    ask!("HEAD" "/empty" "own.example.com" [] => &["503 UH no_healthy_upstream -"]),
    ask!("GET" "/refusing" "own.example.com" [] => UF),
    ask!("GET" "/none" "own.example.com" [] => NR),
];

const NR: &[&str] = &["404 NR route_not_found"];

const UF: &[&str] = &[
    "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
];

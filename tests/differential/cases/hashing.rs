//! `consistentHash`: both proxies send each key to the same endpoint, so that one can take the other's place.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::bench::{Proxy, World, at_each};
use crate::support::client::{Client, Response};

/// A host for each way of hashing, with a Service of the same name.
const WORLD: World = World::gateway(
    r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: header}
spec:
  hosts: [header.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: header}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: header}
spec:
  host: header
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: X-User}}}
---
apiVersion: v1
kind: Service
metadata: {name: header}
spec:
  selector: {app: header}
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: header-0}
spec:
  address: 127.0.0.1
  ports: {http: @0}
  labels: {app: header}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: header-1}
spec:
  address: 127.0.0.1
  ports: {http: @1}
  labels: {app: header}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: header-2}
spec:
  address: 127.0.0.1
  ports: {http: @2}
  labels: {app: header}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: query}
spec:
  hosts: [query.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: query}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: query}
spec:
  host: query
  trafficPolicy: {loadBalancer: {consistentHash: {httpQueryParameterName: user}}}
---
apiVersion: v1
kind: Service
metadata: {name: query}
spec:
  selector: {app: query}
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: query-0}
spec:
  address: 127.0.0.1
  ports: {http: @0}
  labels: {app: query}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: query-1}
spec:
  address: 127.0.0.1
  ports: {http: @1}
  labels: {app: query}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: query-2}
spec:
  address: 127.0.0.1
  ports: {http: @2}
  labels: {app: query}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cookie}
spec:
  hosts: [cookie.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: cookie}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cookie}
spec:
  host: cookie
  trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: user, ttl: 0s}}}}
---
apiVersion: v1
kind: Service
metadata: {name: cookie}
spec:
  selector: {app: cookie}
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cookie-0}
spec:
  address: 127.0.0.1
  ports: {http: @0}
  labels: {app: cookie}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cookie-1}
spec:
  address: 127.0.0.1
  ports: {http: @1}
  labels: {app: cookie}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cookie-2}
spec:
  address: 127.0.0.1
  ports: {http: @2}
  labels: {app: cookie}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: source}
spec:
  hosts: [source.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: source}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: source}
spec:
  host: source
  trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}
---
apiVersion: v1
kind: Service
metadata: {name: source}
spec:
  selector: {app: source}
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: source-0}
spec:
  address: 127.0.0.1
  ports: {http: @0}
  labels: {app: source}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: source-1}
spec:
  address: 127.0.0.1
  ports: {http: @1}
  labels: {app: source}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: source-2}
spec:
  address: 127.0.0.1
  ports: {http: @2}
  labels: {app: source}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: one}
spec:
  hosts: [one.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: one}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: one}
spec:
  host: one
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: X-User}}}
---
apiVersion: v1
kind: Service
metadata: {name: one}
spec:
  selector: {app: one}
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: one-0}
spec:
  address: 127.0.0.1
  ports: {http: @0}
  labels: {app: one}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: two}
spec:
  hosts: [two.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: two}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: two}
spec:
  host: two
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: X-User}}}
---
apiVersion: v1
kind: Service
metadata: {name: two}
spec:
  selector: {app: two}
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: two-0}
spec:
  address: 127.0.0.1
  ports: {http: @0}
  labels: {app: two}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: two-1}
spec:
  address: 127.0.0.1
  ports: {http: @1}
  labels: {app: two}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: seven}
spec:
  hosts: [seven.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: seven}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: seven}
spec:
  host: seven
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: X-User}}}
---
apiVersion: v1
kind: Service
metadata: {name: seven}
spec:
  selector: {app: seven}
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: seven-0}
spec:
  address: 127.0.0.1
  ports: {http: @0}
  labels: {app: seven}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: seven-1}
spec:
  address: 127.0.0.1
  ports: {http: @1}
  labels: {app: seven}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: seven-2}
spec:
  address: 127.0.0.1
  ports: {http: @2}
  labels: {app: seven}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: seven-3}
spec:
  address: 127.0.0.1
  ports: {http: @3}
  labels: {app: seven}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: seven-4}
spec:
  address: 127.0.0.1
  ports: {http: @4}
  labels: {app: seven}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: seven-5}
spec:
  address: 127.0.0.1
  ports: {http: @5}
  labels: {app: seven}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: seven-6}
spec:
  address: 127.0.0.1
  ports: {http: @6}
  labels: {app: seven}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: small}
spec:
  hosts: [small.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: small}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: small}
spec:
  host: small
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: X-User, ringHash: {minimumRingSize: 5}}}}
---
apiVersion: v1
kind: Service
metadata: {name: small}
spec:
  selector: {app: small}
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: small-0}
spec:
  address: 127.0.0.1
  ports: {http: @0}
  labels: {app: small}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: small-1}
spec:
  address: 127.0.0.1
  ports: {http: @1}
  labels: {app: small}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: small-2}
spec:
  address: 127.0.0.1
  ports: {http: @2}
  labels: {app: small}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: large}
spec:
  hosts: [large.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: large}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: large}
spec:
  host: large
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: X-User, ringHash: {minimumRingSize: 5000}}}}
---
apiVersion: v1
kind: Service
metadata: {name: large}
spec:
  selector: {app: large}
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: large-0}
spec:
  address: 127.0.0.1
  ports: {http: @0}
  labels: {app: large}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: large-1}
spec:
  address: 127.0.0.1
  ports: {http: @1}
  labels: {app: large}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: large-2}
spec:
  address: 127.0.0.1
  ports: {http: @2}
  labels: {app: large}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: large-3}
spec:
  address: 127.0.0.1
  ports: {http: @3}
  labels: {app: large}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: large-4}
spec:
  address: 127.0.0.1
  ports: {http: @4}
  labels: {app: large}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: large-5}
spec:
  address: 127.0.0.1
  ports: {http: @5}
  labels: {app: large}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: large-6}
spec:
  address: 127.0.0.1
  ports: {http: @6}
  labels: {app: large}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: old}
spec:
  hosts: [old.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: old}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: old}
spec:
  host: old
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: X-User, minimumRingSize: 64}}}
---
apiVersion: v1
kind: Service
metadata: {name: old}
spec:
  selector: {app: old}
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: old-0}
spec:
  address: 127.0.0.1
  ports: {http: @0}
  labels: {app: old}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: old-1}
spec:
  address: 127.0.0.1
  ports: {http: @1}
  labels: {app: old}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: old-2}
spec:
  address: 127.0.0.1
  ports: {http: @2}
  labels: {app: old}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: old-3}
spec:
  address: 127.0.0.1
  ports: {http: @3}
  labels: {app: old}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: old-4}
spec:
  address: 127.0.0.1
  ports: {http: @4}
  labels: {app: old}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: old-5}
spec:
  address: 127.0.0.1
  ports: {http: @5}
  labels: {app: old}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: old-6}
spec:
  address: 127.0.0.1
  ports: {http: @6}
  labels: {app: old}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: weighted}
spec:
  hosts: [weighted.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: weighted}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: weighted}
spec:
  host: weighted
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: X-User}}}
---
apiVersion: v1
kind: Service
metadata: {name: weighted}
spec:
  selector: {app: weighted}
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: weighted-0}
spec:
  address: 127.0.0.1
  ports: {http: @0}
  labels: {app: weighted}
  weight: 1
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: weighted-1}
spec:
  address: 127.0.0.1
  ports: {http: @1}
  labels: {app: weighted}
  weight: 2
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: weighted-2}
spec:
  address: 127.0.0.1
  ports: {http: @2}
  labels: {app: weighted}
  weight: 5
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: maglev}
spec:
  hosts: [maglev.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: maglev}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: maglev}
spec:
  host: maglev
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: X-User, maglev: {}}}}
---
apiVersion: v1
kind: Service
metadata: {name: maglev}
spec:
  selector: {app: maglev}
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: maglev-0}
spec:
  address: 127.0.0.1
  ports: {http: @0}
  labels: {app: maglev}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: maglev-1}
spec:
  address: 127.0.0.1
  ports: {http: @1}
  labels: {app: maglev}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: maglev-2}
spec:
  address: 127.0.0.1
  ports: {http: @2}
  labels: {app: maglev}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: maglev-3}
spec:
  address: 127.0.0.1
  ports: {http: @3}
  labels: {app: maglev}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: maglev-4}
spec:
  address: 127.0.0.1
  ports: {http: @4}
  labels: {app: maglev}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: maglev-5}
spec:
  address: 127.0.0.1
  ports: {http: @5}
  labels: {app: maglev}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: maglev-6}
spec:
  address: 127.0.0.1
  ports: {http: @6}
  labels: {app: maglev}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: maglev-small}
spec:
  hosts: [maglev-small.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: maglev-small}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: maglev-small}
spec:
  host: maglev-small
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: X-User, maglev: {tableSize: 101}}}}
---
apiVersion: v1
kind: Service
metadata: {name: maglev-small}
spec:
  selector: {app: maglev-small}
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: maglev-small-0}
spec:
  address: 127.0.0.1
  ports: {http: @0}
  labels: {app: maglev-small}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: maglev-small-1}
spec:
  address: 127.0.0.1
  ports: {http: @1}
  labels: {app: maglev-small}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: maglev-small-2}
spec:
  address: 127.0.0.1
  ports: {http: @2}
  labels: {app: maglev-small}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: maglev-small-3}
spec:
  address: 127.0.0.1
  ports: {http: @3}
  labels: {app: maglev-small}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: maglev-small-4}
spec:
  address: 127.0.0.1
  ports: {http: @4}
  labels: {app: maglev-small}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: maglev-small-5}
spec:
  address: 127.0.0.1
  ports: {http: @5}
  labels: {app: maglev-small}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: maglev-small-6}
spec:
  address: 127.0.0.1
  ports: {http: @6}
  labels: {app: maglev-small}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: maglev-weighted}
spec:
  hosts: [maglev-weighted.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: maglev-weighted}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: maglev-weighted}
spec:
  host: maglev-weighted
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: X-User, maglev: {tableSize: 1009}}}}
---
apiVersion: v1
kind: Service
metadata: {name: maglev-weighted}
spec:
  selector: {app: maglev-weighted}
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: maglev-weighted-0}
spec:
  address: 127.0.0.1
  ports: {http: @0}
  labels: {app: maglev-weighted}
  weight: 1
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: maglev-weighted-1}
spec:
  address: 127.0.0.1
  ports: {http: @1}
  labels: {app: maglev-weighted}
  weight: 2
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: maglev-weighted-2}
spec:
  address: 127.0.0.1
  ports: {http: @2}
  labels: {app: maglev-weighted}
  weight: 5
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: session}
spec:
  hosts: [session.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: session}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: session}
spec:
  host: session
  trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: session, path: /p, ttl: 60s}}}}
---
apiVersion: v1
kind: Service
metadata: {name: session}
spec:
  selector: {app: session}
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: session-0}
spec:
  address: 127.0.0.1
  ports: {http: @0}
  labels: {app: session}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: session-1}
spec:
  address: 127.0.0.1
  ports: {http: @1}
  labels: {app: session}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: session-2}
spec:
  address: 127.0.0.1
  ports: {http: @2}
  labels: {app: session}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: never}
spec:
  hosts: [never.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: never}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: never}
spec:
  host: never
  trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: never}}}}
---
apiVersion: v1
kind: Service
metadata: {name: never}
spec:
  selector: {app: never}
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: never-0}
spec:
  address: 127.0.0.1
  ports: {http: @0}
  labels: {app: never}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: never-1}
spec:
  address: 127.0.0.1
  ports: {http: @1}
  labels: {app: never}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: never-2}
spec:
  address: 127.0.0.1
  ports: {http: @2}
  labels: {app: never}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: subset}
spec:
  hosts: [subset.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: subset, subset: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: subset}
spec:
  host: subset
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
  subsets:
  - name: v1
    labels: {version: v1}
    trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: X-User}}}
---
apiVersion: v1
kind: Service
metadata: {name: subset}
spec:
  selector: {app: subset}
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: subset-0}
spec:
  address: 127.0.0.1
  ports: {http: @0}
  labels: {app: subset, version: v1}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: subset-1}
spec:
  address: 127.0.0.1
  ports: {http: @1}
  labels: {app: subset, version: v1}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: subset-2}
spec:
  address: 127.0.0.1
  ports: {http: @2}
  labels: {app: subset, version: v1}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: subset-3}
spec:
  address: 127.0.0.1
  ports: {http: @3}
  labels: {app: subset, version: v1}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: subset-4}
spec:
  address: 127.0.0.1
  ports: {http: @4}
  labels: {app: subset, version: v2}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: subset-5}
spec:
  address: 127.0.0.1
  ports: {http: @5}
  labels: {app: subset, version: v2}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: subset-6}
spec:
  address: 127.0.0.1
  ports: {http: @6}
  labels: {app: subset, version: v2}
",
    7,
);

/// Words of many lengths, some of them alike.
fn keys() -> Vec<String> {
    (0..150)
        .map(|number: usize| match number % 4 {
            0 => format!("user-{number}"),
            1 => format!("{number}"),
            2 => "k".repeat(number),
            _ => format!("00000000-0000-4000-8000-{number:012x}"),
        })
        .collect()
}

/// The origin that answered.
#[track_caller]
fn origin(response: &Response) -> String {
    assert_eq!(response.status, 200, "{response:?}");
    response.header("x-origin").unwrap_or_else(|| panic!("no origin in {response:?}")).to_owned()
}

/// Asks each request of `requests` at each proxy, and asserts that each was answered by the same origin as at Envoy.
/// More than one origin must take part, but where a host has only one.
fn same_endpoints(host: &str, requests: &[String], endpoints: usize) {
    let mut envoy: Option<Vec<String>> = None;
    at_each(WORLD, |proxy| {
        let mut client = Client::connect(proxy.address());
        let answered: Vec<String> = requests.iter().map(|request| origin(&client.ask(request))).collect();
        match &envoy {
            None => {
                let mut distinct = answered.clone();
                distinct.sort();
                distinct.dedup();
                assert_eq!(distinct.len(), endpoints, "{host}: the keys are too much alike: {distinct:?}");
                envoy = Some(answered);
            }
            Some(envoy) => {
                for ((request, envoy), ringway) in requests.iter().zip(envoy).zip(&answered) {
                    assert_eq!(ringway, envoy, "{host} at {}: {request}", proxy.name());
                }
            }
        }
    });
}

/// Requests with each of the keys in this place.
fn requests(host: &str, of_key: impl Fn(&str) -> (String, String)) -> Vec<String> {
    let request = |key: &String| {
        let (target, header) = of_key(key);
        format!("GET {target} HTTP/1.1\r\nHost: {host}.example.com\r\n{header}\r\n")
    };
    keys().iter().map(request).collect()
}

fn by_header(host: &str, endpoints: usize) {
    let requests = requests(host, |key| ("/x".to_owned(), format!("X-User: {key}\r\n")));
    same_endpoints(host, &requests, endpoints);
}

#[test]
fn by_a_header() {
    by_header("header", 3);
    by_header("subset", 4);
}

#[test]
fn by_a_header_on_several_lines() {
    let requests =
        requests("header", |key| ("/x".to_owned(), format!("X-User: {key}\r\nX-User: a{key}\r\nx-user: \r\n")));
    same_endpoints("header", &requests, 3);
}

#[test]
fn by_a_query_parameter() {
    let requests = requests("query", |key| (format!("/x?a=b&user={key}&user=other"), String::new()));
    same_endpoints("query", &requests, 3);
}

#[test]
fn by_a_cookie() {
    let plain = requests("cookie", |key| ("/x".to_owned(), format!("Cookie: a=b; user={key}\r\n")));
    same_endpoints("cookie", &plain, 3);
    let quoted =
        requests("cookie", |key| ("/x".to_owned(), format!("Cookie: xuser=1\r\nCookie: user=\"{key}\"; user=2\r\n")));
    same_endpoints("cookie", &quoted, 3);
}

#[test]
fn rings_of_other_sizes() {
    for (host, endpoints) in [("one", 1), ("two", 2), ("seven", 7), ("small", 3), ("large", 7), ("old", 7)] {
        by_header(host, endpoints);
    }
}

#[test]
fn weights_on_a_ring() {
    by_header("weighted", 3);
}

#[test]
fn maglev() {
    for (host, endpoints) in [("maglev", 7), ("maglev-small", 7), ("maglev-weighted", 3)] {
        by_header(host, endpoints);
    }
}

/// A client on one of the machine's loopback addresses.
fn client_at(address: SocketAddr, last: u8) -> Client {
    let local = SocketAddr::from((IpAddr::from(Ipv4Addr::new(127, 0, 1, last)), 0));
    Client::from_address(local, address)
}

#[test]
fn by_the_source() {
    let mut envoy: Option<Vec<String>> = None;
    at_each(WORLD, |proxy| {
        let ask =
            |last| origin(&client_at(proxy.address(), last).ask("GET /x HTTP/1.1\r\nHost: source.example.com\r\n\r\n"));
        let answered: Vec<String> = (1..100).map(ask).collect();
        match &envoy {
            None => envoy = Some(answered),
            Some(envoy) => assert_eq!(&answered, envoy, "{}", proxy.name()),
        }
    });
}

/// Without a key, any endpoint: over many requests all of them.
#[test]
fn without_a_key() {
    at_each(WORLD, |proxy| {
        for host in ["header", "query", "never"] {
            let mut client = Client::connect(proxy.address());
            let request = format!("GET /x HTTP/1.1\r\nHost: {host}.example.com\r\n\r\n");
            let mut met: Vec<String> = (0..100).map(|_| origin(&client.ask(&request))).collect();
            met.sort();
            met.dedup();
            // (2/3)^100 is the chance that one of three stays unmet: not in the life of this test.
            assert_eq!(met, ["@0", "@1", "@2"], "{host} at {}", proxy.name());
        }
    });
}

/// The parts of `set-cookie`: the value, and the rest.
fn cookie(response: &Response) -> Option<(String, String)> {
    let line = response.header("set-cookie")?;
    let (name_and_value, rest) = line.split_once(';').unwrap_or((line, ""));
    let (name, value) = name_and_value.split_once('=').unwrap_or_else(|| panic!("a cookie in {line}"));
    let value = value.trim_matches('"');
    assert!(value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "16 hex digits in {line}");
    Some((value.to_owned(), format!("{name}={}{rest}", if line.contains('"') { "\"…\";" } else { "…;" })))
}

/// Who has no cookie is given one, and stays at the endpoint that it was given with. A rule without a ttl gives none.
#[test]
fn a_cookie_is_given() {
    let mut envoy: Option<Vec<Option<String>>> = None;
    at_each(WORLD, |proxy: &dyn Proxy| {
        let forms = ["session", "cookie", "never"].map(|host| {
            let request = |cookie: &str| format!("GET /p/x HTTP/1.1\r\nHost: {host}.example.com\r\n{cookie}\r\n");
            let mut client = Client::connect(proxy.address());
            let first = client.ask(request(""));
            let (value, form) = cookie(&first)?;
            // Given again on the same connection: Envoy makes it of the connection's addresses.
            let again = client.ask(request(""));
            assert_eq!(cookie(&again).map(|(value, _)| value).as_ref(), Some(&value), "{host} at {}", proxy.name());
            assert_eq!(origin(&again), origin(&first));
            let name = form.split('=').next().unwrap_or_default();
            for _ in 0..20 {
                let response = Client::connect(proxy.address()).ask(request(&format!("Cookie: {name}={value}\r\n")));
                assert_eq!(origin(&response), origin(&first), "{host} at {}", proxy.name());
                assert_eq!(cookie(&response), None, "who has one is given none");
            }
            Some(form)
        });
        match &envoy {
            None => envoy = Some(forms.to_vec()),
            Some(envoy) => assert_eq!(&forms[..], envoy, "{}", proxy.name()),
        }
    });
}

//! Listeners of a Sidecar: what each sees, where it is, and what it leads to.

use super::*;
use crate::plan::{Action, Detected, Listener, ListenerKind, Undeclared};

/// Three services in two namespaces, of which `db` has a TCP port, and a VirtualService for a host that is none.
const SERVICES: &str = "
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: one}
spec: {hosts: [one.example.com], ports: [{number: 9080, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 10.0.0.1}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: two, namespace: far}
spec: {hosts: [two.example.com], ports: [{number: 9080, name: http, protocol: HTTP}, {number: 80, name: web, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 10.0.0.2}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec: {hosts: [db.example.com], addresses: [10.9.9.9], ports: [{number: 5432, name: tcp, protocol: TCP}], resolution: STATIC, endpoints: [{address: 10.0.0.3}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: alias}
spec: {hosts: [alias.example.com], http: [{name: alias, route: [{destination: {host: one.example.com}}]}]}
";

fn sidecar(spec: &str) -> String {
    format!("---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: s}}\nspec: {{{spec}}}\n")
}

fn proxy(spec: &str) -> String {
    format!(
        "---\napiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {{name: p}}\nspec: {{{spec}meshConfig: {{outboundTrafficPolicy: \
         {{mode: REGISTRY_ONLY}}, accessLogFile: /dev/null}}}}\n"
    )
}

const MESH: &str = "mesh: {listen: '127.0.0.1:15001'}, ";

fn of(plan: &Plan, kind: ListenerKind) -> (ListenerId, &Listener) {
    let at = plan.listeners.iter().position(|listener| listener.kind == kind);
    let at = at.unwrap_or_else(|| panic!("no listener for {kind}"));
    (ListenerId(at as u32), &plan.listeners[at])
}

/// The name of the route that a request to this authority takes at a listener, with the cluster.
fn to(plan: &Plan, kind: ListenerKind, authority: &str) -> String {
    let sample = Sample::get(authority, "/", &[]);
    match plan.route(of(plan, kind).0, &sample.request(), &mut Rng::seeded(1)) {
        Decision::NotFound => "404".to_owned(),
        Decision::Direct { route, direct } => format!("{} {}", route.name, direct.status),
        Decision::Forward { route, destination, .. } => match &destination.target {
            Target::Known(id) => format!("{} {}", route.name, plan.cluster(*id).expect("a cluster of the plan").name),
            Target::Missing(name) => format!("{} NC {name}", route.name),
        },
        other => panic!("{other:?} was not asked for"),
    }
}

fn kinds(plan: &Plan) -> Vec<(ListenerKind, String)> {
    plan.listeners.iter().map(|listener| (listener.kind, listener.bind.to_string())).collect()
}

#[test]
fn a_bound_listener_routes_as_for_its_port_and_sees_its_hosts_only() {
    let egress = "egress: [{port: {number: 9080, protocol: HTTP}, hosts: ['./*']}]";
    let plan = plan(&(SERVICES.to_owned() + &sidecar(egress) + &proxy("")));
    let egress = ListenerKind::Egress(9080);
    assert_eq!(kinds(&plan), [(egress, "127.0.0.1:9080".to_owned())]);
    let listener = of(&plan, egress).1;
    assert_eq!((listener.name.as_str(), listener.stat_prefix.as_str()), ("127.0.0.1_9080", "outbound_127.0.0.1_9080"));
    // The port that the client writes does not count.
    for authority in ["one.example.com", "one.example.com:9080", "one.example.com:1"] {
        assert_eq!(to(&plan, egress, authority), "default outbound|9080||one.example.com", "{authority}");
    }
    assert_eq!(to(&plan, egress, "alias.example.com"), "alias outbound|9080||one.example.com");
    for hidden in ["two.example.com", "db.example.com", "nobody.example.com"] {
        assert_eq!(to(&plan, egress, hidden), "block_all 502", "{hidden}");
    }
}

#[test]
fn capture_modes_say_what_is_bound() {
    let with = |proxy_spec: &str, fields: &str| {
        let egress = format!("egress: [{{port: {{number: 9080, protocol: HTTP}}, {fields}hosts: ['*/*']}}]");
        kinds(&plan(&(SERVICES.to_owned() + &sidecar(&egress) + &proxy(proxy_spec))))
    };
    let mesh = || (ListenerKind::Mesh, "127.0.0.1:15001".to_owned());
    let at = |ip: &str| (ListenerKind::Egress(9080), format!("{ip}:9080"));
    assert_eq!(with("", ""), [at("127.0.0.1")]);
    assert_eq!(with("", "captureMode: DEFAULT, bind: 127.0.0.2, "), [at("127.0.0.2")]);
    assert_eq!(with("", "captureMode: NONE, bind: '::1', "), [at("[::1]")]);
    assert_eq!(with(MESH, "captureMode: NONE, "), [at("127.0.0.1"), mesh()]);
    assert_eq!(with(MESH, "captureMode: NONE, bind: 0.0.0.0, "), [at("0.0.0.0"), mesh()]);
    assert_eq!(with(MESH, ""), [mesh()]);
    assert_eq!(with(MESH, "bind: 0.0.0.0, "), [mesh()]);
    assert_eq!(with(MESH, "captureMode: IPTABLES, "), [mesh()]);
}

#[test]
fn a_listener_of_a_port_says_what_the_mesh_sees_there() {
    let both = "egress: [{port: {number: 9080, protocol: HTTP}, hosts: ['./*']}, {hosts: ['far/*']}]";
    let both = plan(&(SERVICES.to_owned() + &sidecar(both) + &proxy(MESH)));
    let mesh = |plan: &Plan, authority: &str| to(plan, ListenerKind::Mesh, authority);
    assert_eq!(mesh(&both, "one.example.com:9080"), "default outbound|9080||one.example.com");
    assert_eq!(mesh(&both, "two.example.com:9080"), "block_all 502");
    assert_eq!(mesh(&both, "two.example.com"), "default outbound|80||two.example.com");
    // The VirtualService is seen on that port alone.
    assert_eq!(mesh(&both, "alias.example.com:9080"), "alias outbound|9080||one.example.com");
    assert_eq!(mesh(&both, "alias.example.com"), "block_all 502");
    assert_eq!(mesh(&both, "one.example.com"), "block_all 502");
    let tables: Vec<_> = both.listeners[0].route_tables().map(|table| (table.port, table.is_whole)).collect();
    assert_eq!(tables, [(Some(80), false), (Some(9080), true), (None, false)]);
    let wide = "egress: [{port: {number: 80, protocol: HTTP}, hosts: ['./*']}, {hosts: ['*/*']}]";
    let wide = plan(&(SERVICES.to_owned() + &sidecar(wide) + &proxy(MESH)));
    assert_eq!(mesh(&wide, "two.example.com"), "block_all 502");
    assert_eq!(mesh(&wide, "two.example.com:9080"), "default outbound|9080||two.example.com");
    assert_eq!(mesh(&wide, "alias.example.com:77"), "alias outbound|9080||one.example.com");
    // Without one for the others nothing else is seen.
    let alone = "egress: [{port: {number: 9080, protocol: HTTP}, hosts: ['*/*']}]";
    let alone = plan(&(SERVICES.to_owned() + &sidecar(alone) + &proxy(MESH)));
    assert_eq!(mesh(&alone, "two.example.com:9080"), "default outbound|9080||two.example.com");
    assert_eq!(mesh(&alone, "two.example.com"), "block_all 502");
    assert_eq!(mesh(&alone, "alias.example.com"), "block_all 502");
}

/// What becomes of bytes that were sent to this address.
fn bytes(plan: &Plan, kind: ListenerKind, address: &str) -> String {
    let chains = &of(plan, kind).1.chains;
    let outbound = chains.destinations().expect("its chains go by destinations");
    let address = address.parse().expect("an address");
    let number = outbound.chain_without_detection(address).or_else(|| outbound.chain(address, &Detected::Bytes));
    let Some(number) = number else { return "Undeclared".to_owned() };
    let tcp = chains.get(number).expect("a chain").as_tcp();
    tcp.map_or_else(|| "HTTP".to_owned(), |(_, route)| route.name.to_string())
}

#[test]
fn bytes_follow_the_listeners_protocol() {
    let with = |proxy_spec: &str, protocol: &str, number: u16| {
        let egress = format!("egress: [{{port: {{number: {number}{protocol}}}, hosts: ['./*']}}, {{hosts: ['~/*']}}]");
        plan(&(SERVICES.to_owned() + &sidecar(&egress) + &proxy(proxy_spec)))
    };
    // On a bound listener no address tells the services apart.
    let bound = |protocol: &str, number| {
        let plan = with("", protocol, number);
        bytes(&plan, ListenerKind::Egress(number), &format!("127.0.0.1:{number}"))
    };
    assert_eq!(bound(", protocol: TCP", 5432), "outbound|5432||db.example.com");
    assert_eq!(bound("", 5432), "outbound|5432||db.example.com");
    assert_eq!(bound(", protocol: TCP", 9080), "outbound|9080||one.example.com");
    assert_eq!(bound(", protocol: HTTP", 9080), "HTTP");
    assert_eq!(bound("", 9080), "HTTP");
    // Redirected connections go by address first.
    let redirected = |protocol: &str, address: &str| {
        bytes(
            &with(MESH, protocol, address.rsplit_once(':').expect("a port").1.parse().expect("a number")),
            ListenerKind::Mesh,
            address,
        )
    };
    assert_eq!(redirected(", protocol: TCP", "10.9.9.9:5432"), "outbound|5432||db.example.com");
    assert_eq!(redirected(", protocol: TCP", "10.9.9.8:5432"), "Undeclared");
    assert_eq!(redirected(", protocol: TCP", "10.9.9.8:9080"), "outbound|9080||one.example.com");
    assert_eq!(redirected(", protocol: HTTP", "10.9.9.9:5432"), "HTTP");
}

#[test]
fn an_http_proxy_serves_every_port_of_its_hosts() {
    let egress = "egress: [{port: {number: 3128, protocol: HTTP_PROXY}, hosts: ['far/*']}, {hosts: ['./*']}]";
    let plan = plan(&(SERVICES.to_owned() + &sidecar(egress) + &proxy(MESH)));
    let proxy = ListenerKind::HttpProxy(3128);
    assert_eq!(kinds(&plan)[0], (proxy, "127.0.0.1:3128".to_owned()));
    assert_eq!(to(&plan, proxy, "two.example.com"), "default outbound|80||two.example.com");
    assert_eq!(to(&plan, proxy, "two.example.com:9080"), "default outbound|9080||two.example.com");
    assert_eq!(to(&plan, proxy, "one.example.com:9080"), "block_all 502");
    assert_eq!(to(&plan, ListenerKind::Mesh, "one.example.com:9080"), "default outbound|9080||one.example.com");
    assert_eq!(to(&plan, ListenerKind::Mesh, "two.example.com"), "block_all 502");
}

#[test]
fn an_ingress_listener_leads_to_the_workload() {
    let ingress = "ingress: [{port: {number: 8080, protocol: HTTP}, defaultEndpoint: '127.0.0.1:9000', connectionPool: {tcp: \
                   {maxConnections: 3}}}, {port: {number: 8081, protocol: TCP}, bind: 10.0.0.9, defaultEndpoint: \
                   '0.0.0.0:9001'}, {port: {number: 8082}, defaultEndpoint: '[::1]:9002'}, {port: {number: \
                   8083, protocol: HTTP}, defaultEndpoint: 'unix:///run/a'}], inboundConnectionPool: {tcp: {maxConnections: \
                   7}}";
    let plan = plan(&(sidecar(ingress) + &proxy("")));
    let ports = [8080, 8081, 8082, 8083].map(ListenerKind::Ingress);
    let at = ["0.0.0.0:8080", "10.0.0.9:8081", "0.0.0.0:8082", "0.0.0.0:8083"].map(str::to_owned);
    assert_eq!(kinds(&plan), ports.into_iter().zip(at).collect::<Vec<_>>());
    let listener = of(&plan, ports[0]).1;
    assert_eq!((listener.name.as_str(), listener.stat_prefix.as_str()), ("0.0.0.0_8080", "inbound_0.0.0.0_8080"));
    let host = &listener.route_tables().next().expect("a table").virtual_hosts[0];
    assert_eq!((&*host.name, &*host.domains[0]), ("inbound|http|8080", "*"));
    let Action::Forward(forward) = &host.routes()[0].action else { panic!("{:?}", host.routes()[0].action) };
    let retry = forward.retry.as_ref().expect("Istio's policy");
    assert!(retry.attempts == 2 && retry.on.reset_before_request && !retry.on.connect_failure);
    assert_eq!(to(&plan, ports[0], "any.example.com:77"), "default inbound|8080||");
    assert!(listener.chains.destinations().is_none() && listener.chains.is_http(None), "HTTP is all that comes");
    for (cluster, address, connections) in [
        ("inbound|8080||", "127.0.0.1:9000", 3),
        ("inbound|8081||", "10.0.0.9:9001", 7),
        ("inbound|8082||", "[::1]:9002", 7),
        ("inbound|8083||", "/run/a", 7),
    ] {
        assert_eq!(addresses(&plan, cluster), [(address.to_owned(), 1)]);
        let cluster = plan.clusters.iter().find(|found| found.name == cluster).expect("a cluster");
        assert_eq!(cluster.limits.connections, Some(connections));
    }
    assert_eq!(bytes(&plan, ports[1], "10.0.0.9:8081"), "inbound|8081||");
    assert_eq!(bytes(&plan, ports[2], "10.0.0.9:8082"), "inbound|8082||");
    assert_eq!(
        plan.tcp_stat_names().collect::<Vec<_>>(),
        ["inbound|8081||", "BlackHoleCluster", "inbound|8082||", "BlackHoleCluster"]
    );
    let of_routes = plan.listeners.iter().flat_map(|of| of.chains.tcp_routes()).map(|(_, route)| route.stats.index());
    assert_eq!(of_routes.collect::<Vec<_>>(), [0, 2], "each TCP proxy knows its own");
    let undeclared = plan.listeners.iter().filter_map(|of| Some(of.chains.destinations()?.undeclared.stats().index()));
    assert_eq!(undeclared.collect::<Vec<_>>(), [1, 3], "and so do connections to undeclared destinations");
}

/// What is said of a world, without the services that it needs.
fn problems(spec: &str, proxy_spec: &str) -> Vec<String> {
    let (_, problems) = compiled(&(sidecar(spec) + &proxy(proxy_spec) + SERVICES));
    problems.into_iter().filter(|problem| !problem.contains(": note: ")).collect()
}

#[test]
fn the_instances_own_address_is_bind_or_a_guess() {
    let instance = "ingress: [{port: {number: 8080, protocol: HTTP}, defaultEndpoint: '0.0.0.0:9000'}]";
    let plan = plan(&(sidecar(instance) + &proxy("bind: 10.0.0.7, ")));
    assert_eq!(addresses(&plan, "inbound|8080||"), [("10.0.0.7:9000".to_owned(), 1)]);
    assert_eq!(
        problems(instance, ""),
        ["t.yaml:5: Sidecar/default/s: spec.ingress[0].defaultEndpoint: warning: which address \
        is this instance's is not known, so 127.0.0.1 is taken (write it into spec.bind of the Proxy document)"]
    );
}

#[test]
fn places_that_are_taken() {
    let http = |number: u16, more: &str| format!("{{port: {{number: {number}, protocol: HTTP}}, {more}}}");
    let egress = |number: u16, bind: &str| http(number, &format!("captureMode: NONE, bind: {bind}, hosts: ['*/*']"));
    let ingress = |number: u16, bind: &str| http(number, &format!("bind: {bind}, defaultEndpoint: '127.0.0.1:9000'"));
    let said = |spec: &str, proxy_spec: &str| {
        let mut problems = problems(spec, proxy_spec);
        problems.retain(|problem| !problem.contains(": warning: "));
        problems
    };
    let one = said(&format!("egress: [{}], ingress: [{}]", egress(9080, "127.0.0.1"), ingress(9080, "127.0.0.1")), "");
    assert_eq!(
        one,
        [
            "t.yaml:5: Sidecar/default/s: spec.egress[0].port: error: 127.0.0.1:9080 is already taken by ingress port 9080 \
        of the Sidecar (write another port)"
        ]
    );
    let mesh = said(&format!("egress: [{}]", egress(15001, "127.0.0.1")), MESH);
    assert_eq!(
        mesh,
        [
            "t.yaml:10: Proxy/default/p: spec.mesh.listen: error: 127.0.0.1:15001 is already taken by egress port 15001 of \
        the Sidecar (write another port)"
        ]
    );
    let admin = said(&format!("ingress: [{}]", ingress(15000, "127.0.0.1")), "");
    assert_eq!(
        admin,
        [
            "t.yaml:10: Proxy/default/p: spec.admin: error: 127.0.0.1:15000 is already taken by ingress port 15000 of the \
        Sidecar, at 127.0.0.1:15000 (write another port, or \"off\")"
        ]
    );
    let gateway = sidecar(&format!("ingress: [{}]", ingress(80, "0.0.0.0"))) + &proxy("") + &gateway("g", 80, "['*']");
    let (plan, said) = compiled(&gateway);
    assert!(
        said[0].ends_with(
            "spec.ingress[0].port: error: 0.0.0.0:80 is already taken by Gateway port 80 (write another port)"
        ),
        "{said:#?}"
    );
    assert_eq!(plan.listeners.len(), 1);
    // The kernel tells addresses apart that overlap.
    let both = format!("egress: [{}], ingress: [{}]", egress(9080, "127.0.0.1"), ingress(9080, "0.0.0.0"));
    let plan = super::plan(&(SERVICES.to_owned() + &sidecar(&both) + &proxy("")));
    assert_eq!(plan.listeners.len(), 2);
}

#[test]
fn what_cannot_work_is_said() {
    let around = "ingress: [{port: {number: 9080, protocol: HTTP}, defaultEndpoint: '127.0.0.1:9080'}]";
    assert_eq!(
        problems(around, "")[..1],
        ["t.yaml:5: Sidecar/default/s: spec.ingress[0].defaultEndpoint: error: 127.0.0.1:9080 is where \
        this listener itself listens: connections would go round for ever (let the workload listen on another port, or write \
        another \"port\" or \"bind\")"]
    );
    let nothing = "egress: [{port: {number: 77, protocol: HTTP}, hosts: ['*/*']}]";
    assert_eq!(
        problems(nothing, ""),
        ["t.yaml:5: Sidecar/default/s: spec.egress[0].port: warning: none of the services that \
        it sees has port 77 (its port is a port of services; protocol HTTP_PROXY takes requests for any)"]
    );
    let many = "egress: [{port: {number: 9080, protocol: TCP}, hosts: ['*/*']}]";
    assert_eq!(
        problems(many, ""),
        ["t.yaml:5: Sidecar/default/s: spec.egress[0].hosts: warning: bytes on this port go to \
        outbound|9080||one.example.com: nothing tells apart which are for outbound|9080||two.example.com (name one service in \
        \"hosts\")"]
    );
    let pool = "inboundConnectionPool: {tcp: {maxConnections: 1}}";
    assert_eq!(
        problems(pool, MESH),
        ["t.yaml:5: Sidecar/default/s: spec.inboundConnectionPool: warning: there is no ingress \
        listener for which it would hold (add \"ingress\")"]
    );
    // A service at the very place of the listener that leads to it.
    let own = "egress: [{port: {number: 9080, protocol: HTTP}, bind: 10.0.0.1, hosts: ['./*']}]";
    let said = problems(own, "");
    assert!(
        said[0].contains("sends requests of egress port 9080 of the Sidecar to 10.0.0.1:9080, where it listens itself"),
        "{said:#?}"
    );
}

#[test]
fn an_egress_proxy_takes_what_nobody_declared() {
    let policy = "outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: one.example.com, port: {number: 9080}}}, egress: \
                  [{port: {number: 5432, protocol: TLS}, captureMode: NONE, hosts: ['*/*']}, {hosts: ['*/*']}]";
    let plan = plan(&(SERVICES.to_owned() + &sidecar(policy) + &proxy(MESH)));
    let (mesh, bound) = (ListenerKind::Mesh, ListenerKind::Egress(5432));
    for kind in [mesh, bound] {
        assert_eq!(to(&plan, kind, "nobody.example.com:1"), "allow_any outbound|9080||one.example.com");
        let outbound = of(&plan, kind).1.chains.destinations().expect("its chains go by destinations");
        let Undeclared::EgressProxy(proxy) = &outbound.undeclared else { panic!("{:?}", outbound.undeclared) };
        assert_eq!(&*proxy.name, "outbound|9080||one.example.com");
        assert_eq!(plan.tcp_stat_names().nth(proxy.stats.index()), Some("outbound|9080||one.example.com"));
    }
    assert_eq!(to(&plan, mesh, "two.example.com"), "default outbound|80||two.example.com");
    let undeclared =
        of(&plan, mesh).1.route_tables().last().expect("a table for every port").virtual_hosts.last().expect("a host");
    let Action::Forward(forward) = &undeclared.routes()[0].action else { panic!("it is not passed through") };
    assert!(forward.retry.is_none() && forward.timeout.is_none());
    assert_eq!(&*undeclared.routes()[0].origin.resource, "Sidecar/default/s");
}

//! Unix domain sockets as endpoints: what they may be, and of whom.

use super::{both, check, service, service_entry, workload_entry};

const PORT: &str = "ports: [{number: 80, name: http, protocol: HTTP}]";
const TWO_PORTS: &str =
    "ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: http-more, protocol: HTTP}]";

fn of_entry(rest: &str) -> String {
    service_entry(&format!("{{hosts: [a.com], {rest}}}"))
}

fn at(address: &str) -> String {
    of_entry(&format!(r#"resolution: STATIC, {PORT}, endpoints: [{{address: "unix://{address}"}}]"#))
}

#[test]
fn their_paths() {
    let longest = format!("/{}", "x".repeat(106));
    let longest_name = format!("@{}", "é".repeat(53));
    let no_path = |address: &str| {
        format!(
            r#"4: ServiceEntry/default/s: spec.endpoints[0].address: "unix://{address}" is not a socket's path (write it like unix:///run/app.sock)"#
        )
    };
    let [empty, relative, directory, zero] = ["", "run/app.sock", "/run/", r"/a\0b"].map(no_path);
    let too_long = "4: ServiceEntry/default/s: spec.endpoints[0].address: a socket's path has at most 107 bytes, and this one 108 (move the socket to a shorter path)";
    check(&[
        (at("/run/app.sock"), &[]),
        (at("/with a/space"), &[]),
        (at("@name"), &[]),
        (at("@ends/with/"), &[]),
        (at(&longest), &[]),
        (at(&longest_name), &[]),
        (at(&format!("{longest}x")), &[too_long]),
        (at(&format!("{longest_name}x")), &[too_long]),
        (at(""), &[&empty]),
        (at("run/app.sock"), &[&relative]),
        (at("/run/"), &[&directory]),
        (at(r"/a\0b"), &[&zero]),
        (
            of_entry(&format!("resolution: STATIC, {PORT}, endpoints: [{{address: 'unix:/a'}}]")),
            &[
                r#"4: ServiceEntry/default/s: spec.endpoints[0].address: "unix:/a" is not an address (write an IP address, without a port)"#,
            ],
        ),
    ]);
}

#[test]
fn their_ports() {
    let one_port = "4: ServiceEntry/default/s: spec.endpoints[0]: a unix socket serves exactly one port (write one ServiceEntry for each socket)";
    let endpoints = |ports: &str| format!("resolution: STATIC, {ports}, endpoints: [{{address: 'unix:///a'}}]");
    check(&[
        (of_entry(&endpoints(TWO_PORTS)), &[one_port]),
        (
            of_entry(&endpoints("ports: []")),
            &[
                one_port,
                "4: ServiceEntry/default/s: spec: warning: has no \"ports\", so it has no effect (write the ports that clients address)",
            ],
        ),
        (of_entry(&endpoints("ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]")), &[]),
        (
            of_entry(&format!(
                "resolution: STATIC, {PORT}, endpoints: [{{address: 'unix:///a', ports: {{http: 8080}}}}]"
            )),
            &[r#"4: ServiceEntry/default/s: spec.endpoints[0].address: a unix socket has no ports (remove "ports")"#],
        ),
        (
            workload_entry("{address: 'unix:///a', ports: {http: 8080}}"),
            &[r#"4: WorkloadEntry/default/w: spec.address: a unix socket has no ports (remove "ports")"#],
        ),
        (
            workload_entry("{address: 'unix://a'}"),
            &[
                r#"4: WorkloadEntry/default/w: spec.address: "unix://a" is not a socket's path (write it like unix:///run/app.sock)"#,
            ],
        ),
    ]);
}

#[test]
fn their_resolution() {
    let only_static = r#"4: ServiceEntry/default/s: spec.endpoints[0]: a unix socket goes with resolution STATIC only (write "resolution: STATIC")"#;
    let endpoints = |resolution: &str| of_entry(&format!("{resolution}{PORT}, endpoints: [{{address: 'unix:///a'}}]"));
    check(&[
        (endpoints("resolution: DNS, "), &[only_static]),
        (endpoints("resolution: DNS_ROUND_ROBIN, "), &[only_static]),
        (
            endpoints(""),
            &[
                r#"4: ServiceEntry/default/s: spec: has endpoints, and resolution NONE takes none (write "resolution: STATIC")"#,
                only_static,
            ],
        ),
    ]);
}

#[test]
fn who_selects_them() {
    let entry = workload_entry("{address: 'unix:///a', labels: {a: b}}");
    let by_entry = |rest: &str| {
        let selector = "workloadSelector: {labels: {a: b}}";
        both(&of_entry(&format!("{rest}, {selector}")), &entry)
    };
    let one_port = |by: &str| {
        format!(
            "9: WorkloadEntry/default/w: spec.address: a unix socket serves exactly one port, and {by}, which selects this, has 2 (write a ServiceEntry for each socket)"
        )
    };
    let (of_entry, of_service) = (one_port("ServiceEntry/default/s"), one_port("Service/default/web"));
    let names = r#"9: WorkloadEntry/default/w: spec.address: a unix socket is no endpoint of ServiceEntry/default/s, which selects this and resolves names (write "resolution: STATIC" there)"#;
    check(&[
        (by_entry(&format!("resolution: STATIC, {PORT}")), &[]),
        (by_entry(&format!("resolution: STATIC, {TWO_PORTS}")), &[&of_entry]),
        (by_entry(&format!("resolution: STATIC, {TWO_PORTS}")).replace("[a.com]", "[a.com, b.com]"), &[&of_entry]),
        (by_entry(&format!("resolution: DNS, {PORT}")), &[names]),
        (by_entry(&format!("resolution: DNS_ROUND_ROBIN, {PORT}")), &[names]),
        // Not even by the name of a `targetPort`, which it need not know.
        (both(&service("{ports: [{port: 80, targetPort: web}], selector: {a: b}}"), &entry), &[]),
        (
            both(&service("{ports: [{port: 80, name: a}, {port: 81, name: b}], selector: {a: b}}"), &entry),
            &[&of_service],
        ),
    ]);
}

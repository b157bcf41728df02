//! Shares of traffic: among destinations by weight, among endpoints by the balancing policy. Random choices are held to
//! bounds that a right proxy leaves about once in a million runs of this file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use super::gateway;
use crate::bench::{World, at_each};
use crate::support::client::Client;
use crate::support::yaml;

/// Destinations by weight, each a subset of `origin`; and hosts that lead to services of three endpoints.
const RULES: &str = r"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: split}
spec:
  hosts: [split.example.com]
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /percent}}]
    route:
    - {destination: {host: origin, subset: a}, weight: 80}
    - {destination: {host: origin, subset: b}, weight: 15}
    - {destination: {host: origin, subset: c}, weight: 5}
  - match: [{uri: {prefix: /any-sum}}]
    route:
    - {destination: {host: origin, subset: a}, weight: 1}
    - {destination: {host: origin, subset: b}, weight: 2}
  - match: [{uri: {prefix: /zero}}]
    route:
    - {destination: {host: origin, subset: a}, weight: 0}
    - {destination: {host: origin, subset: b}, weight: 1}
  - match: [{uri: {prefix: /single}}]
    route:
    - {destination: {host: origin, subset: c}, weight: 0}
  - match: [{uri: {prefix: /missing}}]
    route:
    - {destination: {host: origin, subset: a}, weight: 1}
    - {destination: {host: origin, subset: none}, weight: 1}
";

/// Ways to choose an endpoint.
const BALANCERS: [(&str, &str); 3] = [("least", "LEAST_REQUEST"), ("random", "RANDOM"), ("round", "ROUND_ROBIN")];

/// The weights of the three endpoints, by the beginning of the service's name.
const WEIGHTS: [(&str, [u32; 3]); 2] = [("", [1, 1, 1]), ("weighted-", [1, 2, 5])];

/// The three origins as the endpoints of a service, each with a version of its own.
fn endpoints(service: &str, weights: [u32; 3]) -> String {
    let mut yaml = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {service}}}\nspec: {{selector: {{app: {service}}}, ports: \
         [{{name: http, port: 8000}}]}}\n"
    );
    for (number, (version, weight)) in ["a", "b", "c"].into_iter().zip(weights).enumerate() {
        let spec = format!(
            "{{address: 127.0.0.1, ports: {{http: @{number}}}, labels: {{app: {service}, version: {version}}}, weight: \
             {weight}}}"
        );
        yaml += "---\n";
        yaml += &yaml::istio("WorkloadEntry", &format!("{service}-{number}"), &spec);
    }
    yaml
}

static YAML: LazyLock<String> = LazyLock::new(|| {
    let subsets = ["a", "b", "c"].map(|version| format!("{{name: {version}, labels: {{version: {version}}}}}"));
    let subsets = format!("{{host: origin, subsets: [{}]}}", subsets.join(", "));
    let mut yaml = gateway!().to_owned() + RULES;
    let mut services = String::new();
    for (prefix, weights) in WEIGHTS {
        for (name, simple) in BALANCERS {
            let service = format!("{prefix}{name}");
            let _ = write!(
                yaml,
                "  - match: [{{uri: {{prefix: /{service}}}}}]\n    route: [{{destination: {{host: {service}}}}}]\n"
            );
            services += "---\n";
            services += &yaml::policy(&service, &format!("loadBalancer: {{simple: {simple}}}"));
            services += &endpoints(&service, weights);
        }
    }
    yaml += "---\n";
    yaml += &yaml::istio("DestinationRule", "origin", &subsets);
    yaml + &endpoints("origin", [1, 1, 1]) + &services
});

fn world() -> World {
    World::gateway(&YAML, 3)
}

/// Requests of each share: enough to tell 5 % from 10 %.
const REQUESTS: usize = 2_000;

/// Standard deviations from the mean that are still chance. One run makes some 60 comparisons; beyond 5.5 lies 4·10⁻⁸ of
/// the normal distribution.
const DEVIATIONS: f64 = 5.5;

/// What answered, and how often: `@0`, or the status where no origin did.
fn answers(address: std::net::SocketAddr, path: &str, count: usize) -> BTreeMap<String, usize> {
    let mut client = Client::connect(address);
    let mut answers = BTreeMap::new();
    for _ in 0..count {
        let response = client.ask(format!("GET {path} HTTP/1.1\r\nHost: split.example.com\r\n\r\n"));
        let who = response.header("x-origin").map_or_else(|| response.status.to_string(), str::to_owned);
        *answers.entry(who).or_default() += 1;
    }
    answers
}

/// Asserts that each of `shares` has had its part of the requests, as far as chance goes, and nobody else any.
fn shared(path: &str, shares: &[(&str, f64)]) {
    at_each(world(), |proxy| {
        let met = answers(proxy.address(), path, REQUESTS);
        let total: f64 = shares.iter().map(|(_, weight)| weight).sum();
        let who: Vec<&str> = met.keys().map(String::as_str).collect();
        let expected: Vec<&str> = shares.iter().map(|(who, _)| *who).collect();
        assert_eq!(who, expected, "{path} at {}: {met:?}", proxy.name());
        for (who, weight) in shares {
            let (n, p) = (REQUESTS as f64, weight / total);
            let (mean, deviation) = (n * p, (n * p * (1.0 - p)).sqrt());
            let off = (met[*who] as f64 - mean).abs();
            assert!(off <= DEVIATIONS * deviation, "{path} at {}: {who} of {met:?}, {mean} expected", proxy.name());
        }
    });
}

#[test]
fn destinations_by_weight() {
    shared("/percent", &[("@0", 80.0), ("@1", 15.0), ("@2", 5.0)]);
    shared("/any-sum", &[("@0", 1.0), ("@1", 2.0)]);
    shared("/zero", &[("@1", 1.0)]);
    shared("/single", &[("@2", 1.0)]);
    // The share of a destination that does not exist fails, and no more.
    shared("/missing", &[("503", 1.0), ("@0", 1.0)]);
}

#[test]
fn endpoints_at_random() {
    shared("/random", &[("@0", 1.0), ("@1", 1.0), ("@2", 1.0)]);
    // With one request at a time nobody is busier than another.
    shared("/least", &[("@0", 1.0), ("@1", 1.0), ("@2", 1.0)]);
}

/// Round robin is no chance: after any number of whole rounds the counts are the weights.
fn exactly(path: &str, rounds: usize, weights: [usize; 3]) {
    at_each(world(), |proxy| {
        let met = answers(proxy.address(), path, rounds * weights.iter().sum::<usize>());
        let counts = ["@0", "@1", "@2"].map(|who| met.get(who).copied().unwrap_or(0));
        assert_eq!(counts, weights.map(|weight| weight * rounds), "{path} at {}", proxy.name());
    });
}

#[test]
fn endpoints_in_turn() {
    exactly("/round", 20, [1, 1, 1]);
    exactly("/weighted-round", 20, [1, 2, 5]);
}

/// RANDOM knows no weights; LEAST_REQUEST does.
#[test]
fn endpoints_at_random_with_weights() {
    shared("/weighted-random", &[("@0", 1.0), ("@1", 1.0), ("@2", 1.0)]);
    shared("/weighted-least", &[("@0", 1.0), ("@1", 2.0), ("@2", 5.0)]);
}

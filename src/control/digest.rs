//! A digest of a configuration's effect, to compare a file with the running proxy, and a reload with the configuration
//! before.
//!
//! Pure. It is taken of a plan as it was compiled, before names were resolved. Places in files, and settings of this
//! machine or its command line (bound addresses, CPUs, the admin port), are left out, so that the same documents have
//! the same digest anywhere.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use serde_json::Value;
use twox_hash::XxHash64;

use super::admin::config;
use crate::base::count::grouped;
use crate::plan::{Action, ClientTls, Plan, Route, Undeclared};

/// So many names are written out of a list of changes.
const NAMES: usize = 3;

/// The hash of each part, by its name.
type Parts = BTreeMap<String, u64>;

/// The digest of a plan.
#[derive(Debug, Clone, Default)]
pub struct Digest {
    listeners: Parts,
    /// Virtual hosts, by listener and name.
    hosts: Parts,
    clusters: Parts,
    /// By address and cluster.
    endpoints: Parts,
    settings: u64,
    /// The settings of the clusters that have TLS: the content of the files of certificates may change by itself.
    tls: BTreeMap<String, Arc<ClientTls>>,
}

impl Digest {
    /// That of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let mut digest = Self::default();
        for listener in &*plan.listeners {
            let mut shown = config::shown_listener(plan, listener);
            forget(&mut shown, &["name", "address", "stat_prefix"]);
            // A connection's rules say where they are written.
            let chains = shown["filter_chains"].as_array_mut();
            chains.into_iter().flatten().for_each(|chain| forget(chain, &["origin"]));
            let outbound =
                listener.chains.destinations().map(|outbound| !matches!(outbound.undeclared, Undeclared::BlackHole(_)));
            let kind = listener.kind.to_string();
            let also = format!("{:?} {outbound:?}", listener.gateways);
            for table in listener.route_tables() {
                for host in &table.virtual_hosts {
                    let mut shown = config::virtual_host(plan, host);
                    let routes = shown["routes"].as_array_mut();
                    routes.into_iter().flatten().for_each(|route| forget(route, &["origin", "delegated_by"]));
                    let also: String = host.routes().iter().map(secrets).collect();
                    digest.hosts.insert(format!("{}\n{kind} {:?}", host.name, table.port), hash(&shown, &also));
                }
            }
            digest.listeners.insert(kind, hash(&shown, &also));
        }
        for cluster in &plan.clusters {
            let mut shown = config::cluster(cluster);
            forget(&mut shown, &["load_assignment"]);
            digest.clusters.insert(cluster.name.clone(), hash(&shown, ""));
            for endpoint in &cluster.endpoints {
                let name = format!("{} of {}", endpoint.address, cluster.name);
                let also = format!("{} {:?}", endpoint.weight, endpoint.locality);
                digest.endpoints.insert(name, hash(&Value::Null, &also));
            }
            if let Some(tls) = &cluster.tls {
                digest.tls.insert(cluster.name.clone(), tls.clone());
            }
        }
        let proxy = &plan.proxy;
        let settings = format!(
            "{:?} {:?} {:?} {:?} {:?}",
            proxy.server_header, proxy.mirror_host_suffix, proxy.path_normalization, proxy.limits, proxy.tracing
        );
        digest.settings = hash(&Value::Null, &settings);
        digest
    }

    /// All of it in a few characters.
    #[must_use]
    pub fn version(&self) -> String {
        let parts = [&self.listeners, &self.hosts, &self.clusters, &self.endpoints];
        format!("{:016x}", hash(&Value::Null, &format!("{parts:?} {}", self.settings)))
    }

    /// The differences to `new`.
    #[must_use]
    pub fn changes_to(&self, new: &Self) -> Changes {
        let certificates = self.tls.iter().filter(|(name, tls)| {
            let now = new.tls.get(*name);
            now.is_some_and(|now| now != *tls) && self.clusters.get(*name) == new.clusters.get(*name)
        });
        Changes {
            lists: vec![
                ("listener", difference(&self.listeners, &new.listeners)),
                ("host", difference(&self.hosts, &new.hosts)),
                ("cluster", difference(&self.clusters, &new.clusters)),
                ("endpoint", difference(&self.endpoints, &new.endpoints)),
            ],
            settings: self.settings != new.settings,
            certificates: certificates.map(|(name, _)| name.clone()).collect(),
        }
    }
}

/// Values that a dump does not show, since they may be secret, and that make a difference all the same.
fn secrets(route: &Route) -> String {
    let mut text = format!("{:?}{:?}", route.matcher.conditions(), route.headers);
    if let Action::Forward(forward) = &route.action {
        forward.destinations.iter().for_each(|destination| text += &format!("{:?}", destination.headers));
    }
    text
}

fn forget(shown: &mut Value, keys: &[&str]) {
    if let Some(members) = shown.as_object_mut() {
        keys.iter().for_each(|key| drop(members.remove(*key)));
    }
}

fn hash(shown: &Value, also: &str) -> u64 {
    XxHash64::oneshot(0, format!("{shown}{also}").as_bytes())
}

/// The names of added, removed and changed parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct PartsDiff {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

fn difference(old: &Parts, new: &Parts) -> PartsDiff {
    // The suffix that distinguishes equal names is not shown.
    let name = |name: &String| name.split('\n').next().unwrap_or_default().to_owned();
    let without = |all: &Parts, others: &Parts| all.keys().filter(|key| !others.contains_key(*key)).map(name).collect();
    let changed = old.iter().filter(|(key, hash)| new.get(*key).is_some_and(|now| now != *hash));
    PartsDiff {
        added: without(new, old),
        removed: without(old, new),
        changed: changed.map(|(key, _)| name(key)).collect(),
    }
}

/// The differences between two configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    lists: Vec<(&'static str, PartsDiff)>,
    settings: bool,
    certificates: Vec<String>,
}

/// `1 host changed (a.com:80); 5 endpoints added (10.0.0.1:80 of …, … and 2 more)`, or `nothing changed`.
impl Display for Changes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        for (what, PartsDiff { added, removed, changed }) in &self.lists {
            for (names, how) in [(added, "added"), (removed, "removed"), (changed, "changed")] {
                said.extend(list(what, names, how));
            }
        }
        said.extend(self.settings.then(|| "settings of the Proxy changed".to_owned()));
        said.extend(list("certificate", &self.certificates, "changed"));
        f.write_str(if said.is_empty() { "nothing changed" } else { "" })?;
        f.write_str(&said.join("; "))
    }
}

fn list(what: &str, names: &[String], how: &str) -> Option<String> {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.dedup(); // sorted: of one host on several ports
    let plural = if names.len() == 1 { "" } else { "s" };
    let shown = names.iter().take(NAMES).copied().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(NAMES);
    let more = if more > 0 { format!(" and {} more", grouped(more)) } else { String::new() };
    (!names.is_empty()).then(|| format!("{} {what}{plural} {how} ({shown}{more})", grouped(names.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::{self, Options};
    use crate::plan::{self, Overrides, ProxySettings};

    const YAML: &str = "
apiVersion: ringway.dev/v1
kind: Proxy
metadata: {name: edge}
spec: {ports: {80: 8080}, meshConfig: {accessLogFile: /dev/stdout}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: [a.com]
  gateways: [g]
  http:
  - match: [{headers: {authorization: {exact: one}}}]
    route: [{destination: {host: web.com}, headers: {request: {set: {x-token: one}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web}
spec:
  hosts: [web.com]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}]
";

    fn digest(yaml: &str, overrides: &Overrides) -> Digest {
        let (world, problems) = istio::read_text(yaml, Options::default());
        assert!(!problems.iter().any(istio::problem::Problem::is_error), "{problems:#?}");
        Digest::of(&plan::compile(&world, ProxySettings::resolve(&world.proxy, overrides)).0)
    }

    #[test]
    fn what_only_this_machine_says_makes_no_difference() {
        let plain = digest(YAML, &Overrides::default());
        let placed = Overrides {
            cpus: Some(plan::Cpus::First(1)),
            bind: Some([127, 0, 0, 7].into()),
            ports: Some([(80, 9999)].into()),
            admin: Some(None),
            ..Overrides::default()
        };
        let moved = format!("# a line more\n\n{YAML}");
        for other in [digest(YAML, &placed), digest(&moved, &Overrides::default())] {
            assert_eq!(other.version(), plain.version());
            assert_eq!(plain.changes_to(&other).to_string(), "nothing changed");
        }
        let suffix = Overrides { mirror_host_suffix: Some("-other".to_owned()), ..Overrides::default() };
        assert_ne!(digest(YAML, &suffix).version(), plain.version(), "what a flag makes of requests does");
    }

    #[test]
    fn every_change_is_named() {
        let plain = digest(YAML, &Overrides::default());
        let (cluster, host) = ("outbound|80||web.com", "1 host changed (a.com:80)");
        for (from, to, said) in [
            ("exact: one", "exact: two", host.to_owned()),
            ("x-token: one", "x-token: two", host.to_owned()),
            ("gateways: [g]\n", "gateways: [g]\n  # more\n", "nothing changed".to_owned()),
            (
                "endpoints: [{address: 10.0.0.1}]",
                "endpoints: [{address: 10.0.0.1, weight: 2}, {address: 10.0.0.2}]",
                format!("1 endpoint added (10.0.0.2:80 of {cluster}); 1 endpoint changed (10.0.0.1:80 of {cluster})"),
            ),
            (
                "hosts: ['*']}",
                "hosts: ['*']}, {port: {number: 81, name: more, protocol: HTTP}, hosts: [b.com]}",
                "1 listener added (Gateway port 81)".to_owned(),
            ),
            ("spec: {ports", "spec: {limits: {maxHeaders: 9}, ports", "settings of the Proxy changed".to_owned()),
            (
                "hosts: [a.com]",
                "hosts: [b.com, c.com, d.com, e.com, f.com]",
                "5 hosts added (b.com:80, c.com:80, d.com:80 and 2 more); 1 host removed (a.com:80)".to_owned(),
            ),
        ] {
            assert!(YAML.contains(from), "{from}");
            let changed = digest(&YAML.replace(from, to), &Overrides::default());
            assert_eq!(plain.changes_to(&changed).to_string(), said, "{to}");
            assert_eq!(changed.version() != plain.version(), said != "nothing changed", "{to}");
        }
    }
}

//! Likely mistakes of VirtualService rules.

use std::collections::BTreeSet;

use super::{Checks, ServedHosts, rule_path};
use crate::istio::model::scalar::{StringMatch, host};
use crate::istio::model::virtual_service::{
    Headers, HttpMatch, HttpRoute, MESH, PathRewrite, RedirectPath, UnmatchedPreflights, VirtualService,
};

impl Checks<'_> {
    pub(super) fn rules(&mut self) {
        for service in &self.world.virtual_services {
            self.mesh_hosts(service);
            for route in &service.http {
                self.blocks(service, route);
                self.slashes(service, route);
                self.weights(service, route);
                self.headers(service, route);
                self.cors(service, route);
            }
        }
    }

    /// Hosts that the mesh listener treats differently, or whose protocol is not HTTP.
    fn mesh_hosts(&mut self, service: &VirtualService) {
        if !service.gateways.iter().any(|gateway| gateway == MESH) || service.http.is_empty() {
            return;
        }
        let listens = self.world.proxy.mesh_listen.is_some();
        for (index, name) in service.hosts.iter().enumerate() {
            let path = format!("spec.hosts[{index}]");
            match self.world.services.get(name) {
                Some(known) => {
                    let others = known.ports.iter().filter(|port| !port.protocol.routes_http());
                    let names: Vec<_> =
                        others.clone().map(|port| format!("{} ({})", port.number, port.protocol.name())).collect();
                    if !names.is_empty() && names.len() == known.ports.len() {
                        let what = format!(
                            "no port of {name} speaks HTTP, so \"http\" has no effect on it: {} [IST0118]",
                            names.join(", ")
                        );
                        self.warn(service, &path, what, "name the port \"http\" or \"http-…\", or set its appProtocol");
                    }
                }
                None if listens && !host::is_wildcard(name) && self.knows_all_services() => {
                    let what = format!("no service is registered as \"{name}\": the rules apply on every port");
                    self.note(service, &path, what, "Istio itself applies them on port 80 only");
                }
                None => {}
            }
        }
        if listens && !self.takes_everything(service) {
            let what = "has no rule for the rest: requests to these hosts that match none get 404".to_owned();
            self.note(service, "spec.http", what, "end with a rule without \"match\" to pass them on");
        }
    }

    /// Whether every HTTP request for its hosts meets a rule: one without conditions, or with only a port, for each HTTP
    /// port.
    fn takes_everything(&self, service: &VirtualService) -> bool {
        let mut taken = BTreeSet::new();
        for route in &service.http {
            let unknown = self.is_unknown(service, &format!("{}.match", rule_path(route)));
            if route.matches.is_empty() || route.matches.iter().any(any_path) || unknown {
                return true;
            }
            let of_mesh =
                |block: &&HttpMatch| block.gateways.is_empty() || block.gateways.iter().any(|name| name == MESH);
            for block in route.matches.iter().filter(of_mesh) {
                if any_path(&HttpMatch { port: None, gateways: Vec::new(), ..block.clone() }) {
                    taken.insert(block.port);
                }
            }
        }
        taken.contains(&None)
            || service.hosts.iter().all(|name| {
                let known = self.world.services.get(name);
                known.is_some_and(|known| {
                    let mut http = known.ports.iter().filter(|port| port.protocol.routes_http());
                    http.all(|port| taken.contains(&Some(port.number)))
                })
            })
    }

    fn blocks(&mut self, service: &VirtualService, route: &HttpRoute) {
        for (index, block) in route.matches.iter().enumerate() {
            let path = format!("{}.match[{index}]", rule_path(route));
            for (at, gateway) in block.gateways.iter().enumerate() {
                let unknown = self.is_unknown(service, "spec.gateways");
                let is_delegate = service.hosts.is_empty() && !self.is_unknown(service, "spec.hosts");
                if !service.gateways.contains(gateway) && !is_delegate && !unknown {
                    let what =
                        format!("\"{gateway}\" is not one of this VirtualService's gateways: never matches there");
                    self.warn(service, &format!("{path}.gateways[{at}]"), what, "add it to \"spec.gateways\"");
                }
            }
            if !block.gateways.is_empty() && (!block.source_labels.is_empty() || block.source_namespace.is_some()) {
                let what = "has \"gateways\", beside which the source has no meaning".to_owned();
                self.warn(service, &path, what, "write a block for each");
            }
            self.block_port(service, &path, block);
            if let Some(StringMatch::Regex(regex)) = &block.uri
                && is_literal(regex)
                && !self.never.contains(&std::ptr::from_ref(block))
            {
                let what = format!("a regex matches whole paths: this one matches \"{regex}\" alone");
                self.note(service, &format!("{path}.uri.regex"), what, format!("write \"prefix\", or {regex}.*"));
            }
        }
    }

    fn block_port(&mut self, service: &VirtualService, path: &str, block: &HttpMatch) {
        let gateways = if block.gateways.is_empty() { &service.gateways } else { &block.gateways };
        self.match_port(service, path, block.port, gateways);
    }

    /// `match.port` is the one that the client addressed, which some take for the destination's.
    pub(super) fn match_port(&mut self, service: &VirtualService, path: &str, port: Option<u16>, gateways: &[String]) {
        let Some(port) = port else { return };
        let served: Option<Vec<_>> = gateways.iter().map(|name| self.gateways.get(name)).collect();
        // Names that lead nowhere are reported on their own, and the mesh has every port.
        let Some(served) = served.filter(|served| !served.is_empty()) else { return };
        let unknown = |served: &&ServedHosts<'_>| self.damage.touches(&served.gateway.meta.source, "spec.servers");
        if self.is_unknown(service, "spec.gateways") || served.iter().any(unknown) {
            return;
        }
        if !served.iter().any(|served| served.ports.contains(&port)) {
            let ports: BTreeSet<u16> = served.iter().flat_map(|served| &served.ports).copied().collect();
            let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
            let what = format!("no Gateway here listens on port {port}: never matches");
            let instead = format!("it is the port of the Gateway's server: {}", ports.join(", "));
            self.warn(service, &format!("{path}.port"), what, instead);
        }
    }

    /// Prefixes are replaced as text: slashes are neither added nor taken away.
    fn slashes(&mut self, service: &VirtualService, route: &HttpRoute) {
        let rewrite = route.rewrite.as_ref().and_then(|rewrite| rewrite.path.as_ref());
        let (with, field) = match (rewrite, route.redirect.as_ref().and_then(|redirect| redirect.path.as_ref())) {
            (Some(PathRewrite::Matched(with)), _) => (with, "rewrite.uri"),
            (_, Some(RedirectPath::Prefix(with))) => (with, "redirect.prefixRewrite"),
            _ => return,
        };
        let everything = [HttpMatch { uri: Some(StringMatch::Prefix("/".to_owned())), ..HttpMatch::default() }];
        if self.is_unknown(service, &format!("{}.match", rule_path(route))) {
            return;
        }
        let blocks = if route.matches.is_empty() { &everything[..] } else { &route.matches };
        for block in blocks {
            let prefix = match &block.uri {
                Some(StringMatch::Prefix(prefix)) => prefix.as_str(),
                None => "/",
                Some(_) => continue,
            };
            if prefix.is_empty() || prefix.ends_with('/') == with.ends_with('/') {
                continue;
            }
            let example = if prefix.ends_with('/') { format!("{prefix}a") } else { format!("{prefix}/a") };
            let becomes = format!("{with}{}", example.get(prefix.len()..).unwrap_or_default());
            let what = format!("prefix \"{prefix}\" is replaced as text: {example} becomes {becomes}");
            let path = format!("{}.{field}", rule_path(route));
            self.warn(service, &path, what, "let both end with \"/\", or neither");
        }
    }

    fn weights(&mut self, service: &VirtualService, route: &HttpRoute) {
        let sum: u64 = route.route.iter().map(|to| u64::from(to.weight)).sum();
        if route.route.len() > 1 && sum != 100 && sum > 0 {
            let what = format!("the weights sum to {sum}: they are taken as shares of that, not as percent");
            let path = format!("{}.route", rule_path(route));
            self.note(service, &path, what, "Istio before 1.14 refused this");
        }
    }

    /// The destination's wins, which in Istio depends on how many destinations there are.
    fn headers(&mut self, service: &VirtualService, route: &HttpRoute) {
        let Some(own) = &route.headers else { return };
        for (index, to) in route.route.iter().enumerate() {
            let Some(theirs) = &to.headers else { continue };
            let path = format!("{}.route[{index}].headers", rule_path(route));
            for (side, name) in both_set(own, theirs) {
                let what = format!("\"{name}\" is set by the rule, too: the destination's value is sent");
                let instead = "with several destinations Istio sends the rule's; set it in one place";
                self.warn(service, &format!("{path}.{side}.set[{name}]"), what, instead);
            }
        }
    }

    fn cors(&mut self, service: &VirtualService, route: &HttpRoute) {
        let Some(policy) = &route.cors_policy else { return };
        let path = format!("{}.corsPolicy", rule_path(route));
        if policy.allow_origins.is_empty() {
            let what = "allows no origin, so it has no effect".to_owned();
            self.warn(service, &path, what, "write \"allowOrigins\"");
        } else if policy.unmatched_preflights == UnmatchedPreflights::Forward {
            let what = "tells browsers what to allow and blocks no request: those of other origins go on".to_owned();
            self.note(service, &path, what, "\"unmatchedPreflights: IGNORE\" answers their preflights here");
        }
    }
}

fn any_path(block: &HttpMatch) -> bool {
    let path = match &block.uri {
        None | Some(StringMatch::Present) => true,
        Some(StringMatch::Prefix(prefix)) => prefix.is_empty() || prefix == "/",
        Some(StringMatch::Regex(regex)) => matches!(regex.as_str(), ".*" | "/.*"),
        Some(StringMatch::Exact(_)) => false,
    };
    // Without its path the block has no conditions.
    path && HttpMatch { uri: None, ignore_uri_case: false, name: String::new(), stat_prefix: None, ..block.clone() }
        == HttpMatch::default()
}

/// Whether a regex has no special characters: most authors mean a dot literally.
fn is_literal(regex: &str) -> bool {
    !regex.contains(['*', '+', '?', '[', '(', '{', '|', '\\', '$', '^'])
}

/// The headers that both set, with their side.
fn both_set<'h>(own: &'h Headers, theirs: &'h Headers) -> Vec<(&'static str, &'h str)> {
    let sides = [("request", &own.request, &theirs.request), ("response", &own.response, &theirs.response)];
    let mut found = Vec::new();
    for (side, own, theirs) in sides {
        let names = theirs.set.iter().map(|(name, _)| name.as_str());
        let both = names.filter(|name| own.set.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
        found.extend(both.map(|name| (side, name)));
    }
    found
}

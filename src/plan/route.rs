//! Routes: a matcher, what to do when it holds, and where in the YAML it came from.
//!
//! What a request is like is the matcher's to say. Called by `plan::Plan::route` and, for printing, by `explain` and the
//! admin pages.

use std::fmt;
use std::sync::Arc;

use super::action::{Action, Cors};
use super::edits::HeaderEdits;
use super::listener::RouteTable;
use super::matcher::{Condition, Matcher};
use super::prefilter::Glances;
use super::{Request, RouteStatsId};

/// Some host names of a table, with the routes that are tried for them.
#[derive(Debug, Clone)]
pub struct VirtualHost {
    /// Istio's name: the host and the table's port, `httpbin.example.com:80`.
    pub name: Box<str>,
    /// The host names and wildcards, lower case; all of a service's on the mesh listener, one otherwise.
    pub domains: Box<[Box<str>]>,
    routes: Box<[Route]>,
    /// Which of them are worth a look.
    glances: Glances,
    /// The Gateway server that redirects plain HTTP to HTTPS (`tls.httpsRedirect`), before any route (Envoy's
    /// `require_tls: ALL`).
    https_redirect: Option<Arc<Origin>>,
}

impl VirtualHost {
    /// A virtual host with these routes, in the order in which they are tried.
    #[must_use]
    pub fn new(name: &str, domains: impl IntoIterator<Item = Box<str>>, routes: Vec<Route>) -> Self {
        let glances = Glances::of(routes.iter().map(|route| route.matcher.conditions()));
        let domains = domains.into_iter().collect();
        Self { name: name.into(), domains, routes: routes.into(), glances, https_redirect: None }
    }

    /// The same virtual host, with plain HTTP redirected by this Gateway server.
    #[must_use]
    pub fn redirecting_to_https(self, server: Option<Arc<Origin>>) -> Self {
        Self { https_redirect: server, ..self }
    }

    /// The Gateway server that redirects plain HTTP to HTTPS, if any does.
    #[must_use]
    pub fn https_redirect(&self) -> Option<&Arc<Origin>> {
        self.https_redirect.as_ref()
    }

    /// In the order in which they are tried.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Those of its routes that have one, in the same order.
    pub(super) fn stat_prefixes_mut(&mut self) -> impl Iterator<Item = &mut StatPrefix> {
        self.routes.iter_mut().filter_map(|route| route.stat_prefix.as_mut())
    }

    /// The first route that takes the request.
    pub(super) fn find<W: Witness>(&self, request: &Request<'_>, witness: &mut W) -> Option<&Route> {
        let mut takes = |route: &Route| {
            let taken = route.matcher.holds(request, |condition, held| witness.condition(route, condition, held));
            witness.route(route, taken);
            taken
        };
        // A witness wants to hear of the conditions themselves.
        if W::LOOKS {
            return self.routes.iter().find(|route| takes(route));
        }
        let found = self.glances.find(request.path, |at| self.routes.get(at).is_some_and(&mut takes));
        self.routes.get(found?)
    }
}

/// One `http` rule of a VirtualService with one of its `match` blocks, or what the mesh listener does without one:
/// `default` for each service, `allow_any` and `block_all`.
#[derive(Debug, Clone)]
pub struct Route {
    /// Istio's route name for the access log: rule name and match name joined with `.`; empty if neither is given.
    pub name: String,
    /// Where it is written.
    pub origin: Origin,
    /// When it applies.
    pub matcher: Matcher,
    /// What it does.
    pub action: Action,
    /// `headers`, for what is answered here: a redirect, a direct response. What is forwarded has its destination's,
    /// which include these.
    pub headers: HeaderEdits,
    /// `corsPolicy`.
    pub cors: Option<Box<Cors>>,
    /// `match.statPrefix`: a name for counters of its own.
    pub stat_prefix: Option<StatPrefix>,
}

/// What the counters of a route of its own are called, and which of the plan's they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatPrefix {
    /// As it is written.
    pub name: Box<str>,
    /// Its place in [`Plan::stat_prefixes`](super::Plan::stat_prefixes), once all routes of the plan are there.
    pub id: RouteStatsId,
}

impl StatPrefix {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), id: RouteStatsId(0) }
    }
}

/// Where in the configuration a route is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file, as it was named on the command line.
    pub file: Arc<str>,
    /// The line of the block, or of the rule, or of the document that is the reason for the route; from 1.
    pub line: u32,
    /// `VirtualService/namespace/name`; for a route without a rule the Service, ServiceEntry or Proxy.
    pub resource: Arc<str>,
    /// The list of the document's `spec` that it stands in: `http`, `tls` or `tcp`; `servers` of a Gateway.
    pub list: &'static str,
    /// Position in that list, from 0; `None` for a route without a rule.
    pub rule: Option<usize>,
    /// Position in that rule's `match`, from 0; `None` if it has none.
    pub block: Option<usize>,
    /// The rule whose `delegate` led here.
    pub root: Option<Arc<Origin>>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.resource)?;
        self.rule.map_or(Ok(()), |rule| write!(f, ": {}[{rule}]", self.list))?;
        self.block.map_or(Ok(()), |block| write!(f, ".match[{block}]"))
    }
}

/// Looks on while a request is routed. Every method does nothing by itself, so that [`NoWitness`] costs nothing.
pub trait Witness {
    /// Whether anybody looks on at all; without, routes are passed over by the fastest test that tells.
    const LOOKS: bool = true;

    /// The virtual host that the request's authority belongs to, and its table; `None` if it belongs to none.
    #[inline]
    fn host(&mut self, _host: Option<(&RouteTable, &VirtualHost)>) {}

    /// A condition was tested. The first that does not hold ends its route's turn, so later ones are not told.
    #[inline]
    fn condition(&mut self, _route: &Route, _condition: &Condition, _held: bool) {}

    /// A route was taken or passed over. The first that is taken ends the search.
    #[inline]
    fn route(&mut self, _route: &Route, _taken: bool) {}
}

/// Nobody looks on: the data path's witness, which compiles away.
#[derive(Debug, Clone, Copy)]
pub struct NoWitness;

impl Witness for NoWitness {
    const LOOKS: bool = false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_reads_like_a_problem() {
        let mut origin = Origin {
            file: "a.yaml".into(),
            line: 7,
            resource: "VirtualService/default/x".into(),
            list: "http",
            rule: Some(2),
            block: Some(1),
            root: None,
        };
        assert_eq!(origin.to_string(), "a.yaml:7: VirtualService/default/x: http[2].match[1]");
        origin.block = None;
        assert_eq!(origin.to_string(), "a.yaml:7: VirtualService/default/x: http[2]");
        origin.rule = None;
        assert_eq!(origin.to_string(), "a.yaml:7: VirtualService/default/x");
    }
}

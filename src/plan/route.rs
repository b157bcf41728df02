//! Routes: a matcher, what to do when it holds, and where in the YAML it came from.
//!
//! Plain data. It must never look at a request itself: that is the matcher's. Called by `plan::Plan::route` and, for
//! printing, by `explain` and the admin pages.

use std::fmt;
use std::sync::Arc;

use super::action::{Action, Cors};
use super::edits::HeaderEdits;
use super::matcher::{Condition, Matcher};

/// One host name (or wildcard) of a listener, with the routes of every VirtualService that has it.
#[derive(Debug, Clone)]
pub struct VirtualHost {
    /// The host name, lower case: `httpbin.example.com`, `*.example.com` or `*`.
    pub name: String,
    /// In the order in which they are tried.
    pub routes: Vec<Route>,
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
    pub stat_prefix: Option<Box<str>>,
}

/// Where in the configuration a route is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file, as it was named on the command line.
    pub file: Arc<str>,
    /// The line of the rule, or of the document that is the reason for the route; from 1.
    pub line: u32,
    /// `VirtualService/namespace/name`; for a route without a rule the Service, ServiceEntry or Proxy.
    pub resource: Arc<str>,
    /// Position in the document's `spec.http`, from 0; `None` for a route without a rule.
    pub rule: Option<usize>,
    /// Position in that rule's `match`, from 0; `None` if it has none.
    pub block: Option<usize>,
    /// The rule whose `delegate` led here.
    pub root: Option<Arc<Origin>>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.resource)?;
        self.rule.map_or(Ok(()), |rule| write!(f, ": http[{rule}]"))?;
        self.block.map_or(Ok(()), |block| write!(f, ".match[{block}]"))
    }
}

/// Looks on while a request is routed. Every method does nothing by itself, so that [`NoWitness`] costs nothing.
pub trait Witness {
    /// Whether anybody looks on at all; without, routes are passed over by the fastest test that tells.
    const LOOKS: bool = true;

    /// The virtual host that the request's authority belongs to; `None` if it belongs to none.
    #[inline]
    fn host(&mut self, _host: Option<&VirtualHost>) {}

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

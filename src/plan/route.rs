//! Routes: a matcher, its action, and its origin in the YAML.
//!
//! Plain data; `route_table` looks routes up. `explain` and the admin pages print them.

use std::fmt;
use std::sync::Arc;

use super::RouteStatsId;
use super::action::{Action, Cors};
use super::edits::HeaderEdits;
use super::matcher::Matcher;

/// One `http` rule of a VirtualService with one of its `match` blocks, or the mesh listener's own routes: `default` for each
/// service, `allow_any` and `block_all`.
#[derive(Debug, Clone)]
pub struct Route {
    /// Istio's route name for the access log: rule name and match name joined with `.`; empty if neither is given.
    pub name: String,
    /// The place in the configuration.
    pub origin: Origin,
    /// The requests that it takes.
    pub matcher: Matcher,
    /// Their action.
    pub action: Action,
    /// `headers`, for responses of our own: a redirect, a direct response. A forwarded request has its destination's headers,
    /// which include these.
    pub headers: HeaderEdits,
    /// `corsPolicy`.
    pub cors: Option<Box<Cors>>,
    /// `match.statPrefix`: a name for counters of its own.
    pub stat_prefix: Option<StatPrefix>,
}

/// The name of a route's own counters, and which of the plan's they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatPrefix {
    /// As it is written.
    pub name: Box<str>,
    /// Its index in [`Plan::stat_prefixes`](super::Plan::stat_prefixes), once all routes of the plan are compiled.
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
    /// The list of the document's `spec` that it is in: `http`, `tls` or `tcp`; `servers` of a Gateway.
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

//! What a rule does: its `route` list.

use crate::istio::model::virtual_service::RouteDestination;
use crate::plan::{Action, Destination, Destinations, Forward};

use super::Compiler;
use super::route::Rule;

impl Compiler<'_> {
    /// The rule's action; `None` if it has none that can be served, which has then been reported.
    pub(super) fn action(&mut self, rule: Rule<'_>) -> Option<Action> {
        let destinations = self.route(rule, &rule.rule.route)?;
        Some(Action::Forward(Forward { destinations, rewrite: None, hash_keys: self.hash_keys(&rule.rule.route) }))
    }

    /// `route`.
    fn route(&mut self, rule: Rule<'_>, list: &[RouteDestination]) -> Option<Destinations> {
        let list = list.iter().map(|entry| Destination {
            weight: entry.weight,
            ..Destination::plain(self.destination(&entry.destination, rule.port))
        });
        let destinations = Destinations::new(list.collect());
        if destinations.is_none() {
            self.problems.push(rule.service.meta.source.error(
                &rule.path("route"),
                "all weights are 0, so no destination can be chosen",
                "give at least one destination a weight above 0",
            ));
        }
        destinations
    }
}

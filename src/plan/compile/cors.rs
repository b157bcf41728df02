//! `corsPolicy`.

use crate::istio::model::virtual_service::{CorsPolicy, UnmatchedPreflights as Unmatched};
use crate::plan::{Cors, UnmatchedPreflights};

use super::Compiler;
use super::rule::Rule;

impl<'w> Compiler<'w> {
    /// The policy; an invalid origin pattern has been reported and matches nothing.
    pub(super) fn cors(&mut self, rule: &Rule<'w>, policy: &CorsPolicy) -> Cors {
        let origins = policy.allow_origins.iter().enumerate();
        let allow_origins = origins
            .filter_map(|(index, origin)| self.pattern(rule, || format!("corsPolicy.allowOrigins[{index}]"), origin))
            .collect();
        Cors {
            allow_origins,
            allow_methods: policy.allow_methods.join(",").into(),
            allow_headers: policy.allow_headers.join(",").into(),
            expose_headers: policy.expose_headers.join(",").into(),
            max_age: policy.max_age.map(|age| age.as_secs()),
            allow_credentials: policy.allow_credentials,
            unmatched_preflights: match policy.unmatched_preflights {
                Unmatched::Forward => UnmatchedPreflights::Forward,
                Unmatched::Ignore => UnmatchedPreflights::Ignore,
            },
        }
    }
}

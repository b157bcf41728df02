//! `match` blocks: their conditions.

use crate::istio::model::scalar::StringMatch;
use crate::istio::model::virtual_service::HttpMatch;
use crate::plan::matcher::{Condition, HeaderCondition};
use crate::plan::{Matcher, Pattern};

use super::Compiler;
use super::route::Rule;

/// Headers by which a client could give itself the rights of an internal one. Envoy removes them from the requests of
/// external clients before it routes (`ConnectionManagerUtility::mutateRequestHeaders`), so no rule can see them.
const REMOVED_AT_THE_EDGE: [&str; 18] = [
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-url",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-decorator-operation",
];

impl Compiler<'_> {
    /// A block as a matcher; `None` if one of its conditions is wrong, which has then been reported.
    pub(super) fn matcher(&mut self, rule: Rule<'_>, block: usize, conditions: &HttpMatch) -> Option<Matcher> {
        let field = |name: &str| rule.path(&format!("match[{block}].{name}"));
        let mut all = Vec::new();
        if let Some(uri) = &conditions.uri {
            let pattern = self.pattern(rule, &field("uri"), uri)?;
            all.push(Condition::Path(if conditions.ignore_uri_case { pattern.ignoring_case() } else { pattern }));
        }
        if let Some(method) = &conditions.method {
            all.push(Condition::Method(self.pattern(rule, &field("method"), method)?));
        }
        if let Some(authority) = &conditions.authority {
            all.push(Condition::Authority(self.pattern(rule, &field("authority"), authority)?));
        }
        for (name, value) in &conditions.headers {
            let path = field(&format!("headers.{name}"));
            let value = self.pattern(rule, &path, value)?;
            all.push(self.header(rule, &path, name, value)?);
        }
        Some(Matcher::new(all))
    }

    /// `headers`: some names are not those of header lines once Envoy has read a request.
    fn header(&mut self, rule: Rule<'_>, path: &str, name: &str, value: Pattern) -> Option<Condition> {
        let lower = name.to_ascii_lowercase();
        Some(match lower.as_str() {
            ":method" => Condition::Method(value),
            ":authority" | "host" => Condition::Authority(value),
            // A gateway overwrites what the client says about it with how the client reached it.
            ":scheme" | "x-forwarded-proto" => Condition::Scheme(value),
            _ if lower.starts_with([':', '@']) => {
                self.problems.push(rule.service.meta.source.error(
                    path,
                    format!("matching on `{name}` is not enforced yet"),
                    "use `uri` for the path",
                ));
                return None;
            }
            removed if REMOVED_AT_THE_EDGE.contains(&removed) => {
                self.problems.push(rule.service.meta.source.warning(
                    path,
                    format!("`{name}` is removed from what clients send before rules are tried: this never matches"),
                    "use a header of another name",
                ));
                return None;
            }
            _ => Condition::Header(HeaderCondition::new(&lower, value)),
        })
    }

    fn pattern(&mut self, rule: Rule<'_>, path: &str, value: &StringMatch) -> Option<Pattern> {
        match value {
            StringMatch::Present => Some(Pattern::Any),
            StringMatch::Exact(text) => Some(Pattern::exact(text)),
            StringMatch::Prefix(text) => Some(Pattern::prefix(text)),
            StringMatch::Regex(text) => Pattern::regex(text)
                .map_err(|bad| {
                    let path = format!("{path}.regex");
                    let problem = rule.service.meta.source.error(&path, format!("`{text}` {bad}"), "RE2 syntax");
                    self.problems.push(problem);
                })
                .ok(),
        }
    }
}

//! `match` blocks: their conditions.

use crate::istio::model::scalar::StringMatch;
use crate::istio::model::virtual_service::HttpMatch;
use crate::plan::matcher::{Condition, HeaderCondition};
use crate::plan::{Matcher, Pattern};

use super::Compiler;
use super::route::Rule;

/// Beginning of the headers by which proxies talk among themselves. What a client sends of them is removed, and must
/// not open a rule to it either: Envoy removes them before it routes (`ConnectionManagerUtility`).
const AMONG_PROXIES: &str = "x-envoy-";

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
            _ if lower.starts_with(AMONG_PROXIES) => {
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
            StringMatch::Regex(text) => self.regex(rule, &format!("{path}.regex"), text),
        }
    }

    /// Equal ones share one program: it is the largest thing in a plan, and takes longest to make.
    fn regex(&mut self, rule: Rule<'_>, path: &str, text: &str) -> Option<Pattern> {
        if let Some(made) = self.regexes.get(text) {
            return Some(made.clone());
        }
        match Pattern::regex(text) {
            Ok(made) => {
                self.regexes.insert(text.to_owned(), made.clone());
                Some(made)
            }
            Err(bad) => {
                self.problems.push(rule.service.meta.source.error(path, format!("`{text}` {bad}"), "RE2 syntax"));
                None
            }
        }
    }
}

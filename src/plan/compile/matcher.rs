//! `match` blocks: their conditions.

use crate::http::forward;
use crate::istio::model::scalar::StringMatch;
use crate::istio::model::virtual_service::HttpMatch;
use crate::plan::matcher::{Condition, HeaderCondition, QueryCondition};
use crate::plan::{Matcher, Pattern};

use super::Compiler;
use super::rule::Rule;

/// The subject of a name under `headers` and `withoutHeaders`.
enum HeaderSubject {
    /// A line of the head.
    Line,
    /// Something else that Envoy keeps among the headers.
    Other(fn(Pattern) -> Condition),
    /// A header that is never forwarded: a client's value must not match a rule either.
    Removed,
}

impl Compiler<'_> {
    /// A block as a matcher; `None` if one of its conditions is wrong or can never hold, which has then been reported.
    pub(super) fn matcher(&mut self, rule: &Rule<'_>, at: usize, block: &HttpMatch) -> Option<Matcher> {
        let field = |name: &str| format!("match[{at}].{name}");
        let mut all = Vec::new();
        // `uri: {}` is no condition.
        if let Some(uri) = block.uri.as_ref().filter(|uri| **uri != StringMatch::Present) {
            let pattern = self.pattern(rule, || field("uri"), uri)?;
            all.push(Condition::Path(if block.ignore_uri_case { pattern.ignoring_case() } else { pattern }));
        }
        if let Some(method) = &block.method {
            all.push(Condition::Method(self.pattern(rule, || field("method"), method)?));
        }
        if let Some(authority) = &block.authority {
            all.push(Condition::Authority(self.pattern(rule, || field("authority"), authority)?));
        }
        if let Some(scheme) = &block.scheme {
            all.push(Condition::Scheme(self.pattern(rule, || field("scheme"), scheme)?));
        }
        for (name, value) in &block.headers {
            let path = || field(&format!("headers[{name}]"));
            let value = self.pattern(rule, path, value)?;
            all.push(match subject(name) {
                HeaderSubject::Line => Condition::Header(HeaderCondition::new(name, value)),
                HeaderSubject::Other(condition) => condition(value),
                HeaderSubject::Removed => {
                    self.is_removed(rule, &path(), name, "never matches");
                    return None;
                }
            });
        }
        for (name, value) in &block.without_headers {
            let path = || field(&format!("withoutHeaders[{name}]"));
            let value = self.pattern(rule, path, value)?;
            match subject(name) {
                HeaderSubject::Line => all.push(Condition::WithoutHeader(HeaderCondition::new(name, value))),
                HeaderSubject::Other(condition) => all.push(Condition::Not(Box::new(condition(value)))),
                HeaderSubject::Removed if matches!(value, Pattern::Any) || !value.matches(b"") => {
                    self.is_removed(rule, &path(), name, "always holds");
                }
                HeaderSubject::Removed => {
                    self.is_removed(rule, &path(), name, "never holds");
                    return None;
                }
            }
        }
        for (name, value) in &block.query_params {
            let value = self.pattern(rule, || field(&format!("queryParams[{name}]")), value)?;
            all.push(Condition::Query(QueryCondition::new(name, value)));
        }
        Some(Matcher::new(all))
    }

    fn is_removed(&mut self, rule: &Rule<'_>, path: &str, name: &str, so: &str) {
        self.problems.push(rule.service.meta.source.warning(
            &rule.path(path),
            format!("\"{name}\" is removed from what clients send before rules are tried: this {so}"),
            "use a header of another name",
        ));
    }

    /// A value's pattern; `path` is its place in the rule. `None` if it is wrong, which has then been reported.
    pub(super) fn pattern(
        &mut self,
        rule: &Rule<'_>,
        path: impl FnOnce() -> String,
        value: &StringMatch,
    ) -> Option<Pattern> {
        match value {
            StringMatch::Present => Some(Pattern::Any),
            StringMatch::Exact(text) => Some(Pattern::exact(text)),
            StringMatch::Prefix(text) => Some(Pattern::prefix(text)),
            StringMatch::Regex(text) => self.regex(rule, path, text),
        }
    }

    /// Equal ones share one program: it is the largest thing in a plan, and takes longest to make.
    fn regex(&mut self, rule: &Rule<'_>, path: impl FnOnce() -> String, text: &str) -> Option<Pattern> {
        if let Some(made) = self.regexes.get(text) {
            return Some(made.clone());
        }
        match Pattern::regex(text) {
            Ok(made) => {
                self.regexes.insert(text.to_owned(), made.clone());
                Some(made)
            }
            Err(bad) => {
                let path = rule.path(&format!("{}.regex", path()));
                self.problems.push(rule.service.meta.source.error(&path, format!("`{text}` {bad}"), bad.write()));
                None
            }
        }
    }
}

/// Some names are not headers in Envoy.
fn subject(name: &str) -> HeaderSubject {
    match name.to_ascii_lowercase().as_str() {
        ":method" => HeaderSubject::Other(Condition::Method),
        ":authority" | "host" => HeaderSubject::Other(Condition::Authority),
        ":path" => HeaderSubject::Other(Condition::Target),
        ":scheme" => HeaderSubject::Other(Condition::Scheme),
        name if forward::is_never_sent(name) => HeaderSubject::Removed,
        _ => HeaderSubject::Line,
    }
}

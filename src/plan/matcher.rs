//! Matchers: the conditions of one `match` block, tested cheap ones first; all must hold.
//!
//! The semantics are those that Envoy gives the config that istiod makes (`HTTPMatchRequest`). Headers are matched as they
//! go upstream (`http::forward`), not as the client sent them. Testing allocates nothing and looks at the head in place.
//! Called by `plan::route` only.

use super::Request;
use super::edits::HeaderName;
use super::pattern::Pattern;
use crate::http::forward::Values;

/// The conditions of one `match` block, all of which must hold; without conditions everything matches.
#[derive(Debug, Clone, Default)]
pub struct Matcher(Box<[Condition]>);

/// One condition on a request.
#[derive(Debug, Clone)]
pub enum Condition {
    /// `uri`: on the normalised path without the query.
    Path(Pattern),
    /// `method`.
    Method(Pattern),
    /// `scheme`.
    Scheme(Pattern),
    /// `authority`: as sent, with its port; case matters.
    Authority(Pattern),
    /// `headers` of the name `:path`: on the normalised path with the query.
    Target(Pattern),
    /// `headers`: some line of that name, as it goes upstream, has a value that the pattern takes.
    Header(HeaderCondition),
    /// `withoutHeaders`: no line of that name has a value that the pattern takes. A missing header is an empty one,
    /// unless the pattern asks for presence.
    WithoutHeader(HeaderCondition),
    /// `queryParams`.
    Query(QueryCondition),
    /// `withoutHeaders` with a name that is not a header's (`:path`): the condition must not hold.
    Not(Box<Condition>),
}

/// The condition on a header's value.
#[derive(Debug, Clone)]
pub struct HeaderCondition {
    name: HeaderName,
    value: Pattern,
}

/// The condition on the first parameter of a name in the query, without decoding; case matters.
#[derive(Debug, Clone)]
pub struct QueryCondition {
    name: Box<[u8]>,
    value: Pattern,
}

impl Matcher {
    /// A matcher for which all of `conditions` must hold.
    #[must_use]
    pub fn new(mut conditions: Vec<Condition>) -> Self {
        conditions.sort_by_key(Condition::cost);
        Self(conditions.into())
    }

    /// In the order in which they are tested.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        &self.0
    }

    /// Whether all conditions hold; `tested` is told of each one tested.
    #[inline]
    pub(super) fn holds(&self, request: &Request<'_>, mut tested: impl FnMut(&Condition, bool)) -> bool {
        self.0.iter().all(|condition| {
            let held = condition.holds(request);
            tested(condition, held);
            held
        })
    }
}

impl Condition {
    /// Whether the request meets it.
    #[must_use]
    #[inline]
    pub fn holds(&self, request: &Request<'_>) -> bool {
        match self {
            Self::Path(pattern) => pattern.matches(request.path),
            Self::Method(pattern) => pattern.matches(request.view.method()),
            Self::Scheme(pattern) => pattern.matches(request.scheme),
            Self::Authority(pattern) => pattern.matches(request.authority),
            Self::Target(pattern) => pattern.matches(request.target),
            Self::Header(header) => header.values(request).any(|value| header.value.matches(value)),
            Self::WithoutHeader(header) => header.is_out(request),
            Self::Query(query) => query.holds(request.query),
            Self::Not(condition) => !condition.holds(request),
        }
    }

    /// The order of testing: a regex costs more than a walk over the headers, that more than a comparison. Paths
    /// come first among the comparisons, because they tell routes apart most often.
    fn cost(&self) -> (bool, bool) {
        match self {
            Self::Path(pattern)
            | Self::Method(pattern)
            | Self::Scheme(pattern)
            | Self::Authority(pattern)
            | Self::Target(pattern) => (pattern.is_regex(), false),
            Self::Header(header) | Self::WithoutHeader(header) => (header.value.is_regex(), true),
            Self::Query(query) => (query.value.is_regex(), true),
            Self::Not(condition) => condition.cost(),
        }
    }
}

impl HeaderCondition {
    /// A condition on the header `name`, in any case.
    #[must_use]
    pub fn new(name: &str, value: Pattern) -> Self {
        Self { name: HeaderName::new(name), value }
    }

    /// The name, lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The pattern, and whether it must match.
    #[must_use]
    pub fn value(&self) -> &Pattern {
        &self.value
    }

    /// The values of all lines of the name, as they go upstream. Each is tested by itself: Envoy 1.40 does not join repeated
    /// lines.
    #[inline]
    pub fn values<'r, 'a>(&'r self, request: &'r Request<'a>) -> Values<'r, 'a> {
        request.view.values(self.name.id(), self.name.as_str())
    }

    fn is_out(&self, request: &Request<'_>) -> bool {
        let mut values = self.values(request).peekable();
        if values.peek().is_none() {
            return matches!(self.value, Pattern::Any) || !self.value.matches(b"");
        }
        !values.any(|value| self.value.matches(value))
    }
}

impl QueryCondition {
    /// A condition on the query parameter `name`.
    #[must_use]
    pub fn new(name: &str, value: Pattern) -> Self {
        Self { name: name.as_bytes().into(), value }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The pattern of the value.
    #[must_use]
    pub fn value(&self) -> &Pattern {
        &self.value
    }

    /// The value of the first parameter of the name; `p` and `p=` are both there, with an empty one (Envoy's
    /// `QueryParamsMulti`).
    #[must_use]
    pub fn value_in<'q>(&self, query: &'q [u8]) -> Option<&'q [u8]> {
        query.split(|byte| *byte == b'&').find_map(|parameter| {
            let (name, value) = match memchr::memchr(b'=', parameter) {
                Some(at) => (&parameter[..at], &parameter[at + 1..]),
                None => (parameter, &b""[..]),
            };
            (name == &*self.name && !parameter.is_empty()).then_some(value)
        })
    }

    fn holds(&self, query: &[u8]) -> bool {
        self.value_in(query).is_some_and(|value| self.value.matches(value))
    }
}

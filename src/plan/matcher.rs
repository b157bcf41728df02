//! Matchers: the conditions of one `match` block, tested cheap ones first; all must hold.
//!
//! The semantics are those that Envoy gives the config that istiod makes (`HTTPMatchRequest`). Testing allocates
//! nothing and looks at the head in place. Called by `plan::Listener::find` only.

use crate::h1::head::Known;

use super::Request;
use super::pattern::Pattern;

/// The conditions of one `match` block, all of which must hold; none: everything matches.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    glance: Glance,
    conditions: Box<[Condition]>,
}

/// Eight bytes of the path that tell most routes apart without a look at their conditions: the last ones of a literal
/// path, because the first ones (`/api/v1/`) are often the same in all rules. The default lets everything through.
#[derive(Debug, Clone, Copy, Default)]
struct Glance {
    /// Where in the path the eight bytes begin.
    start: u32,
    /// Whether a path that ends before the eight bytes do cannot match.
    needs_all: bool,
    want: u64,
    /// Which of the bytes count; 0 lets everything through.
    mask: u64,
}

impl Glance {
    fn of(conditions: &[Condition]) -> Self {
        let text = conditions.iter().find_map(|condition| match condition {
            Condition::Path(Pattern::Exact(text) | Pattern::Prefix(text)) => Some(text),
            _ => None,
        });
        let Some(text) = text else { return Self::default() };
        let start = text.len().saturating_sub(8);
        let (mut want, mut mask) = ([0; 8], [0; 8]);
        for ((want, mask), byte) in want.iter_mut().zip(&mut mask).zip(&text[start..]) {
            (*want, *mask) = (*byte, 0xff);
        }
        Self {
            start: start as u32,
            needs_all: text.len() >= 8,
            want: u64::from_le_bytes(want),
            mask: u64::from_le_bytes(mask),
        }
    }

    /// Whether a request for this path may match; `false` is certain.
    #[inline]
    fn passes(&self, path: &[u8]) -> bool {
        match path.get(self.start as usize..).and_then(|rest| rest.first_chunk::<8>()) {
            Some(bytes) => u64::from_le_bytes(*bytes) & self.mask == self.want,
            None => !self.needs_all,
        }
    }
}

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
    /// `headers`.
    Header(HeaderCondition),
}

/// A condition on a header: some line of that name has a value that the pattern takes.
#[derive(Debug, Clone)]
pub struct HeaderCondition {
    name: Box<str>,
    id: Known,
    value: Pattern,
}

impl Matcher {
    /// A matcher for which all of `conditions` must hold.
    #[must_use]
    pub fn new(mut conditions: Vec<Condition>) -> Self {
        conditions.sort_by_key(Condition::cost);
        Self { glance: Glance::of(&conditions), conditions: conditions.into() }
    }

    /// In the order in which they are tested.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Whether all conditions may hold: `false` is certain, and far cheaper than [`Matcher::holds`].
    #[inline]
    pub(super) fn may_hold(&self, request: &Request<'_>) -> bool {
        self.glance.passes(request.path)
    }

    /// Whether all conditions hold; `tested` is told of each one tested.
    #[inline]
    pub(super) fn holds(&self, request: &Request<'_>, mut tested: impl FnMut(&Condition, bool)) -> bool {
        self.conditions.iter().all(|condition| {
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
            Self::Method(pattern) => pattern.matches(request.head.method_span.of(request.buf)),
            Self::Scheme(pattern) => pattern.matches(request.scheme),
            Self::Authority(pattern) => pattern.matches(request.authority),
            Self::Header(header) => header.holds(request),
        }
    }

    /// The order of testing: a regex costs more than a walk over the headers, that more than a comparison. Paths
    /// come first among the comparisons, because they tell routes apart most often.
    fn cost(&self) -> (bool, bool) {
        match self {
            Self::Path(pattern) | Self::Method(pattern) | Self::Scheme(pattern) | Self::Authority(pattern) => {
                (pattern.is_regex(), false)
            }
            Self::Header(header) => (header.value.is_regex(), true),
        }
    }
}

impl HeaderCondition {
    /// A condition on the header `name`, in any case.
    #[must_use]
    pub fn new(name: &str, value: Pattern) -> Self {
        let name = name.to_ascii_lowercase();
        Self { id: Known::of(name.as_bytes()), name: name.into(), value }
    }

    /// The name, lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the value must be like.
    #[must_use]
    pub fn value(&self) -> &Pattern {
        &self.value
    }

    /// Each line is tested by itself and any suffices: Envoy 1.40 does not join repeated lines.
    fn holds(&self, request: &Request<'_>) -> bool {
        // These two ids stand for many names.
        let shared = matches!(self.id, Known::Other | Known::XEnvoy);
        request.head.headers.iter().filter(|line| line.id == self.id).any(|line| {
            (!shared || line.name.of(request.buf).eq_ignore_ascii_case(self.name.as_bytes()))
                && self.value.matches(line.value.of(request.buf))
        })
    }
}

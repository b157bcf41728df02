//! The action of a route: forward the request, redirect the client, or respond directly.
//!
//! Plain data and the draw among weighted destinations; carrying it out is `proxy`'s.

use std::time::Duration;

use bytes::Bytes;

use crate::base::id::ClusterId;
use crate::base::re2::Regex;
use crate::base::rng::Rng;
use crate::policy::fault::Fault;
use crate::policy::hashing::key::Key;
use crate::policy::retry::RetryPolicy;
use crate::policy::share::FractionalPercent;

use super::edits::HeaderEdits;
use super::pattern::Pattern;

/// The action of a route.
#[derive(Debug, Clone)]
pub enum Action {
    /// `route`: send it to one of the destinations.
    Forward(Forward),
    /// `redirect`.
    Redirect(Redirect),
    /// `directResponse`; also the mesh listener's `block_all` (REGISTRY_ONLY): 502 without a body.
    Direct(DirectResponse),
    /// The mesh listener's `allow_any`: to wherever the request's authority resolves to.
    Passthrough,
}

/// `route`, and the changes to its requests.
#[derive(Debug, Clone)]
pub struct Forward {
    /// Where to.
    pub destinations: Destinations,
    /// `rewrite.uri` or `rewrite.uriRegexRewrite`.
    pub rewrite: Option<PathRewrite>,
    /// `consistentHash` of the destinations that have it, in their order: Istio hashes by all of them together,
    /// whichever is drawn.
    pub hash_keys: Box<[Key]>,
    /// `fault`: comes before everything else that is done to the request.
    pub fault: Option<Box<Fault>>,
    /// `timeout`: from the last byte of the request to the last of the response, all attempts together; `None`: no
    /// timeout.
    pub timeout: Option<Duration>,
    /// The retry policy; `None`: no retries.
    pub retry: Option<Box<RetryPolicy>>,
    /// `mirror`, `mirrors`: copies of the request go there, too. Mirrors with a share of 0 are left out.
    pub mirrors: Box<[Mirror]>,
}

impl Forward {
    /// Forwards to these, without changes.
    #[must_use]
    pub fn to(destinations: Destinations) -> Self {
        Self {
            destinations,
            rewrite: None,
            hash_keys: Box::default(),
            fault: None,
            timeout: None,
            retry: None,
            mirrors: Box::default(),
        }
    }
}

/// A mirror of requests, and the use of its responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Where to.
    pub target: Target,
    /// Of which requests.
    pub share: FractionalPercent,
    /// Whether the answers are compared with the client's (annotation `ringway.dev/mirror-compare`).
    pub compare: Compare,
}

/// How much of a mirror's answer is compared with the answer that the client gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compare {
    /// The response is read and discarded.
    #[default]
    Nothing,
    /// The status.
    Status,
    /// The status and a digest of the body.
    StatusAndBody,
}

/// A new path for the one that matched. The query is kept and never looked at.
#[derive(Debug, Clone)]
pub enum PathRewrite {
    /// Replaces the prefix of a `prefix` match, or without one the `/` that every path begins with.
    Prefix {
        /// Bytes of the path that are replaced.
        matched: usize,
        /// The new prefix. Slashes are not corrected; if it is empty, the rest of the path begins with one.
        with: Box<[u8]>,
    },
    /// Of an `exact` or `regex` match: the whole path is replaced.
    Whole(Box<[u8]>),
    /// `uriRegexRewrite`: every match in the path is replaced, from left to right (RE2's `GlobalReplace`).
    Regex {
        /// The pattern, which may match anywhere in the path.
        pattern: Box<Regex>,
        /// By these.
        with: Box<[Piece]>,
    },
}

/// A piece of the text that replaces a regex match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Literal(Box<[u8]>),
    /// The text of the group of this number, empty if it did not match; 0 is the whole match.
    Group(usize),
}

/// `redirect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// `scheme`; `None`: the request's.
    pub scheme: Option<&'static str>,
    /// `authority`, which replaces the request's host and port; `None`: the request's.
    pub authority: Option<Box<str>>,
    /// `port`, which replaces the authority's; `None`: unchanged. Ports that the scheme implies are `None`, and so is
    /// `derivePort: FROM_PROTOCOL_DEFAULT`; `FROM_REQUEST_PORT` is the listener's (as in istiod).
    pub port: Option<u16>,
    /// `uri` or `prefixRewrite`; `None`: the request's path.
    pub path: Option<RedirectPath>,
    /// `redirectCode`: 301, 302, 303, 307 or 308.
    pub code: u16,
}

/// A new path for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectPath {
    /// `uri`: replaces the path; with a `?` in it also the query, which is kept otherwise.
    Whole(Box<[u8]>),
    /// `prefixRewrite`: replaces the matched prefix of the path. The query is kept.
    Prefix {
        /// Bytes of the path that are replaced.
        matched: usize,
        /// By these.
        with: Box<[u8]>,
    },
}

/// `directResponse`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectResponse {
    /// `status`.
    pub status: u16,
    /// `body`; may be empty.
    pub body: Bytes,
}

/// `corsPolicy`. A preflight is an OPTIONS request with `Origin` and `Access-Control-Request-Method`.
#[derive(Debug, Clone)]
pub struct Cors {
    /// `allowOrigins`: any of these.
    pub allow_origins: Box<[Pattern]>,
    /// `allowMethods`, joined with commas; empty: not said.
    pub allow_methods: Box<str>,
    /// `allowHeaders`, joined with commas; empty: not said.
    pub allow_headers: Box<str>,
    /// `exposeHeaders`, joined with commas; empty: not said.
    pub expose_headers: Box<str>,
    /// `maxAge` in seconds.
    pub max_age: Option<u64>,
    /// `allowCredentials`.
    pub allow_credentials: bool,
    /// `unmatchedPreflights`.
    pub unmatched_preflights: UnmatchedPreflights,
}

/// The handling of a preflight whose origin is not allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnmatchedPreflights {
    /// It is forwarded to the upstream.
    #[default]
    Forward,
    /// It is answered here, without `access-control-allow-origin`.
    Ignore,
}

/// The weighted destinations of a route; never empty.
#[derive(Debug, Clone)]
pub struct Destinations {
    /// The destination for the rest of the draw; most routes have no other.
    last: Destination,
    others: Box<[Destination]>,
    total: u64,
}

/// One destination and its share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Where to.
    pub target: Target,
    /// `weight`, relative to the other destinations'.
    pub weight: u32,
    /// The route's `headers` with the destination's over them: all that is to be done, of both.
    pub headers: HeaderEdits,
    /// The `Host` to send: `rewrite.authority`, else the route's `headers.request` for `host`, else the destination's.
    pub authority: Option<Box<str>>,
}

/// A destination's cluster, decided at compile time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A cluster of the plan.
    Known(ClusterId),
    /// The name of a cluster that the configuration does not define.
    Missing(Box<str>),
}

impl Destination {
    /// All requests to `target`, unchanged.
    #[must_use]
    pub fn plain(target: Target) -> Self {
        Self { target, weight: 1, headers: HeaderEdits::default(), authority: None }
    }
}

impl Destinations {
    /// From a rule's `route` list, by Istio's rules: a single destination gets all requests whatever its weight; among
    /// several, destinations of weight 0 are left out. `None` if there are none left.
    #[must_use]
    pub fn new(mut list: Vec<Destination>) -> Option<Self> {
        if list.len() > 1 {
            list.retain(|destination| destination.weight > 0);
        }
        let last = list.pop()?;
        let total = list.iter().chain([&last]).map(|destination| u64::from(destination.weight)).sum();
        Some(Self { last, others: list.into(), total })
    }

    /// Everything to one.
    #[must_use]
    pub fn only(destination: Destination) -> Self {
        Self { total: u64::from(destination.weight), last: destination, others: Box::default() }
    }

    /// One of them, each with a probability proportional to its weight.
    #[must_use]
    #[inline]
    pub fn pick(&self, rng: &mut Rng) -> &Destination {
        if self.others.is_empty() {
            return &self.last;
        }
        let mut point = rng.below(self.total);
        for destination in &self.others {
            match point.checked_sub(u64::from(destination.weight)) {
                None => return destination,
                Some(rest) => point = rest,
            }
        }
        &self.last
    }

    /// All of them, in the order of the document.
    pub fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.others.iter().chain([&self.last])
    }

    /// The sum of the weights.
    #[must_use]
    pub fn total_weight(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(name: &str, weight: u32) -> Destination {
        Destination { weight, ..Destination::plain(Target::Missing(name.into())) }
    }

    fn names(destinations: &Destinations) -> Vec<&str> {
        destinations
            .iter()
            .map(|d| match &d.target {
                Target::Missing(name) => &**name,
                Target::Known(_) => "known",
            })
            .collect()
    }

    #[test]
    fn one_destination_gets_everything_whatever_its_weight() {
        for weight in [0, 1, 100] {
            let one = Destinations::new(vec![to("a", weight)]).expect("one is left");
            assert_eq!(one.pick(&mut Rng::seeded(1)), &to("a", weight));
        }
    }

    #[test]
    fn zero_weights_are_left_out_among_several() {
        let left = Destinations::new(vec![to("a", 0), to("b", 3), to("c", 0), to("d", 1)]).expect("two are left");
        assert_eq!((names(&left), left.total_weight()), (vec!["b", "d"], 4));
        assert!(Destinations::new(vec![to("a", 0), to("b", 0)]).is_none());
        assert!(Destinations::new(Vec::new()).is_none());
    }

    #[test]
    fn weights_need_not_sum_to_a_hundred() {
        // 40,000 draws of 1:2:5; the bound is 5 standard deviations of a binomial, missed once in 1.7 million seeds.
        let split = Destinations::new(vec![to("a", 1), to("b", 2), to("c", 5)]).expect("three are left");
        let (mut rng, draws) = (Rng::seeded(42), 40_000_u32);
        let mut seen = [0_u32; 3];
        for _ in 0..draws {
            let weight = split.pick(&mut rng).weight;
            seen[[1, 2, 5].iter().position(|w| *w == weight).expect("one of the three")] += 1;
        }
        for (count, weight) in seen.into_iter().zip([1.0, 2.0, 5.0]) {
            let (n, p) = (f64::from(draws), weight / 8.0);
            let bound = 5.0 * (n * p * (1.0 - p)).sqrt();
            assert!((f64::from(count) - n * p).abs() < bound, "{count} of {draws} for weight {weight}");
        }
    }

    #[test]
    fn huge_weights_do_not_overflow() {
        let split = Destinations::new(vec![to("a", u32::MAX); 3]).expect("three are left");
        assert_eq!(split.total_weight(), 3 * u64::from(u32::MAX));
        let _ = split.pick(&mut Rng::seeded(1));
    }
}

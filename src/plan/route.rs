//! Routes: a matcher, what to do when it holds, and where in the YAML it came from.
//!
//! Plain data and the draw among weighted destinations. It must never look at a request itself: that is the
//! matcher's. Called by `plan::Plan::route` and, for printing, by `explain` and the admin pages.

use std::fmt;
use std::sync::Arc;

use crate::base::id::ClusterId;
use crate::base::rng::Rng;

use super::ClusterRef;
use super::matcher::{Condition, Matcher};

/// One host name (or wildcard) of a listener, with the routes of every VirtualService that has it.
#[derive(Debug, Clone)]
pub struct VirtualHost {
    /// The host name, lower case: `httpbin.example.com`, `*.example.com` or `*`.
    pub name: String,
    /// In the order in which they are tried.
    pub routes: Vec<Route>,
}

/// One `http` rule of a VirtualService with one of its `match` blocks.
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
}

/// Where in the configuration a route is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file, as it was named on the command line.
    pub file: Arc<str>,
    /// The line of the rule, from 1.
    pub line: u32,
    /// `VirtualService/namespace/name`.
    pub resource: Arc<str>,
    /// Position in the document's `spec.http`, from 0.
    pub rule: usize,
    /// Position in that rule's `match`, from 0; `None` if it has none.
    pub block: Option<usize>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: http[{}]", self.file, self.line, self.resource, self.rule)?;
        self.block.map_or(Ok(()), |block| write!(f, ".match[{block}]"))
    }
}

/// What a route does with a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// `route`: send it to one of these.
    Forward(Destinations),
}

/// The weighted destinations of a route; never empty.
#[derive(Debug, Clone)]
pub struct Destinations {
    /// The one that takes what the others leave; most routes have no other.
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
}

/// A destination's cluster, decided at compile time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A cluster of the plan.
    Known(ClusterId),
    /// The name of a cluster that the configuration does not define.
    Missing(Box<str>),
}

impl Target {
    /// The same, borrowed.
    #[must_use]
    pub fn as_cluster(&self) -> ClusterRef<'_> {
        match self {
            Self::Known(id) => ClusterRef::Known(*id),
            Self::Missing(name) => ClusterRef::Missing(name),
        }
    }
}

impl Destinations {
    /// From a rule's `route` list, by Istio's rules: a single destination gets everything whatever its weight; among
    /// several, those of weight 0 are left out. `None` if nothing is left.
    #[must_use]
    pub fn new(mut list: Vec<Destination>) -> Option<Self> {
        if list.len() > 1 {
            list.retain(|destination| destination.weight > 0);
        }
        let last = list.pop()?;
        let total = list.iter().chain([&last]).map(|destination| u64::from(destination.weight)).sum();
        Some(Self { last, others: list.into(), total })
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

    fn to(name: &str, weight: u32) -> Destination {
        Destination { target: Target::Missing(name.into()), weight }
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

    #[test]
    fn origin_reads_like_a_problem() {
        let mut origin = Origin {
            file: "a.yaml".into(),
            line: 7,
            resource: "VirtualService/default/x".into(),
            rule: 2,
            block: Some(1),
        };
        assert_eq!(origin.to_string(), "a.yaml:7: VirtualService/default/x: http[2].match[1]");
        origin.block = None;
        assert_eq!(origin.to_string(), "a.yaml:7: VirtualService/default/x: http[2]");
    }
}

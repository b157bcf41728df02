//! `DestinationRule` (Istio `networking/v1alpha3/destination_rule.proto`): subsets of a service and how to call it.

use super::{Labels, Meta};

/// A DestinationRule document.
#[derive(Debug, Clone)]
pub struct DestinationRule {
    /// Name, namespace, place.
    pub meta: Meta,
    /// `host`; in the world expanded and lower-case. May be `*.suffix` or `*`.
    pub host: String,
    /// `trafficPolicy`: of every subset that does not override it.
    pub traffic_policy: TrafficPolicy,
    /// `subsets`, in order; names are unique.
    pub subsets: Vec<Subset>,
}

/// A named part of a service's endpoints.
#[derive(Debug, Clone)]
pub struct Subset {
    /// `name`.
    pub name: String,
    /// `labels` that an endpoint must have; empty: every endpoint.
    pub labels: Labels,
    /// `trafficPolicy`: each block that is set here replaces the rule's whole block.
    pub traffic_policy: TrafficPolicy,
}

/// `trafficPolicy`: a block that was not written is `None`, which is not the same as its defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// `loadBalancer`.
    pub load_balancer: Option<SimpleLb>,
}

/// `loadBalancer.simple`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SimpleLb {
    /// `LEAST_REQUEST`, also `UNSPECIFIED` and the old `LEAST_CONN`.
    #[default]
    LeastRequest,
    /// `ROUND_ROBIN`.
    RoundRobin,
    /// `RANDOM`.
    Random,
}

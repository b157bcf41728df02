//! How the members of a cluster are found: Envoy's cluster types.
//!
//! Most clusters have their members in the configuration. A ServiceEntry with host names gets them from DNS, which
//! changes while the plan stays: control resolves the names and makes a [`Cluster`] with the current members, by the
//! same rules that sort configured endpoints into priorities and localities.

use std::sync::Arc;

use super::compile::lb_locality::{self as locality, Here, Placed};
use super::{Cluster, Endpoint};
use crate::base::endpoint::EndpointAddress;
use crate::istio::model::destination_rule::LocalityLb;
pub use crate::istio::model::dns::{Dns, HostAddress};
pub use crate::istio::model::workload_entry::Address;
pub use crate::istio::model::{Labels, Locality};
use crate::policy::balance::{LoadBalancing, Policy, Warmup};

/// Most addresses of one name that become endpoints: an answer can have thousands, and every core keeps a pool and
/// counters for each.
pub const MOST_ADDRESSES: usize = 1024;

/// How the members of a cluster are found.
#[derive(Debug, Clone, PartialEq)]
pub enum Discovery {
    /// They are written down.
    Static,
    /// By host names, which are resolved.
    Names {
        /// The names, and the use of their addresses.
        names: Arc<Names>,
        /// The name of each of the cluster's endpoints, in their order.
        hostnames: Box<[Arc<str>]>,
    },
    /// No members: a request goes to the addresses of its own authority.
    Authority(OwnAuthority),
}

/// The members of a cluster of host names.
#[derive(Debug, Clone, PartialEq)]
pub struct Names {
    /// Which addresses of a name count.
    pub kind: NameKind,
    /// Whom the ServiceEntry names, in order.
    pub named: Box<[Named]>,
    /// How the members are spread over.
    pub recipe: Recipe,
}

/// Which addresses of a name count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// `resolution: DNS` (STRICT_DNS): every one is an endpoint.
    Every,
    /// `resolution: DNS_ROUND_ROBIN` (LOGICAL_DNS): new connections go to the first address, and existing ones stay.
    First,
}

/// One entry of `endpoints`, or a host without any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name, or an address next to names.
    pub address: Address,
    /// Where it listens.
    pub port: u16,
    /// The weight of each of its addresses.
    pub weight: u32,
    /// Where it runs.
    pub locality: Locality,
    /// Its labels.
    pub labels: Labels,
}

/// `resolution: NONE` and `DYNAMIC_DNS`, and `outboundTrafficPolicy.mode: ALLOW_ANY_DYNAMIC_DNS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnAuthority {
    /// The host of the ServiceEntry, which must cover the request's: an exact name or `*.suffix`; or `*`.
    pub host: Box<str>,
    /// The port to go to; `None`: the authority's.
    pub port: Option<u16>,
    /// Whether requests of gateways may go there too. With `resolution: NONE` they are where their client sent them
    /// already.
    pub at_gateways: bool,
}

/// The settings that sort members into priorities and localities.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// `trafficPolicy.loadBalancer`.
    pub policy: Policy,
    /// `trafficPolicy.loadBalancer.warmup`.
    pub warmup: Option<Warmup>,
    /// `localityLbSetting` that holds.
    pub(super) locality: Option<LocalityLb>,
    /// Whether there is an `outlierDetection`, without which there is no failover.
    pub(super) ejects: bool,
    /// Where the proxy is, and its labels.
    pub(super) here: (Locality, Labels),
}

/// A member before it is put anywhere.
#[derive(Debug, Clone)]
pub(super) struct Found<'a> {
    pub(super) address: EndpointAddress,
    pub(super) placed: Placed<'a>,
    /// The name that it was found by.
    pub(super) hostname: &'a str,
}

impl Recipe {
    /// One group for all, wherever they are.
    #[must_use]
    pub fn even(policy: Policy) -> Self {
        Self { policy, warmup: None, locality: None, ejects: false, here: (Locality::default(), Labels::new()) }
    }

    /// The members sorted by address, and how requests are spread over them; with the name of each.
    pub(super) fn members(&self, mut found: Vec<Found<'_>>) -> (Vec<Endpoint>, LoadBalancing, Box<[Arc<str>]>) {
        found.sort_by(|one, other| one.address.cmp(&other.address));
        found.dedup_by(|one, other| one.address == other.address);
        let here = Here { locality: &self.here.0, labels: &self.here.1 };
        let placed: Vec<Placed<'_>> = found.iter().map(|found| found.placed).collect();
        let mut levels = locality::levels(self.locality.as_ref(), self.ejects, here, &placed);
        // A member outside of all groups gets no requests, and is left out.
        let mut kept: Vec<u32> = levels.iter().flatten().flat_map(|group| &group.members).copied().collect();
        kept.sort_unstable();
        for group in levels.iter_mut().flatten() {
            for member in &mut group.members {
                *member = kept.partition_point(|at| at < member) as u32;
            }
        }
        let kept = || kept.iter().filter_map(|at| found.get(*at as usize));
        let members: Vec<(EndpointAddress, u32)> =
            kept().map(|found| (found.address.clone(), found.placed.weight)).collect();
        let spread = LoadBalancing::new(self.policy, self.warmup, &members, levels);
        let endpoints = kept().map(|Found { address, placed, .. }| Endpoint {
            address: address.clone(),
            weight: placed.weight,
            locality: placed.locality.clone(),
        });
        (endpoints.collect(), spread, kept().map(|found| found.hostname.into()).collect())
    }
}

impl Names {
    /// The names that are to be resolved; one may come up several times.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.iter().filter_map(|named| match &named.address {
            Address::Name(name) => Some(name.as_str()),
            Address::Ip(_) | Address::Unix(_) => None,
        })
    }

    /// `cluster`, which has these names, with their current members. `answers` gives the addresses of a name; empty:
    /// unknown.
    #[must_use]
    pub fn resolved<'a>(self: &Arc<Self>, cluster: &Cluster, answers: impl Fn(&str) -> &'a [HostAddress]) -> Cluster {
        let mut found = Vec::new();
        for named in &self.named {
            let placed = Placed { locality: &named.locality, labels: &named.labels, weight: named.weight };
            match &named.address {
                Address::Ip(ip) => {
                    found.push(Found { address: (*ip, named.port).into(), placed, hostname: "" });
                }
                Address::Unix(path) => {
                    found.push(Found { address: EndpointAddress::Unix(path.clone()), placed, hostname: "" });
                }
                Address::Name(name) => found.extend(answers(name).iter().take(MOST_ADDRESSES).map(|answer| Found {
                    address: answer.at(named.port).into(),
                    placed,
                    hostname: name,
                })),
            }
        }
        if self.kind == NameKind::First {
            found.truncate(1);
        }
        let (endpoints, spread, hostnames) = self.recipe.members(found);
        let discovery = Discovery::Names { names: self.clone(), hostnames };
        Cluster { endpoints, spread, discovery, ..cluster.clone() }
    }
}

impl OwnAuthority {
    /// Whether a request for `host`, which has no port, may go to its own host. Letters may have any case, and a final
    /// dot does not matter.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self.host.strip_prefix('*') {
            Some(suffix) => {
                let start = host.len().checked_sub(suffix.len()).filter(|start| *start > 0);
                start.and_then(|start| host.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            }
            None => host.eq_ignore_ascii_case(&self.host),
        }
    }
}

impl Discovery {
    /// The host names behind the cluster, if there are any.
    #[must_use]
    pub fn names(&self) -> Option<&Arc<Names>> {
        match self {
            Self::Names { names, .. } => Some(names),
            Self::Static | Self::Authority(_) => None,
        }
    }

    /// The name that an endpoint was resolved from; empty: without a name.
    #[must_use]
    pub fn hostname(&self, endpoint: usize) -> &str {
        match self {
            Self::Names { hostnames, .. } => hostnames.get(endpoint).map_or("", |name| name),
            Self::Static | Self::Authority(_) => "",
        }
    }
}

#[cfg(test)]
mod tests;

//! `localityLbSetting`: which localities' endpoints take the load.

use std::collections::BTreeSet;

use crate::istio::reader::{Item, Message, Object, enforced};

/// `localityLbSetting`, of a rule or of the mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalityLb {
    /// `enabled`; `None`: enabled.
    pub enabled: Option<bool>,
    /// `distribute`, in order: the first whose `from` matches the proxy's locality. Excludes `failover`.
    pub distribute: Vec<Distribute>,
    /// `failover`, in order.
    pub failover: Vec<Failover>,
    /// `failoverPriority`: label names (`topology.istio.io/network`), or `name=value`.
    pub failover_priority: Vec<String>,
}

/// One entry of `distribute`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribute {
    /// `from`: `region/zone/subzone`, shortened at its end, perhaps with `*` last.
    pub from: String,
    /// `to`, sorted: such localities with their percentages, 100 together.
    pub to: Vec<(String, u32)>,
}

/// One entry of `failover`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    /// `from`: a region.
    pub from: String,
    /// `to`: another region.
    pub to: String,
}

const LOCALITY_LB: Message = Message {
    name: "LocalityLoadBalancerSetting",
    fields: &[enforced("distribute"), enforced("failover"), enforced("failoverPriority"), enforced("enabled")],
};

const DISTRIBUTE: Message = Message { name: "Distribute", fields: &[enforced("from"), enforced("to")] };

const FAILOVER: Message = Message { name: "Failover", fields: &[enforced("from"), enforced("to")] };

/// The tables of this file.
pub(super) const MESSAGES: &[&Message] = &[&LOCALITY_LB, &DISTRIBUTE, &FAILOVER];

/// Labels that say where a workload is, which `failover` orders by already.
const TOPOLOGY: &[&str] =
    &["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];

/// Reads `localityLbSetting`. Failing over needs something that finds endpoints failing.
pub(in crate::istio) fn read(item: &Item<'_>, has_outlier_detection: bool) -> Option<LocalityLb> {
    let object = item.object(&LOCALITY_LB)?;
    let distribute: Vec<_> = object.list("distribute").iter().filter_map(distribute).collect();
    let failover: Vec<_> = object.list("failover").iter().filter_map(failover).collect();
    let failover_priority = object.get("failoverPriority").map(|item| item.strings()).unwrap_or_default();
    if !distribute.is_empty() && !failover.is_empty() {
        item.error("has both \"distribute\" and \"failover\"", "keep one of them");
    }
    if let (false, Some(label)) =
        (failover.is_empty(), failover_priority.iter().find(|label| TOPOLOGY.contains(&label.as_str())))
    {
        item.error(format!("has both \"failover\" and the label \"{label}\" under \"failoverPriority\""), "keep one");
    }
    if (!failover.is_empty() || !failover_priority.is_empty()) && !has_outlier_detection {
        item.warn("fails over only with an outlierDetection beside it", "Istio does nothing without");
    }
    let known = distribute.iter().map(|entry| entry.from.as_str());
    check_overlaps(&object, "distribute", known.filter(|from| !from.is_empty() || !object.is_damaged("distribute")));
    let enabled = object.get("enabled").and_then(|item| item.bool());
    Some(LocalityLb { enabled, distribute, failover, failover_priority })
}

fn distribute(item: &Item<'_>) -> Option<Distribute> {
    let object = item.object(&DISTRIBUTE)?;
    let from = object.text("from");
    let mut to = Vec::new();
    for (place, share) in object.get("to").map(|item| item.data_map()).unwrap_or_default() {
        to.extend(share.whole(1, 100).map(|share| (place.to_owned(), share)));
    }
    to.sort();
    let sum: u32 = to.iter().map(|(_, share)| *share).sum();
    if sum != 100 && !object.is_damaged("to") {
        item.error(format!("the shares under \"to\" sum to {sum}"), "make them sum to 100");
        return None;
    }
    check_overlaps(&object, "to", to.iter().map(|(place, _)| place.as_str()));
    Some(Distribute { from, to })
}

fn failover(item: &Item<'_>) -> Option<Failover> {
    let object = item.object(&FAILOVER)?;
    let region = |name| {
        let item = object.required(name)?;
        let region = item.nonempty_string()?;
        if region.contains(['/', '*']) {
            item.error(format!("\"{region}\" is not a region"), "write its name alone");
            return None;
        }
        Some(region.to_owned())
    };
    let (from, to) = (region("from"), region("to"));
    if from.is_some() && from == to {
        item.error("fails over from a region to itself", "name another region under \"to\"");
    }
    Some(Failover { from: from?, to: to? })
}

/// Localities of one list must be well formed, and none may contain another (Istio's `validateLocalities`).
fn check_overlaps<'p>(object: &Object<'_>, field: &str, places: impl Iterator<Item = &'p str>) {
    let Some(item) = object.get(field) else { return };
    let mut taken: BTreeSet<Vec<&str>> = BTreeSet::new();
    for place in places {
        let wildcards = place.matches('*').count();
        if wildcards > 1 || wildcards == 1 && !place.ends_with('*') {
            item.error(format!("locality \"{place}\" may have one \"*\", at its end"), "");
        }
        let mut parts: Vec<_> = place.splitn(3, '/').collect();
        if parts.contains(&"") {
            item.error(format!("locality \"{place}\" has an empty part"), "write region/zone/subzone");
            continue;
        }
        // `region/*` is all of the region, as `region` alone is.
        while parts.last() == Some(&"*") {
            parts.pop();
        }
        if taken.iter().any(|other| other.starts_with(&parts) || parts.starts_with(other)) {
            item.error(format!("locality \"{place}\" overlaps with another one"), "keep one of them");
        }
        taken.insert(parts);
    }
}

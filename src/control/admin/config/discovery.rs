//! How clusters find their members, and how names are resolved.

use serde_json::{Value, json};

use super::{address, duration, endpoint_address};
use crate::base::endpoint::EndpointAddress;
use crate::istio::model::Locality;
use crate::plan::{Address, Cluster, Discovery, Dns, HostAddress, NameKind, Named, Names};

/// The names of a cluster in place of its current members, which change while the plan does not.
pub(super) fn members(shown: &mut Value, cluster: &Cluster) {
    match &cluster.discovery {
        Discovery::Static => {}
        Discovery::Names { names, .. } => {
            shown["type"] = match names.kind {
                NameKind::Every => "STRICT_DNS",
                NameKind::First => "LOGICAL_DNS",
            }
            .into();
            shown["respect_dns_ttl"] = true.into();
            shown["load_assignment"] = json!({"cluster_name": cluster.name, "endpoints": named(names)});
        }
        Discovery::Authority(own) => {
            if let Some(shown) = shown.as_object_mut() {
                shown.remove("load_assignment");
                shown.remove("type");
            }
            if own.at_gateways {
                shown["cluster_type"] = json!({"name": "envoy.clusters.dynamic_forward_proxy"});
            } else {
                shown["type"] = "ORIGINAL_DST".into();
            }
            shown["host"] = (*own.host).into();
            if let Some(port) = own.port {
                shown["port"] = port.into(); // the ServiceEntry's own, and not the one that a request was sent to
            }
        }
    }
}

fn named(names: &Names) -> Vec<Value> {
    names.named.iter().map(entry).collect()
}

fn entry(named: &Named) -> Value {
    let host = match &named.address {
        Address::Ip(ip) => address((*ip, named.port).into()),
        Address::Unix(path) => endpoint_address(&EndpointAddress::Unix(path.clone())),
        Address::Name(name) => json!({"socket_address": {"address": name, "port_value": named.port}}),
    };
    let Locality { region, zone, subzone } = &named.locality;
    let mut shown = json!({
        "lb_endpoints": [{"endpoint": {"address": host}, "load_balancing_weight": named.weight}],
    });
    if !named.locality.is_empty() {
        shown["locality"] = json!({"region": region, "zone": zone, "sub_zone": subzone});
    }
    shown
}

/// `spec.dns`, where there is one.
pub(super) fn dns(dns: &Dns) -> Option<Value> {
    let written = |address: &HostAddress| match address.port {
        Some(port) => address.at(port).to_string(),
        None => address.ip.to_string(),
    };
    let hosts = dns.hosts.iter().map(|(name, addresses)| {
        let addresses: Vec<String> = addresses.iter().map(written).collect();
        (name.clone(), json!(addresses))
    });
    (*dns != Dns::default()).then(|| {
        json!({
            "servers": dns.servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "timeout": dns.timeout.map(duration),
            "attempts": dns.attempts,
            "hosts": hosts.collect::<serde_json::Map<_, _>>(),
        })
    })
}

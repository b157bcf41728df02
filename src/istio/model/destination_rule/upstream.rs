//! The fields of a policy for the start of connections: `tunnel`, `proxyProtocol`. They are not enforced yet, but
//! checked.

use crate::istio::model::scalar::host;
use crate::istio::reader::{Item, Message, Object, not_yet};

const TUNNEL: Message =
    Message { name: "TunnelSettings", fields: &[not_yet("protocol"), not_yet("targetHost"), not_yet("targetPort")] };

const PROXY_PROTOCOL: Message = Message { name: "ProxyProtocol", fields: &[not_yet("version")] };

/// The tables of this file.
pub(super) const MESSAGES: &[&Message] = &[&TUNNEL, &PROXY_PROTOCOL];

/// Checks these fields of a policy.
pub(super) fn check(policy: &Object<'_>) {
    policy.verify("tunnel", tunnel);
    policy
        .verify("proxyProtocol", |item| item.outline(&PROXY_PROTOCOL)?.get("version")?.one_of(&["V1", "V2"]).map(drop));
    if let (Some(_), Some(item)) = (policy.get("tunnel"), policy.get("proxyProtocol")) {
        item.error("stands beside \"tunnel\"", "keep one of them");
    }
}

fn tunnel(item: &Item<'_>) -> Option<()> {
    let object = item.outline(&TUNNEL)?;
    object.verify("protocol", |item| item.one_of(&["CONNECT", "POST"]));
    object.required("targetPort").and_then(|item| item.port());
    let target = object.required("targetHost")?;
    let name = target.string()?;
    if let (false, Err(why)) = (host::is_ip(name), host::check_name(name)) {
        target.error(format!("host \"{name}\" {why}"), "");
    }
    Some(())
}

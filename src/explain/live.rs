//! The endpoints of a request in the running proxy: their current addresses, and their health.
//!
//! They come from its admin endpoints, only for `explain --live`: the rest of `explain` comes from the plan.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::answer::{Answer, Live, RouteVerdict};
use crate::base::endpoint::EndpointAddress;

/// The longest wait for the proxy.
const PATIENCE: Duration = Duration::from_secs(2);

/// The state of a running proxy.
#[derive(Debug)]
pub struct RunningProxy {
    /// `/clusters?format=json`.
    clusters: Value,
    /// `/server_info`.
    info: Value,
}

impl RunningProxy {
    /// Asks the proxy whose admin endpoints are at this address.
    ///
    /// # Errors When there is no answer, or not in this format.
    pub fn ask(admin: SocketAddr) -> io::Result<Self> {
        Ok(Self { clusters: json(admin, "/clusters?format=json")?, info: json(admin, "/server_info")? })
    }

    /// Why its state may not fit an answer from a configuration whose digest is `version`; `None`: it serves that one.
    #[must_use]
    pub fn differs_from(&self, version: &str) -> Option<String> {
        let its = self.info["node"]["metadata"]["CONFIG_DIGEST"].as_str();
        let build = self.info["version"].as_str().unwrap_or("something else");
        match its {
            Some(its) if its == version => None,
            _ if build != concat!("ringway/", env!("CARGO_PKG_VERSION")) => {
                Some(format!("the running proxy is {build}, which may read this configuration in another way"))
            }
            _ => Some(
                "the running proxy serves another configuration: other files or flags, changes that it has not loaded, or \
                 that it has refused"
                    .to_owned(),
            ),
        }
    }

    /// The endpoints of a cluster; empty if the proxy has none by this name.
    #[must_use]
    pub fn endpoints(&self, cluster: &str) -> Vec<Live> {
        let all = self.clusters["cluster_statuses"].as_array().into_iter().flatten();
        let named = all.filter(|status| status["name"] == cluster);
        named.flat_map(|status| status["host_statuses"].as_array().into_iter().flatten()).filter_map(live).collect()
    }
}

/// The response to a GET, as JSON.
fn json(admin: SocketAddr, target: &str) -> io::Result<Value> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // HTTP/1.0 ends a response by closing, so that there is no framing to parse.
    write!(stream, "GET {target} HTTP/1.0\r\nHost: {admin}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(serde_json::from_str(body)?)
}

fn live(host: &Value) -> Option<Live> {
    let address = address(&host["address"])?.to_string();
    let ejected = host["health_status"]["failed_outlier_check"] == true;
    let health = if ejected { "ejected (failed_outlier_check)" } else { "healthy" };
    Some(Live { address, health })
}

fn address(written: &Value) -> Option<EndpointAddress> {
    if let Some(path) = written["pipe"]["path"].as_str() {
        return Some(EndpointAddress::Unix(path.into()));
    }
    let socket = &written["socket_address"];
    let ip: IpAddr = socket["address"].as_str()?.parse().ok()?;
    Some((ip, u16::try_from(socket["port_value"].as_u64()?).ok()?).into())
}

impl Answer {
    /// Adds the running proxy's endpoints to each destination.
    pub fn add_live(&mut self, running: &RunningProxy) {
        let destinations = match &mut self.verdict {
            RouteVerdict::Forward { destinations, .. } | RouteVerdict::Tunnel { destinations, .. } => {
                destinations.as_mut_slice()
            }
            _ => &mut [],
        };
        for destination in destinations {
            if let Some(found) = &mut destination.found {
                found.live = Some(running.endpoints(&destination.cluster));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn health_is_read_from_the_clusters_page() {
        let host = |address: &str, health: Value| json!({"address": {"socket_address": {"address": address, "port_value": 80}}, "health_status": health});
        let out = json!({"eds_health_status": "HEALTHY", "failed_outlier_check": true});
        let pipe = json!({"address": {"pipe": {"path": "/run/app.sock"}}, "health_status": {}});
        let hosts = [host("10.0.0.1", json!({"eds_health_status": "HEALTHY"})), host("::1", out), json!({}), pipe];
        let clusters = json!({"cluster_statuses": [{"name": "a", "host_statuses": hosts}, {"name": "b"}]});
        let clusters = RunningProxy { clusters, info: Value::Null };
        let said: Vec<String> =
            clusters.endpoints("a").iter().map(|live| format!("{} {}", live.address, live.health)).collect();
        assert_eq!(said, ["10.0.0.1:80 healthy", "[::1]:80 ejected (failed_outlier_check)", "/run/app.sock healthy"]);
        assert!(clusters.endpoints("b").is_empty() && clusters.endpoints("c").is_empty());
        assert!(RunningProxy { clusters: Value::Null, info: Value::Null }.endpoints("a").is_empty());
    }

    #[test]
    fn another_configuration_is_told_from_another_build() {
        let build = concat!("ringway/", env!("CARGO_PKG_VERSION"));
        let differs = |info: Value| RunningProxy { clusters: Value::Null, info }.differs_from("1f").unwrap_or_default();
        let info =
            |build: &str, digest: &str| json!({"version": build, "node": {"metadata": {"CONFIG_DIGEST": digest}}});
        assert_eq!(differs(info(build, "1f")), "");
        assert!(differs(info(build, "1e")).contains("serves another configuration"));
        assert!(differs(info("ringway/0.0.9", "1e")).contains("is ringway/0.0.9"));
        assert!(differs(json!({})).contains("is something else"));
    }
}

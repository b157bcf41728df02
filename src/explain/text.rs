//! The answer as a page of text.

use std::fmt::{self, Display, Formatter};

use super::answer::{Answer, Cluster, Destination, FailedRule, Near, RouteVerdict, WrittenAt};
use crate::base::count::{counted, grouped};
use crate::http::status;

/// The most rules without a match that are shown, besides the nearest.
const MOST_PASSED: usize = 20;

/// Width of the labels at the left.
const LABEL: usize = 16;

/// As a problem is printed: `FILE:LINE: VirtualService/namespace/name: http[0].match[1]`.
impl Display for WrittenAt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.resource)?;
        self.rule.map_or(Ok(()), |rule| write!(f, ": {}[{rule}]", self.list))?;
        self.block.map_or(Ok(()), |block| write!(f, ".match[{block}]"))
    }
}

impl Display for Answer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}{}", self.method, self.authority, self.path)?;
        writeln!(f)?;
        let listener = &self.listener;
        let gateways = listener.gateways.join(", ");
        let gateways = if gateways.is_empty() { gateways } else { format!(" of {gateways}") };
        line(f, "listener", format_args!("{}: {}{gateways}", listener.name, listener.kind))?;
        self.notes.iter().try_for_each(|note| line(f, "note", note))?;
        match &self.host {
            Some(host) => {
                line(f, "host", format_args!("{} ({})", host.name, counted(host.routes, "route")))?;
                line(f, "", host.domains.join(", "))?;
            }
            None if self.sees_no_request() => {}
            None => line(f, "host", "none")?,
        }
        match &self.rule {
            Some(rule) => {
                line(f, "rule", &rule.place)?;
                let mut root = &rule.place.root;
                while let Some(place) = root {
                    line(f, "delegated by", place)?;
                    root = &place.root;
                }
                for condition in &rule.conditions {
                    line(f, "", condition)?;
                }
                if matches!(self.verdict, RouteVerdict::Tunnel { .. }) {
                    return verdict(f, &self.verdict);
                }
                line(f, "route name", if rule.name.is_empty() { "-" } else { &rule.name })?;
                verdict(f, &self.verdict)?;
                line(f, "cors", if rule.cors { "yes" } else { "none" })?;
                if let RouteVerdict::Forward { tries, .. } = &self.verdict {
                    tries.lines().into_iter().try_for_each(|(label, values)| lines(f, label, &values))?;
                }
            }
            None if self.sees_no_request() => verdict(f, &self.verdict)?,
            None => line(f, "rule", "none: 404 Not Found, response flag NR")?,
        }
        passed_over(f, &self.passed_over)?;
        nearest(f, &self.nearest)
    }
}

impl Answer {
    /// Whether it is about a CONNECT, or a connection that is not decoded.
    fn sees_no_request(&self) -> bool {
        let of_tunnel = matches!(self.verdict, RouteVerdict::Tunnel { .. } | RouteVerdict::Closed);
        of_tunnel || self.rule.is_none() && !matches!(self.verdict, RouteVerdict::NotFound)
    }
}

fn line(f: &mut Formatter<'_>, label: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "{label:LABEL$}{value}")
}

/// The label is before the first of the values.
fn lines(f: &mut Formatter<'_>, label: &str, values: &[String]) -> fmt::Result {
    if values.is_empty() {
        return line(f, label, "none");
    }
    values.iter().enumerate().try_for_each(|(at, value)| line(f, if at == 0 { label } else { "" }, value))
}

fn verdict(f: &mut Formatter<'_>, verdict: &RouteVerdict) -> fmt::Result {
    match verdict {
        RouteVerdict::Forward { destinations, hashed_by, rewrite, tries: _ } => {
            for each in destinations {
                destination(f, each)?;
            }
            if !hashed_by.is_empty() {
                line(f, "hashed by", hashed_by.join(", "))?;
            }
            line(f, "rewrite", rewrite.as_deref().unwrap_or("none"))
        }
        RouteVerdict::Redirect { status, location } => {
            line(f, "redirect", format_args!("{status} {} to {location}", status::reason(*status)))
        }
        RouteVerdict::HttpsRedirect { status, location, server } => {
            line(f, "httpsRedirect", server)?;
            line(f, "redirect", format_args!("{status} {} to {location}, before any rule", status::reason(*status)))
        }
        RouteVerdict::DirectResponse { status, body_bytes } => {
            let reason = status::reason(*status);
            line(f, "direct response", format_args!("{status} {reason}, a body of {}", counted(*body_bytes, "byte")))
        }
        RouteVerdict::Tunnel { destinations, looks_inside } => {
            let inside = "requests inside the tunnel are routed like any others on this port";
            let found = destinations.iter().any(|to| to.found.is_some());
            match (looks_inside, found) {
                (true, false) => return line(f, "tunnel", format_args!("{inside}: explain them")),
                (true, true) => line(f, "tunnel", format_args!("{inside}; what is no HTTP goes on"))?,
                (false, _) => line(f, "tunnel", "its bytes go on as they are")?,
            }
            destinations.iter().try_for_each(|to| destination(f, to))
        }
        RouteVerdict::Closed => line(f, "rule", "none: the connection is closed, response flag NR"),
        RouteVerdict::Passthrough => {
            line(f, "destination", "PassthroughCluster: whatever the authority resolves to (ALLOW_ANY)")
        }
        RouteVerdict::Blackhole { status, missing } => {
            let reason = status::reason(*status);
            line(
                f,
                "destination",
                format_args!("none: {status} {reason}, since nobody declared the host (REGISTRY_ONLY)"),
            )?;
            lines(f, "missing", missing)
        }
        RouteVerdict::NotFound => Ok(()),
    }
}

fn destination(f: &mut Formatter<'_>, destination: &Destination) -> fmt::Result {
    let Destination { percent, cluster, host, port, subset, found, withheld, authority, headers } = destination;
    line(f, "destination", format_args!("{percent}% to {cluster}"))?;
    if cluster.starts_with("inbound|") {
        line(f, "  service", "none: it is the workload beside the proxy")?;
    // An undeclared host has no service, either.
    } else if !host.is_empty() {
        line(f, "  service", format_args!("{host}, port {port}"))?;
        line(f, "  subset", if subset.is_empty() { "none" } else { subset })?;
    }
    match found {
        Some(found) => endpoints(f, found)?,
        None if *withheld => {
            let why = "none: it is left out, since not all of it is enforced (--permissive): 503, response flag NC";
            line(f, "  endpoints", why)?;
        }
        None => line(f, "  endpoints", "there is no such service, port or subset: 503, response flag NC")?,
    }
    if let Some(authority) = authority {
        line(f, "  host header", format_args!("becomes {authority}"))?;
    }
    lines(f, "  headers", headers)
}

fn endpoints(f: &mut Formatter<'_>, cluster: &Cluster) -> fmt::Result {
    line(f, "  balancing", cluster.load_balancing)?;
    cluster.connections.lines().into_iter().try_for_each(|(label, values)| lines(f, label, &values))?;
    let written = cluster.endpoints.iter().map(|(address, weight)| format!("{address}, weight {weight}"));
    let all: Vec<String> = cluster.found_by.iter().cloned().chain(written).collect();
    if all.is_empty() {
        line(f, "  endpoints", "none: 503, response flag UH")?;
    } else {
        lines(f, "  endpoints", &all)?;
    }
    let Some(live) = &cluster.live else { return Ok(()) };
    let now: Vec<String> = live.iter().map(|live| format!("{} is {}", live.address, live.health)).collect();
    if now.is_empty() { line(f, "  now", "the running proxy has no endpoints for it") } else { lines(f, "  now", &now) }
}

fn passed_over(f: &mut Formatter<'_>, passed: &[FailedRule]) -> fmt::Result {
    if passed.is_empty() {
        return Ok(());
    }
    writeln!(f, "\npassed over")?;
    let mut one = |FailedRule { place, because, .. }: &FailedRule| writeln!(f, "  {place}\n    {because}");
    let (shown, rest) = passed.split_at(MOST_PASSED.min(passed.len()));
    shown.iter().try_for_each(&mut one)?;
    let Some(nearest) = rest.iter().min_by_key(|passed| passed.failing) else { return Ok(()) };
    one(nearest)?;
    if rest.len() == 1 {
        return Ok(());
    }
    writeln!(f, "  {} more, of which none is nearer than the last", grouped(rest.len() - 1))
}

fn nearest(f: &mut Formatter<'_>, nearest: &[Near]) -> fmt::Result {
    if nearest.is_empty() {
        return Ok(());
    }
    writeln!(f, "\nnearest")?;
    for Near { what, differs } in nearest {
        writeln!(f, "  {what}")?;
        differs.iter().try_for_each(|difference| writeln!(f, "    {difference}"))?;
    }
    Ok(())
}

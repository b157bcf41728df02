//! What was seen of a case from outside, flattened to `place: value` lines so that two runs can be compared.

use std::collections::BTreeMap;

use crate::support::client::Response;
use crate::support::origin::Recorded;

/// Everything seen of one case at one proxy: place to value. Places read like `client.0.header.server`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Observation {
    pub(crate) places: BTreeMap<String, String>,
}

impl Observation {
    pub(crate) fn set(&mut self, place: impl Into<String>, value: impl Into<String>) {
        let value: String = value.into();
        // A limit's worth of `x` is no pleasure to read in a report.
        let value = if value.len() > 400 { format!("{} bytes", value.len()) } else { value };
        self.places.insert(place.into(), value);
    }

    /// A response that the client read.
    pub(crate) fn response(&mut self, number: usize, response: &Response) {
        let at = format!("client.{number}");
        self.set(format!("{at}.start"), &response.head.start);
        self.headers(&at, &response.head.headers);
        self.body(&at, &response.body);
    }

    /// A request that the origin received.
    pub(crate) fn request(&mut self, number: usize, request: &Recorded) {
        let at = format!("origin.{number}");
        self.set(format!("{at}.start"), request.line());
        self.headers(&at, &request.head.headers);
        let expected = format!("{at}.header.x-envoy-expected-rq-timeout-ms");
        if request.header("x-envoy-attempt-count") != Some("1") && self.places.contains_key(&expected) {
            self.set(expected, "<what is left>");
        }
        self.body(&at, &request.body);
    }

    fn body(&mut self, at: &str, body: &crate::support::message::Body) {
        self.set(format!("{at}.body"), String::from_utf8_lossy(&body.bytes));
        self.set(format!("{at}.complete"), body.complete.to_string());
        if !body.trailers.is_empty() {
            self.set(format!("{at}.trailers"), format!("{:?}", body.trailers));
        }
    }

    /// Header names are compared in lower case: Envoy lowers them, ringway passes them on (docs/DEPARTURES.md). Repeated
    /// lines keep their order.
    fn headers(&mut self, at: &str, headers: &[(String, String)]) {
        let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            seen.entry(name.clone()).or_default().push(normal(&name, value));
        }
        // ringway's own, which Envoy has no counterpart of.
        seen.remove("x-ringway-hops");
        for (name, values) in seen {
            self.set(format!("{at}.header.{name}"), values.join(" & "));
        }
    }

    /// The fields of an access log line, but for those that time, ports and random numbers make.
    pub(crate) fn log_line(&mut self, number: usize, line: &str) {
        let fields = log_fields(line);
        // Envoy's log has none of a head that its codec refused; ringway's has what it could read of it.
        let refused = fields[4].starts_with("http1.") || fields[4].starts_with("http.") || fields[4] == "low_version";
        for (name, value) in FIELDS.iter().zip(&fields) {
            let value = match *name {
                "start_time" | "duration" | "upstream_local" | "local" | "remote" | "request_id" => continue,
                "request" | "authority" | "user_agent" | "x_forwarded_for" if refused => continue,
                "service_time" if value != "-" => "<ms>".to_owned(),
                "x_forwarded_for" => normal("x-forwarded-for", value),
                _ => value.clone(),
            };
            self.set(format!("log.{number}.{name}"), value);
        }
    }
}

/// Replaces what no two runs share, after checking its form.
fn normal(name: &str, value: &str) -> String {
    match name {
        "date" => {
            let good = httpdate::parse_http_date(value).is_ok() && value.ends_with(" GMT") && value.len() == 29;
            if good { "<date>".to_owned() } else { value.to_owned() }
        }
        "x-envoy-upstream-service-time" if value.parse::<u32>().is_ok() => "<ms>".to_owned(),
        // `Upgrade` or `upgrade`: Envoy passes it on as received, ringway writes its own.
        "connection" => value.to_ascii_lowercase(),
        "x-request-id" if is_uuid(value) => "<uuid>".to_owned(),
        // For a client on this machine it ends with one of the machine's own addresses.
        "x-forwarded-for" => match value.rsplit_once(',') {
            Some((before, last)) if last.parse::<std::net::IpAddr>().is_ok() => format!("{before},<peer>"),
            None if value.parse::<std::net::IpAddr>().is_ok() => "<peer>".to_owned(),
            _ => value.to_owned(),
        },
        "x-envoy-external-address" if value.parse::<std::net::IpAddr>().is_ok() => "<peer>".to_owned(),
        _ => value.to_owned(),
    }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// The fields of Istio's text format in order; a quoted `"METHOD PATH PROTOCOL"` is one.
const FIELDS: [&str; 22] = [
    "start_time",
    "request",
    "status",
    "flags",
    "details",
    "termination",
    "transport_failure",
    "bytes_received",
    "bytes_sent",
    "duration",
    "service_time",
    "x_forwarded_for",
    "user_agent",
    "request_id",
    "authority",
    "upstream_host",
    "cluster",
    "upstream_local",
    "local",
    "remote",
    "server_name",
    "route",
];

/// Splits a line at spaces outside of quotes and brackets.
fn log_fields(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (field, after) = match rest.as_bytes()[0] {
            b'"' => split_after(&rest[1..], "\""),
            b'[' if fields.is_empty() => split_after(&rest[1..], "]"), // an IPv6 address has them, too
            _ => match rest.split_once(' ') {
                Some((field, after)) => (field, after),
                None => (rest, ""),
            },
        };
        fields.push(field.to_owned());
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    assert_eq!(fields.len(), FIELDS.len(), "an access log line in Istio's format: {line:?}");
    fields
}

fn split_after<'a>(text: &'a str, end: &str) -> (&'a str, &'a str) {
    text.split_once(end).unwrap_or_else(|| panic!("no {end} in {text:?}"))
}

/// What a line of the log says first of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    /// `STATUS FLAGS DETAILS`.
    pub(crate) verdict: String,
    /// The route's name.
    pub(crate) route: String,
}

/// What this line says first of all.
pub(crate) fn summary(line: &str) -> Summary {
    let fields = log_fields(line);
    Summary { verdict: fields[2..5].join(" "), route: fields[FIELDS.len() - 1].clone() }
}

/// Whether this is the line of the request with this path.
pub(crate) fn is_for(line: &str, path: &str) -> bool {
    log_fields(line)[1].split(' ').nth(1) == Some(path)
}

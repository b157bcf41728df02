//! Statistics as text, as JSON and for Prometheus, in Envoy's forms of each.

use std::fmt::{self, Write as _};

use super::histogram::{Buckets, QUANTILES};
use super::registry::{Stat, StatName, StatSubject, StatValue};

/// The bounds of Envoy's histogram buckets, in the unit of the samples (milliseconds).
const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Writes statistics in Envoy's text form, `name: value` a line.
pub fn write_text(stats: &[Stat], out: &mut String) {
    for Stat { name, value, .. } in stats {
        let _ = write!(out, "{name}: "); // a String takes every write
        match value {
            StatValue::Counter(value) | StatValue::Gauge { value, .. } => {
                let _ = write!(out, "{value}");
            }
            StatValue::Histogram { all, interval } => all.write_text(interval, out),
        }
        out.push('\n');
    }
}

/// Writes statistics as Envoy's `/stats?format=json`: an object `{"stats":[…]}` of names and values, the last of which
/// holds the quantiles of all histograms, if there are any.
pub fn write_json(stats: &[Stat], out: &mut String) {
    out.push_str("{\"stats\":[");
    let (mut comma, mut histograms) = ("", Vec::new());
    for Stat { name, value, .. } in stats {
        match value {
            StatValue::Counter(value) | StatValue::Gauge { value, .. } => {
                let _ = write!(out, "{comma}{{\"name\":{},\"value\":{value}}}", JsonText(name));
                comma = ",";
            }
            StatValue::Histogram { all, interval } => histograms.push((name, all, interval)),
        }
    }
    if !histograms.is_empty() {
        let _ = write!(out, "{comma}{{\"histograms\":{{\"supported_quantiles\":[");
        for (index, percent) in QUANTILES.iter().enumerate() {
            let _ = write!(out, "{}{percent}", if index == 0 { "" } else { "," });
        }
        out.push_str("],\"computed_quantiles\":[");
        for (index, (name, all, interval)) in histograms.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(out, "{comma}{{\"name\":{},\"values\":[", JsonText(name));
            for (index, percent) in QUANTILES.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                let of = |buckets: &Buckets| JsonNumber(buckets.quantile(percent / 100.0));
                let _ = write!(out, "{comma}{{\"cumulative\":{},\"interval\":{}}}", of(all), of(interval));
            }
            out.push_str("]}");
        }
        out.push_str("]}}");
    }
    out.push_str("]}\n");
}

/// Writes statistics in Prometheus' text format under the names that Envoy gives them there: the fixed words of a name
/// joined with `_`, and its variable parts (cluster, listener, response code, …) as labels. Unlike Envoy's own
/// patterns for labels, which end a cluster's name at its first dot, a label holds the whole name.
pub fn write_prometheus(stats: &[Stat], out: &mut String) {
    let mut metrics: Vec<(Kind, String, &Stat)> =
        stats.iter().map(|stat| (Kind::of(&stat.value), metric_name(stat), stat)).collect();
    // Stable: within a metric the order stays that of the full names.
    metrics.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let mut last = None;
    for (kind, metric, stat) in &metrics {
        if last.replace((*kind, metric)) != Some((*kind, metric)) {
            let _ = writeln!(out, "# TYPE {metric} {}", kind.name());
        }
        let labels = labels(stat);
        match &stat.value {
            StatValue::Counter(value) | StatValue::Gauge { value, .. } => {
                let _ = writeln!(out, "{metric}{{{labels}}} {value}");
            }
            StatValue::Histogram { all, .. } => {
                let comma = if labels.is_empty() { "" } else { "," };
                for bound in BOUNDS {
                    let _ = writeln!(out, "{metric}_bucket{{{labels}{comma}le=\"{bound}\"}} {}", all.up_to(bound));
                }
                let count = all.count();
                let _ = writeln!(out, "{metric}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
                let _ = writeln!(out, "{metric}_sum{{{labels}}} {}", all.sum());
                let _ = writeln!(out, "{metric}_count{{{labels}}} {count}");
            }
        }
    }
}

/// The order of Envoy's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn of(value: &StatValue) -> Self {
        match value {
            StatValue::Counter(_) => Self::Counter,
            StatValue::Gauge { .. } => Self::Gauge,
            StatValue::Histogram { .. } => Self::Histogram,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Splits a field into its name and the response code or class at its end: `upstream_rq_503` is `upstream_rq` and
/// `envoy_response_code="503"`, `upstream_rq_5xx` is `upstream_rq_xx` and `envoy_response_code_class="5"`.
///
/// Comparisons of mirrors, counted by a pair of statuses, are one metric, too.
fn split_code(field: &str) -> (&str, Option<(&'static str, &str)>) {
    if let Some(statuses) = field.strip_prefix("mirror_status.") {
        return ("mirror_status", Some(("statuses", statuses)));
    }
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    match field.rsplit_once("_rq_") {
        Some((before, code)) if digits(code, 3) => {
            (&field[..before.len() + "_rq".len()], Some(("envoy_response_code", code)))
        }
        Some((before, class)) => match class.strip_suffix("xx") {
            Some(class) if digits(class, 1) => {
                (&field[..before.len() + "_rq".len()], Some(("envoy_response_code_class", class)))
            }
            _ => (field, None),
        },
        None => (field, None),
    }
}

fn metric_name(stat: &Stat) -> String {
    let Stat { name, parts: StatName { subject, field }, .. } = stat;
    let (prefix, field) = name.split_at(*field);
    let (field, code) = split_code(field);
    let subject = match subject {
        StatSubject::Process => prefix,
        StatSubject::Cluster => "cluster.",
        StatSubject::Http => "http.",
        StatSubject::Tcp => "tcp.",
        StatSubject::Listener => "listener.",
        StatSubject::Worker(_) => "listener.worker.",
        StatSubject::Route { .. } => "vhost.route.",
    };
    let class = if matches!(code, Some(("envoy_response_code_class", _))) { "_xx" } else { "" };
    let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let words = [subject, field, class];
    "envoy_".chars().chain(words.iter().flat_map(|part| part.chars()).map(word)).collect()
}

/// The labels, joined: the most particular one first, as Envoy has them.
fn labels(stat: &Stat) -> String {
    let Stat { name, parts: StatName { subject, field }, .. } = stat;
    let mut out = String::new();
    let mut label = |name: &str, value: &str| {
        let comma = if out.is_empty() { "" } else { "," };
        let _ = write!(out, "{comma}{name}=\"{}\"", LabelText(value));
    };
    let (prefix, field) = name.split_at(*field);
    if let (_, Some((name, code))) = split_code(field) {
        label(name, code);
    }
    // The part between the first word of the prefix and its last dot.
    let own = |first: &str| prefix.strip_prefix(first).and_then(|own| own.strip_suffix('.')).unwrap_or_default();
    match subject {
        StatSubject::Process => {}
        StatSubject::Cluster => label("envoy_cluster_name", own("cluster.")),
        StatSubject::Http => label("envoy_http_conn_manager_prefix", own("http.")),
        StatSubject::Tcp => label("envoy_tcp_prefix", own("tcp.")),
        StatSubject::Listener => label("envoy_listener_address", own("listener.")),
        StatSubject::Worker(worker) => {
            let address = own("listener.").rsplit_once('.').map_or("", |(address, _)| address);
            label("envoy_worker_id", itoa::Buffer::new().format(*worker));
            label("envoy_listener_address", address);
        }
        StatSubject::Route { host_end } => {
            let (host, route) = prefix.split_at(*host_end);
            label("envoy_route", route.strip_prefix(".route.").unwrap_or_default().trim_end_matches('.'));
            label("envoy_virtual_host", host.strip_prefix("vhost.").unwrap_or_default());
        }
    }
    out
}

/// A label's value, escaped.
struct LabelText<'a>(&'a str);

impl fmt::Display for LabelText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            other => f.write_char(other),
        })
    }
}

/// A text as a JSON string.
struct JsonText<'a>(&'a str);

impl fmt::Display for JsonText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\0'..=' ' if c != ' ' => write!(f, "\\u{:04x}", c as u32)?,
                _ => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// A number in JSON: NaN and infinities are null.
struct JsonNumber(f64);

impl fmt::Display for JsonNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_nan() { f.write_str("null") } else { write!(f, "{}", self.0) }
    }
}

#[cfg(test)]
mod tests;

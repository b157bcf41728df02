//! `/stats` and `/stats/prometheus`.

use super::{Arguments, State, json_page, refuse};
use crate::httpd::{Request, Response};
use crate::observe::stats::{Stat, StatValue, write_json, write_prometheus, write_text};

/// The content type for scrapers.
const PROMETHEUS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn stats(request: &Request, state: &State) -> Result<Response, Response> {
    let arguments = Arguments::of(request)?;
    match arguments.get("format") {
        None | Some("text") => {
            let mut text = String::new();
            write_text(&gather(&arguments, state)?, &mut text);
            Ok(Response::text(200, text))
        }
        Some("json") => {
            let mut text = String::new();
            write_json(&gather(&arguments, state)?, &mut text);
            Ok(json_page(text))
        }
        Some("prometheus") => prometheus(request, state),
        Some(_) => Err(refuse("usage: /stats?format=(json|prometheus|text)\n")),
    }
}

pub(super) fn prometheus(request: &Request, state: &State) -> Result<Response, Response> {
    let arguments = Arguments::of(request)?;
    let mut text = String::new();
    write_prometheus(&gather(&arguments, state)?, &mut text);
    Ok(Response { content_type: PROMETHEUS_TYPE, ..Response::text(200, text) })
}

/// The statistics that the arguments ask for.
fn gather(arguments: &Arguments, state: &State) -> Result<Vec<Stat>, Response> {
    if arguments.get("histogram_buckets").is_some_and(|how| how != "cumulative") {
        return Err(refuse("histogram_buckets: only `cumulative` is offered, in format=prometheus\n"));
    }
    let wanted: fn(&StatValue) -> bool = match arguments.get("type") {
        None | Some("All") => |_| true,
        Some("Counters") => |value| matches!(value, StatValue::Counter(_)),
        Some("Gauges") => |value| matches!(value, StatValue::Gauge { .. }),
        Some("Histograms") => |value| matches!(value, StatValue::Histogram { .. }),
        Some(_) => return Err(refuse("usage: /stats?type=(All|Counters|Gauges|Histograms)\n")),
    };
    state.refresh();
    let used_only = arguments.get("usedonly").is_some();
    let mut stats = state.registry.snapshot(&|name| arguments.keeps(name));
    stats.retain(|stat| wanted(&stat.value) && (!used_only || stat.value.used()));
    Ok(stats)
}

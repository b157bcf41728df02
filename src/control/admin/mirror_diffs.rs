//! `/mirror_diffs`: the last requests that a mirror answered differently. ringway's own: Envoy does not
//! compare.

use std::collections::VecDeque;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Arguments, State, json_page, refuse};
use crate::base::limits::MIRROR_DIFFS;
use crate::httpd::{Request, Response};
use crate::observe::date::write_start_time;
use crate::proxy::{Difference, Side};

/// The last differences, the newest first.
#[derive(Debug, Default)]
pub(super) struct Differences(VecDeque<Difference>);

impl Differences {
    /// Cores tell of theirs one after the other, so it need not be the newest.
    pub(super) fn push(&mut self, difference: Difference) {
        let place = self.0.iter().position(|other| other.at <= difference.at).unwrap_or(self.0.len());
        self.0.insert(place, difference);
        self.0.truncate(MIRROR_DIFFS);
    }
}

pub(super) fn mirror_diffs(request: &Request, state: &State) -> Result<Response, Response> {
    let arguments = Arguments::of(request)?;
    let differences = state.differences();
    match arguments.get("format") {
        None | Some("text") => {
            let mut text = String::new();
            for difference in &differences.0 {
                let _ = write_text(&mut text, difference); // a String takes every write
            }
            Ok(Response::text(200, text))
        }
        Some("json") => {
            let all: Vec<Value> = differences.0.iter().map(in_json).collect();
            Ok(json_page(format!("{:#}\n", json!({"mirror_diffs": all}))))
        }
        Some(_) => Err(refuse("usage: /mirror_diffs?format=(json|text)\n")),
    }
}

/// One line for each difference, with both values side by side.
fn write_text(text: &mut String, difference: &Difference) -> std::fmt::Result {
    let Difference { method, path, original, mirror, .. } = difference;
    let bodies = if difference.in_body() { ", the bodies differ" } else { "" };
    write!(text, "{} {method} {path}: original ", time(difference))?;
    write_side(text, original)?;
    text.push_str("; mirror ");
    write_side(text, mirror)?;
    writeln!(text, "{bodies}")
}

fn write_side(text: &mut String, side: &Side) -> std::fmt::Result {
    match side.status {
        Some(status) => write!(text, "{status}")?,
        None => write!(text, "no answer ({})", flags(side))?,
    }
    write!(text, " in {} ms from {}", side.took.as_millis(), side.cluster)
}

fn in_json(difference: &Difference) -> Value {
    let side = |side: &Side| {
        json!({
            "cluster": side.cluster,
            "status": side.status,
            "response_flags": flags(side),
            "duration_ms": u64::try_from(side.took.as_millis()).unwrap_or(u64::MAX),
        })
    };
    json!({
        "time": time(difference),
        "method": difference.method,
        "path": difference.path,
        "differs": if difference.in_body() { "body" } else { "status" },
        "original": side(&difference.original),
        "mirror": side(&difference.mirror),
    })
}

fn time(difference: &Difference) -> String {
    let mut time = Vec::new();
    write_start_time(&mut time, difference.at);
    String::from_utf8_lossy(&time).into_owned()
}

/// Why a side gave no response, as in the access log.
fn flags(side: &Side) -> String {
    let mut flags = Vec::new();
    side.flags.write(&mut flags);
    String::from_utf8_lossy(&flags).into_owned()
}

//! `/listeners`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Arguments, State, address, json_page, refuse};
use crate::httpd::{Request, Response};

pub(super) fn listeners(request: &Request, state: &State) -> Result<Response, Response> {
    let arguments = Arguments::of(request)?;
    let plan = state.plan();
    let mut listeners: Vec<_> = plan.listeners.iter().map(|listener| (&listener.name, listener.bind)).collect();
    listeners.sort();
    match arguments.get("format") {
        None | Some("text") => {
            let mut text = String::new();
            for (name, bind) in listeners {
                let _ = writeln!(text, "{name}::{bind}"); // a String takes every write
            }
            Ok(Response::text(200, text))
        }
        Some("json") => {
            let statuses =
                listeners.into_iter().map(|(name, bind)| json!({"name": name, "local_address": address(bind)}));
            Ok(json_page(format!("{:#}\n", json!({"listener_statuses": statuses.collect::<Vec<Value>>()}))))
        }
        Some(_) => Err(refuse("usage: /listeners?format=(json|text)\n")),
    }
}

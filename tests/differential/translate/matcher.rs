//! Match blocks.

use serde_json::{Map, Value, json};

use super::{array, only};

/// Whether istiod emits this block for a gateway (`mesh` or `namespace/name`) and port at all. The proxy of a case has
/// no labels.
pub(super) fn applies(block: &Value, gateway: &str, port: u64) -> bool {
    let gateways = array(block, "gateways");
    let here = if gateways.is_empty() {
        block["sourceLabels"].as_object().is_none_or(Map::is_empty)
            && block["sourceNamespace"].as_str().is_none_or(|namespace| namespace == "default")
    } else {
        gateways.iter().filter_map(Value::as_str).any(|name| {
            let qualified =
                if name == "mesh" || name.contains('/') { name.to_owned() } else { format!("default/{name}") };
            qualified == gateway
        })
    };
    here && block["port"].as_u64().is_none_or(|of_match| of_match == port)
}

/// A RouteMatch.
pub(super) fn translate(block: &Value) -> Value {
    let conditions =
        ["uri", "ignoreUriCase", "method", "authority", "scheme", "headers", "withoutHeaders", "queryParams"];
    let others = ["name", "gateways", "sourceLabels", "sourceNamespace", "port"];
    only(block, &[&conditions[..], &others].concat());
    let mut out = match &block["uri"] {
        Value::Null => json!({"prefix": "/"}),
        uri => match one_of(uri) {
            ("exact", value) => json!({"path": value}),
            ("prefix", value) => json!({"prefix": value}),
            (_, value) => json!({"safe_regex": {"regex": value}}),
        },
    };
    if block["ignoreUriCase"] == true {
        out["case_sensitive"] = json!(false);
    }
    let pseudo = [("method", ":method"), ("authority", ":authority"), ("scheme", ":scheme")];
    let mut headers: Vec<Value> = pseudo
        .iter()
        .filter(|(field, _)| !block[*field].is_null())
        .map(|(field, name)| condition(name, &block[*field]))
        .collect();
    for (name, wanted) in block["headers"].as_object().into_iter().flatten() {
        headers.push(condition(name, wanted));
    }
    for (name, unwanted) in block["withoutHeaders"].as_object().into_iter().flatten() {
        let mut matcher = condition(name, unwanted);
        matcher["invert_match"] = json!(true);
        if matcher["present_match"].is_null() {
            matcher["treat_missing_header_as_empty"] = json!(true);
        }
        headers.push(matcher);
    }
    out["headers"] = Value::Array(headers);
    let parameters = block["queryParams"].as_object().into_iter().flatten();
    out["query_parameters"] = parameters.map(|(name, wanted)| condition(name, wanted)).collect();
    out
}

/// A HeaderMatcher or QueryParameterMatcher, which have the same fields.
fn condition(name: &str, condition: &Value) -> Value {
    match string_matcher(condition) {
        None => json!({"name": name, "present_match": true}),
        Some(string) => json!({"name": name, "string_match": string}),
    }
}

/// `None` for the conditions that mean presence: `{}`, null and regex `*`.
pub(super) fn string_matcher(condition: &Value) -> Option<Value> {
    if condition.as_object().is_none_or(Map::is_empty) {
        return None;
    }
    match one_of(condition) {
        ("regex", value) if value == "*" => None,
        ("regex", value) => Some(json!({"safe_regex": {"regex": value}})),
        (kind, value) => Some(json!({ kind: value })),
    }
}

/// The one `exact`, `prefix` or `regex` of a StringMatch.
fn one_of(condition: &Value) -> (&str, &Value) {
    only(condition, &["exact", "prefix", "regex"]);
    let fields = condition.as_object().expect("a StringMatch");
    fields.iter().map(|(name, value)| (name.as_str(), value)).next().expect("a StringMatch with a value")
}

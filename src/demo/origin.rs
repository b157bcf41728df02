//! An httpbin-like origin on loopback that names its version, so that a reader of the demo sees which one
//! answered.
//!
//! It owns its listener and answers from the request alone. It must never listen beyond loopback: it has no
//! protection but limits. The `demo` command starts two of them, tests as many as they like.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::base::rng::Rng;
use crate::http::head::Method;
use crate::httpd::{Content, Plus, Request, Response, Server, Settings, pairs};

/// Requests answered at once; a proxy in front keeps as many connections open besides.
const CONNECTIONS: usize = 512;

/// Largest request body.
const BODY_BYTES: usize = 4 * 1024 * 1024;

/// Longest `/delay/N`, in seconds; larger numbers mean this one, as in httpbin.
const LONGEST_DELAY: f64 = 10.0;

/// Largest `/bytes/N`; larger numbers mean this one, as in httpbin.
const MOST_BYTES: usize = 100 * 1024;

/// Most lines of `/stream/N`; larger numbers mean this one, as in httpbin.
const MOST_LINES: u32 = 100;

/// The paths, as the page `/` shows them.
const PATHS: &str = "\
/get             the request as JSON (GET)
/post            the request and its body as JSON (POST)
/anything        the request and its body as JSON (any method)
/headers         the request's headers
/ip              the client's address
/user-agent      the client's name
/status/N        an empty response of status N, 200 to 599
/delay/N         /anything after N seconds, at most 10
/bytes/N         N bytes, always the same ones, at most 102400 (?seed=S: others)
/stream/N        N lines of JSON, chunked, at most 100
";

/// A running origin; dropping it stops it.
pub struct Origin {
    /// The address it listens on.
    pub addr: SocketAddr,
    _server: Server,
}

/// Starts an origin that calls itself `version` (`v1`) on `addr` (port 0: one of the kernel's choice).
///
/// # Errors
/// If `addr` is not a loopback address or cannot be listened on.
pub fn start(version: &str, addr: SocketAddr) -> io::Result<Origin> {
    if !addr.ip().is_loopback() {
        let message = format!("{addr} is not a loopback address; a demo origin listens nowhere else");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let settings = Settings {
        server: format!("ringway-demo/{version}"),
        thread_name: "origin",
        connections: 2 * CONNECTIONS,
        answers: CONNECTIONS,
        at_once: |_| false,
        body_bytes: BODY_BYTES,
        patience: Duration::from_secs(30),
        response: Duration::from_secs(300),
        idle: Duration::from_secs(120),
    };
    let version = version.to_owned();
    let server = Server::start(TcpListener::bind(addr)?, settings, move |request| {
        answer(request, &version).with("x-origin-version", version.as_str())
    })?;
    Ok(Origin { addr: server.address(), _server: server })
}

fn answer(request: &Request, version: &str) -> Response {
    let path = request.path.strip_prefix('/').unwrap_or(&request.path);
    let (name, argument) = path.split_once('/').map_or((path, None), |(name, argument)| (name, Some(argument)));
    let allowed: &'static str = match name {
        "post" => "POST, OPTIONS",
        "anything" | "status" | "delay" => "",
        _ => "GET, HEAD, OPTIONS",
    };
    if !allowed.is_empty() && !allowed.split(", ").any(|method| method == request.method_text) {
        return Response::text(405, "Method Not Allowed\n").with("allow", allowed);
    }
    if !allowed.is_empty() && request.method == Method::Options {
        return Response::text(200, "").with("allow", allowed);
    }
    match (name, argument) {
        ("", None) => Response::text(200, format!("ringway demo origin {version}\n\n{PATHS}")),
        ("get", None) => document(version, echo(request, &["args", "headers", "origin", "url"])),
        ("post", None) => {
            document(version, echo(request, &["args", "data", "form", "headers", "json", "origin", "url"]))
        }
        ("anything", _) => document(version, whole(request)),
        ("headers", None) => document(version, echo(request, &["headers"])),
        ("ip", None) => document(version, echo(request, &["origin"])),
        ("user-agent", None) => document(version, json!({"user-agent": request.header("user-agent")})),
        ("status", Some(code)) => status(code),
        ("delay", Some(seconds)) => match delay(seconds) {
            Some(delay) => {
                std::thread::sleep(delay);
                document(version, whole(request))
            }
            None => Response::text(400, "Invalid delay\n"),
        },
        ("bytes", Some(count)) => bytes(request, count),
        ("stream", Some(count)) => stream(request, version, count),
        _ => Response::text(404, format!("Not Found. There are:\n{PATHS}")),
    }
}

/// A JSON document with the origin's version in it, set out as httpbin does.
fn document(version: &str, mut value: Value) -> Response {
    value["version"] = version.into();
    // `{:#}` of a `Value` is its pretty JSON; unlike `to_string_pretty` it has no error to pass on.
    let text = format!("{value:#}\n");
    Response { content_type: "application/json", ..Response::text(200, text) }
}

fn whole(request: &Request) -> Value {
    echo(request, &["args", "data", "form", "headers", "json", "method", "origin", "url"])
}

/// The named parts of a request, under httpbin's names and in its shapes.
fn echo(request: &Request, parts: &[&str]) -> Value {
    let body = || String::from_utf8_lossy(&request.body).into_owned();
    let is_form = request
        .header("content-type")
        .is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"));
    let part = |name: &str| match name {
        "args" => grouped(request.arguments(Plus::Space)),
        "data" => if is_form { String::new() } else { body() }.into(),
        "form" => {
            if is_form {
                grouped(pairs(&body(), Plus::Space))
            } else {
                json!({})
            }
        }
        "headers" => headers(request),
        "json" => serde_json::from_slice(&request.body).unwrap_or(Value::Null),
        "method" => request.method_text.as_str().into(),
        "origin" => origin(request).into(),
        "url" => url(request).into(),
        _ => Value::Null,
    };
    Value::Object(parts.iter().map(|&name| (name.to_owned(), part(name))).collect())
}

/// Pairs as an object; a name that comes more than once has a list.
fn grouped(pairs: Vec<(String, String)>) -> Value {
    let mut object = Map::new();
    for (name, value) in pairs {
        let value = Value::from(value);
        match object.get_mut(&name) {
            None => {
                object.insert(name, value);
            }
            Some(Value::Array(list)) => list.push(value),
            Some(first) => *first = json!([first.take(), value]),
        }
    }
    Value::Object(object)
}

/// The headers under their usual spelling (`X-Request-Id`); lines of one name joined.
fn headers(request: &Request) -> Value {
    let mut object = Map::new();
    for (name, value) in &request.headers {
        let name: Vec<String> = name.split('-').map(capitalized).collect();
        let value = match object.get(&name.join("-")).and_then(Value::as_str) {
            Some(first) => format!("{first},{value}"),
            None => value.clone(),
        };
        object.insert(name.join("-"), value.into());
    }
    Value::Object(object)
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters.map(|letter| letter.to_ascii_lowercase())).collect()
}

/// Whom the request came from, as far as a proxy in between said.
fn origin(request: &Request) -> String {
    request.header("x-forwarded-for").map_or_else(|| request.peer.ip().to_string(), str::to_owned)
}

fn url(request: &Request) -> String {
    let scheme = request.header("x-forwarded-proto").unwrap_or("http");
    let (mark, query) = if request.query.is_empty() { ("", "") } else { ("?", request.query.as_str()) };
    format!("{scheme}://{}{}{mark}{query}", request.host, request.path)
}

fn status(code: &str) -> Response {
    match code.parse() {
        Ok(code @ 200..=599) => Response::text(code, ""),
        _ => Response::text(400, "Invalid status code\n"),
    }
}

fn delay(seconds: &str) -> Option<Duration> {
    let seconds = seconds.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0)?;
    Some(Duration::from_secs_f64(seconds.min(LONGEST_DELAY)))
}

fn bytes(request: &Request, count: &str) -> Response {
    let argument = request.arguments(Plus::Space).into_iter().find(|(name, _)| name == "seed").map(|(_, value)| value);
    let (Ok(count), Ok(seed)) = (count.parse::<usize>(), argument.as_deref().unwrap_or("0").parse()) else {
        return Response::text(400, "Invalid number\n");
    };
    let mut rng = Rng::seeded(seed);
    let bytes = std::iter::repeat_with(|| rng.bits().to_le_bytes()).flatten().take(count.min(MOST_BYTES));
    Response {
        status: 200,
        content_type: "application/octet-stream",
        headers: Vec::new(),
        content: Content::Whole(bytes.collect()),
    }
}

fn stream(request: &Request, version: &str, count: &str) -> Response {
    let Ok(count) = count.parse::<u32>() else {
        return Response::text(400, "Invalid number\n");
    };
    let mut line = echo(request, &["args", "headers", "origin", "url"]);
    line["version"] = version.into();
    let lines = (0..count.min(MOST_LINES)).map(move |id| {
        line["id"] = id.into();
        format!("{line}\n").into_bytes()
    });
    Response {
        status: 200,
        content_type: "application/json",
        headers: Vec::new(),
        content: Content::Pieces(Box::new(lines)),
    }
}

#[cfg(test)]
mod tests;

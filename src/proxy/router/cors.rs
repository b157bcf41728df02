//! `corsPolicy`: the origins that may read responses, and the response to a preflight.
//!
//! A policy refuses no request: one from an origin that is not allowed is forwarded, and its response lacks the
//! lines that would let the browser show it (as Envoy has it).

use crate::http::forward::View;
use crate::http::head::{Known, Method, Span};
use crate::http::header_ops::HeaderOps;
use crate::plan::{Cors, UnmatchedPreflights};

/// The decision of a policy on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// It has no origin: the policy does not apply.
    NoOrigin,
    /// It comes from this origin (a span of the head), which is allowed: its response says so.
    Allowed(Span),
    /// Its origin is not allowed.
    NotAllowed,
    /// A preflight, to be answered here; with its origin, if that is allowed.
    Answer(Option<Span>),
}

/// Applies a policy. A request with several `Origin` lines is not a browser's: it counts as without an origin.
pub(crate) fn rule(cors: &Cors, request: &View<'_>) -> Ruling {
    let View { head, buf, .. } = *request;
    let mut origins = values(request, "origin").filter(|value| !value.is_empty());
    let Some(origin) = origins.next() else { return Ruling::NoOrigin };
    let value = origin.of(buf);
    let allowed = origins.next().is_none() && cors.allow_origins.iter().any(|pattern| pattern.matches(value));
    let asks = head.method == Method::Options
        && values(request, REQUEST_METHOD).next().is_some_and(|method| !method.is_empty());
    match (asks, allowed, cors.unmatched_preflights) {
        (true, true, _) => Ruling::Answer(Some(origin)),
        (true, false, UnmatchedPreflights::Ignore) => Ruling::Answer(None),
        (_, false, _) => Ruling::NotAllowed,
        (false, true, _) => Ruling::Allowed(origin),
    }
}

const REQUEST_METHOD: &str = "access-control-request-method";
const REQUEST_HEADERS: &str = "access-control-request-headers";

/// The values of the lines of a name that has no id.
fn values(request: &View<'_>, name: &'static str) -> impl Iterator<Item = Span> {
    request.lines(Known::Other, name).map(|line| line.value)
}

/// The lines of a response to an allowed origin.
pub(crate) fn mark(cors: &Cors, origin: &[u8], ops: &mut HeaderOps) {
    set(ops, b"access-control-allow-origin", origin);
    if cors.allow_credentials {
        set(ops, b"access-control-allow-credentials", b"true");
    }
    set(ops, b"access-control-expose-headers", cors.expose_headers.as_bytes());
}

/// The headers of the response to a preflight. `*` for methods and headers allows what the browser asked for.
pub(crate) fn answer(cors: &Cors, origin: Option<Span>, request: &View<'_>, ops: &mut HeaderOps) {
    let buf = request.buf;
    if let Some(origin) = origin {
        set(ops, b"access-control-allow-origin", origin.of(buf));
    }
    if cors.allow_credentials {
        set(ops, b"access-control-allow-credentials", b"true");
    }
    let mut allow = |name, list: &str, asked| match values(request, asked).next() {
        Some(asked) if list == "*" => set(ops, name, asked.of(buf)),
        None if list == "*" => {}
        _ => set(ops, name, list.as_bytes()),
    };
    allow(b"access-control-allow-methods", &cors.allow_methods, REQUEST_METHOD);
    allow(b"access-control-allow-headers", &cors.allow_headers, REQUEST_HEADERS);
    if let Some(seconds) = cors.max_age {
        set(ops, b"access-control-max-age", itoa::Buffer::new().format(seconds).as_bytes());
    }
    if origin.is_some() {
        set(ops, b"access-control-expose-headers", cors.expose_headers.as_bytes());
    }
}

fn set(ops: &mut HeaderOps, name: &[u8], value: &[u8]) {
    ops.set(Known::Other, name, |out| out.extend_from_slice(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::parse;
    use crate::http::forward::{Completion, Downstream};
    use crate::http::head::RequestHead;
    use crate::plan::Pattern;

    fn policy() -> Cors {
        Cors {
            allow_origins: [Pattern::exact("http://ok"), Pattern::prefix("https://p")].into(),
            allow_methods: "GET,POST".into(),
            allow_headers: "x-a,x-b".into(),
            expose_headers: "x-e,x-f".into(),
            max_age: Some(600),
            allow_credentials: true,
            unmatched_preflights: UnmatchedPreflights::Forward,
        }
    }

    fn head(lines: &str) -> (RequestHead, Vec<u8>) {
        let message = format!("{} / HTTP/1.1\r\nHost: h\r\n{}\r\n", &lines[..lines.find(' ').unwrap_or(0)], {
            let lines = &lines[lines.find(' ').map_or(0, |at| at + 1)..];
            lines.split('|').filter(|line| !line.is_empty()).map(|line| format!("{line}\r\n")).collect::<String>()
        });
        let mut head = RequestHead::default();
        parse::request(message.as_bytes(), &parse::HeadLimits::default(), &mut head).expect("a good head");
        (head, message.into_bytes())
    }

    fn with_view<T>(head: &RequestHead, buf: &[u8], look: impl FnOnce(&View<'_>) -> T) -> T {
        let completion = &Completion::default();
        let (downstream, external_address) = (Downstream::Edge, &b""[..]);
        look(&View { head, buf, completion, downstream, external_address, tunnel: false })
    }

    const ASKS: &str = "Access-Control-Request-Method: PUT|Access-Control-Request-Headers: x-q, x-r";

    #[test]
    fn rulings() {
        let ignore = Cors { unmatched_preflights: UnmatchedPreflights::Ignore, ..policy() };
        for (request, forwarding, ignoring) in [
            ("GET ", "none", "none"),
            ("GET Origin: ", "none", "none"),
            ("GET origin: http://ok", "allowed", "allowed"),
            ("GET ORIGIN: https://prefix.x", "allowed", "allowed"),
            ("GET Origin: HTTP://OK", "not", "not"),
            ("GET Origin: http://no", "not", "not"),
            ("GET Origin: http://ok|Origin: http://ok", "not", "not"),
            ("OPTIONS Origin: http://ok", "allowed", "allowed"),
            ("OPTIONS Origin: http://ok|Access-Control-Request-Method: ", "allowed", "allowed"),
            ("OPTIONS Origin: http://ok|Access-Control-Request-Method: PUT", "answer", "answer"),
            ("OPTIONS Origin: http://no|Access-Control-Request-Method: PUT", "not", "answer without"),
            ("OPTIONS Origin: |Access-Control-Request-Method: PUT", "none", "none"),
            // A header that the client limits to this hop.
            ("GET Origin: http://ok|Connection: origin", "none", "none"),
            (
                "OPTIONS Origin: http://ok|Access-Control-Request-Method: PUT|Connection: access-control-request-method",
                "allowed",
                "allowed",
            ),
            ("POST Origin: http://ok|Access-Control-Request-Method: PUT", "allowed", "allowed"),
        ] {
            let (head, buf) = head(request);
            for (policy, expected) in [(&policy(), forwarding), (&ignore, ignoring)] {
                let said = match with_view(&head, &buf, |request| rule(policy, request)) {
                    Ruling::NoOrigin => "none",
                    Ruling::Allowed(_) => "allowed",
                    Ruling::NotAllowed => "not",
                    Ruling::Answer(Some(_)) => "answer",
                    Ruling::Answer(None) => "answer without",
                };
                assert_eq!(said, expected, "{request}");
            }
        }
    }

    fn answered(policy: &Cors, request: &str) -> String {
        let (head, buf) = head(request);
        let mut ops = HeaderOps::new();
        with_view(&head, &buf, |view| {
            let Ruling::Answer(origin) = rule(policy, view) else { panic!("no preflight: {request}") };
            answer(policy, origin, view, &mut ops);
        });
        lines(&ops)
    }

    /// The new lines, each with a bar behind it.
    fn lines(ops: &HeaderOps) -> String {
        let text = String::from_utf8_lossy;
        let line = |(_, name, value)| format!("{}: {}|", text(name), text(value));
        ops.lines().map(line).collect::<String>().replace("access-control-", "")
    }

    #[test]
    fn answers() {
        let asks = format!("OPTIONS Origin: http://ok|{ASKS}");
        assert_eq!(
            answered(&policy(), &asks),
            "allow-origin: http://ok|allow-credentials: true|allow-methods: GET,POST|allow-headers: x-a,x-b|max-age: 600|\
             expose-headers: x-e,x-f|"
        );
        let ignoring = Cors { unmatched_preflights: UnmatchedPreflights::Ignore, ..policy() };
        assert_eq!(
            answered(&ignoring, "OPTIONS Origin: x|Access-Control-Request-Method: GET"),
            "allow-credentials: true|allow-methods: GET,POST|allow-headers: x-a,x-b|max-age: 600|"
        );
        let any = Cors {
            allow_methods: "*".into(),
            allow_headers: "*".into(),
            expose_headers: "".into(),
            max_age: None,
            allow_credentials: false,
            ..policy()
        };
        assert_eq!(answered(&any, &asks), "allow-origin: http://ok|allow-methods: PUT|allow-headers: x-q, x-r|");
    }

    #[test]
    fn marks() {
        let mut ops = HeaderOps::new();
        ops.add(Known::Other, b"Access-Control-Allow-Origin", |out| out.push(b'*'));
        mark(&policy(), b"http://ok", &mut ops);
        assert_eq!(lines(&ops), "allow-origin: http://ok|allow-credentials: true|expose-headers: x-e,x-f|");
        assert!(ops.drops(Known::Other, b"ACCESS-CONTROL-ALLOW-ORIGIN"));
    }
}

//! Traces in B3 headers (github.com/openzipkin/b3-propagation): each hop continues the trace of the request with a span of
//! its own, whose parent is the span that the request came with, or begins a trace.
//!
//! The context comes in four headers (`x-b3-traceid`, …) or in one (`b3`), and goes on in the form in which it came. A
//! malformed context is ignored. `traceparent` (W3C) passes unchanged. Spans are not reported to a collector. Called by
//! `proxy`, if tracing is on.

use super::forward::View;
use super::head::Known;
use super::header_ops::HeaderOps;
use crate::base::rng::Rng;

const TRACE: &str = "x-b3-traceid";
const SPAN: &str = "x-b3-spanid";
const PARENT: &str = "x-b3-parentspanid";
const SAMPLED: &str = "x-b3-sampled";
const FLAGS: &str = "x-b3-flags";
const SINGLE: &str = "b3";

/// A request's trace context.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Context<'a> {
    /// The ids of the trace (16 or 32 digits) and of the span (16); `None`: no trace has begun.
    ids: Option<(&'a [u8], &'a [u8])>,
    /// The sampling decision: `0`, `1`, or `d` for a debugging trace.
    sampled: Option<u8>,
    /// It came in the one header.
    single: bool,
}

impl<'a> Context<'a> {
    fn of(view: &View<'a>) -> Self {
        let value = |name| view.first(Known::Other, name);
        let ids = value(TRACE).zip(value(SPAN)).filter(|(trace, span)| is_trace(trace) && is_span(span));
        let debug = || value(FLAGS).filter(|flags| *flags == b"1").map(|_| b'1');
        let sampled = value(SAMPLED).and_then(decision).or_else(debug);
        match value(SINGLE).and_then(Self::of_single) {
            Some(single) if ids.is_none() => single,
            _ => Self { ids, sampled, single: false },
        }
    }

    /// `trace-span[-sampled[-parent]]`, or `sampled` alone.
    fn of_single(value: &'a [u8]) -> Option<Self> {
        let mut parts = value.split(|byte| *byte == b'-');
        let (first, second) = (parts.next()?, parts.next());
        let Some(span) = second else { return Some(Self { ids: None, sampled: Some(decision(first)?), single: true }) };
        let sampled = match parts.next() {
            Some(state) => Some(decision(state)?),
            None => None,
        };
        (is_trace(first) && is_span(span)).then_some(Self { ids: Some((first, span)), sampled, single: true })
    }
}

/// Sets the headers of the request's next span. `sampled` decides if there is no decision yet; new ids come from `rng`.
pub fn pass(view: &View<'_>, sampled: impl FnOnce(&mut Rng) -> bool, rng: &mut Rng, out: &mut HeaderOps) {
    let context = Context::of(view);
    let sampled = context.sampled.unwrap_or_else(|| if sampled(rng) { b'1' } else { b'0' });
    let (mut fresh, mut span) = ([0; 32], [0; 16]);
    put_hex(&mut span, rng);
    let (trace, parent) = match context.ids {
        Some((trace, parent)) => (trace, Some(parent)),
        None => {
            fresh.chunks_exact_mut(16).for_each(|half| put_hex(half, rng));
            (fresh.as_slice(), None)
        }
    };
    let mut set = |name: &str, parts: &[&[u8]]| {
        out.set(Known::Other, name.as_bytes(), |value| parts.iter().for_each(|part| value.extend_from_slice(part)));
    };
    if context.single {
        let sampled = [sampled];
        match parent {
            Some(parent) => set(SINGLE, &[trace, b"-", &span, b"-", &sampled, b"-", parent]),
            None => set(SINGLE, &[trace, b"-", &span, b"-", &sampled]),
        }
        [TRACE, SPAN, PARENT, SAMPLED].iter().for_each(|name| out.remove(Known::Other, name.as_bytes()));
        return;
    }
    set(TRACE, &[trace]);
    set(SPAN, &[&span]);
    match parent {
        Some(parent) => set(PARENT, &[parent]),
        None => out.remove(Known::Other, PARENT.as_bytes()),
    }
    out.set(Known::Other, SAMPLED.as_bytes(), |value| value.push(sampled));
    out.remove(Known::Other, SINGLE.as_bytes());
}

fn is_trace(id: &[u8]) -> bool {
    matches!(id.len(), 16 | 32) && is_id(id)
}

fn is_span(id: &[u8]) -> bool {
    id.len() == 16 && is_id(id)
}

/// Zero is not an id.
fn is_id(id: &[u8]) -> bool {
    id.iter().all(u8::is_ascii_hexdigit) && id.iter().any(|digit| *digit != b'0')
}

/// Some tracers write `true` and `false` where `1` and `0` are meant.
fn decision(value: &[u8]) -> Option<u8> {
    match value {
        b"1" | b"true" => Some(b'1'),
        b"0" | b"false" => Some(b'0'),
        b"d" => Some(b'd'),
        _ => None,
    }
}

/// Sixteen digits that are not all zero.
fn put_hex(to: &mut [u8], rng: &mut Rng) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bits = rng.bits().max(1);
    for (place, digit) in to.iter_mut().zip((0..16).rev()) {
        *place = HEX[(bits >> (4 * digit)) as usize & 15];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::forward::{Completion, Downstream};
    use crate::http::header_ops::Change;
    use crate::http::tests::request_head;

    const ID: &str = "463ac35c9f6413ad48485a3953bb6124";
    const WAS: &str = "a2fb4a1d1a96d312";

    /// The resulting headers: trace, span, parent, sampled, `b3`; "" if removed, "=" if unchanged.
    fn passed(lines: &str, sample: bool) -> [String; 5] {
        let message = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let head = request_head(&message);
        let mut out = HeaderOps::new();
        let completion = Completion::default();
        let (head, buf, completion) = (&head, message.as_bytes(), &completion);
        let view = View { head, buf, completion, downstream: Downstream::Edge, external_address: b"", tunnel: false };
        pass(&view, |_| sample, &mut Rng::seeded(1), &mut out);
        [TRACE, SPAN, PARENT, SAMPLED, SINGLE].map(|name| match out.of(Known::Other, name.as_bytes()) {
            Change::To(value) => String::from_utf8(value.to_vec()).expect("ASCII"),
            Change::Gone => String::new(),
            Change::None => "=".to_owned(),
        })
    }

    #[test]
    fn a_trace_begins() {
        for (lines, sample, sampled) in [
            ("", true, "1"),
            ("", false, "0"),
            ("X-B3-Sampled: 1\r\n", false, "1"),
            ("x-b3-sampled: false\r\n", true, "0"),
            ("x-b3-flags: 1\r\n", false, "1"),
            // Malformed or half of it.
            ("x-b3-traceid: xyz\r\nx-b3-spanid: a2fb4a1d1a96d312\r\n", true, "1"),
            ("x-b3-traceid: 0000000000000000\r\nx-b3-spanid: a2fb4a1d1a96d312\r\n", true, "1"),
            ("x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124\r\nx-b3-parentspanid: a2fb4a1d1a96d312\r\n", true, "1"),
            ("b3: what-is-this\r\n", false, "0"),
            // A header that the client limits to this hop.
            ("b3: 0\r\nConnection: b3\r\n", true, "1"),
        ] {
            let [trace, span, parent, decided, single] = passed(lines, sample);
            assert!(
                is_trace(trace.as_bytes()) && trace.len() == 32 && is_span(span.as_bytes()),
                "{lines:?} {trace} {span}"
            );
            assert_eq!((parent.as_str(), decided.as_str(), single.as_str()), ("", sampled, ""), "{lines:?}");
        }
    }

    #[test]
    fn a_trace_goes_on() {
        for trace in [ID, &ID[..16], &ID.to_uppercase()] {
            let lines = format!("X-B3-TraceId: {trace}\r\nX-B3-SpanId: {WAS}\r\nX-B3-ParentSpanId: {}\r\n", &ID[16..]);
            let [to, span, parent, sampled, _] = passed(&format!("{lines}X-B3-Sampled: 0\r\n"), true);
            assert_eq!([to.as_str(), parent.as_str(), sampled.as_str()], [trace, WAS, "0"]);
            assert!(is_span(span.as_bytes()) && span != WAS, "{span}");
        }
    }

    #[test]
    fn one_header_stays_one_header() {
        for (state, parent) in [("", ""), ("-1", ""), ("-d", ""), ("-0", "-463ac35c9f6413ad")] {
            let [trace, _, _, _, single] = passed(&format!("b3: {ID}-{WAS}{state}{parent}\r\n"), true);
            let parts: Vec<&str> = single.split('-').collect();
            let sampled = if state.is_empty() { "1" } else { &state[1..] };
            assert!(parts.len() == 4 && is_span(parts[1].as_bytes()) && parts[1] != WAS, "{single}");
            assert_eq!(([parts[0], parts[2], parts[3]], trace.as_str()), ([ID, sampled, WAS], ""), "{single}");
        }
        let [.., single] = passed("b3: 0\r\n", true);
        let parts: Vec<&str> = single.split('-').collect();
        assert_eq!((parts.len(), parts[0].len(), parts[2]), (3, 32, "0"), "{single}");
    }
}

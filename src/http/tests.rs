//! Heads for the tests of layers that know no codec.

use super::head::{HeaderLine, Known, Method, RequestHead, Span};

/// The head of a request that is written as in HTTP/1.1, every line of it well-formed.
pub(crate) fn request_head(text: &str) -> RequestHead {
    let mut head = RequestHead::default();
    let span = |part: &str| {
        let start = part.as_ptr().addr() - text.as_ptr().addr();
        Span { start: start as u32, end: (start + part.len()) as u32 }
    };
    let mut lines = text.split("\r\n");
    let mut words = lines.next().expect("a request line").split(' ');
    let (method, target) = (words.next().expect("a method"), words.next().expect("a target"));
    head.method = Method::of(method.as_bytes()).expect("a method that is known");
    (head.method_span, head.target) = (span(method), span(target));
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').expect("a header line");
        let id = Known::of(name.as_bytes());
        head.facts.index.note(id, head.headers.len());
        head.headers.push(HeaderLine { id, name: span(name), value: span(value.trim()) });
    }
    head.len = text.len();
    head
}

//! The head of a message as it is sent, as a list of fields, for its readers: hashing, mirroring, the access log.
//!
//! Kept and filled again by the stream that it belongs to, so that it allocates nothing once it has grown. Only requests that
//! have such a reader pay for it.

use super::head::{HeaderLine, Known, Span};
use super::sink::{Framing, HeadSink};
use super::target;

/// The fields of one head, in order; of a request also its method and its target.
#[derive(Debug, Clone, Default)]
pub struct FieldList {
    text: Vec<u8>,
    method: Span,
    target: Span,
    fields: Vec<HeaderLine>,
    /// There is a body, of which no field says how long it is.
    unknown_length: bool,
}

impl FieldList {
    /// Forgets the head, keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        (self.method, self.target) = (Span::default(), Span::default());
        self.fields.clear();
        self.unknown_length = false;
    }

    /// Takes one head, which replaces the one before; `buf` is the buffer of the received head.
    pub fn sink<'l>(&'l mut self, buf: &'l [u8]) -> FieldSink<'l, fn(Known, &[u8]) -> bool> {
        self.sink_of(buf, |_, _| true)
    }

    /// [`FieldList::sink`], of which only the fields stay that `wanted` wants, by the id of the name and the name.
    pub fn sink_of<'l, W: Fn(Known, &[u8]) -> bool>(&'l mut self, buf: &'l [u8], wanted: W) -> FieldSink<'l, W> {
        self.clear();
        FieldSink { list: self, buf, wanted }
    }

    /// Whether no head has been taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The value of `Host`, of a request.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        let host = self.fields.iter().find(|field| field.id == Known::Host);
        host.map_or(&[], |field| field.value.of(&self.text))
    }

    /// Gives the head, a request's, to a sink.
    pub fn send(&self, sink: &mut impl HeadSink) {
        sink.request(self.method(), self.target());
        self.fields().for_each(|(_, name, value)| sink.put(name, value));
        sink.end(self.framing());
    }

    /// The method, of a request.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.method.of(&self.text)
    }

    /// Path and query, of a request.
    #[must_use]
    pub fn target(&self) -> &[u8] {
        self.target.of(&self.text)
    }

    /// Names and values, in order.
    pub fn fields(&self) -> impl Iterator<Item = (Known, &[u8], &[u8])> {
        self.fields.iter().map(|field| (field.id, field.name.of(&self.text), field.value.of(&self.text)))
    }

    /// The values of a name in any case, in order.
    pub fn values<'l>(&'l self, name: &[u8]) -> impl Iterator<Item = &'l [u8]> {
        let id = Known::of(name);
        let named = move |field: &(Known, &'l [u8], &'l [u8])| field.0 == id && field.1.eq_ignore_ascii_case(name);
        self.fields().filter(named).map(|(.., value)| value)
    }

    /// The information about the body that is not in the fields.
    #[must_use]
    pub fn framing(&self) -> Framing {
        if self.unknown_length { Framing::Unknown } else { Framing::Said }
    }

    fn push(&mut self, id: Known, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.text.len() as u32; // a head is bounded far below
        self.text.extend_from_slice(name);
        let end = self.text.len() as u32;
        write(&mut self.text);
        let value = Span { start: end, end: self.text.len() as u32 };
        self.fields.push(HeaderLine { id, name: Span { start, end }, value });
    }
}

/// Fills a [`FieldList`].
pub struct FieldSink<'l, W> {
    list: &'l mut FieldList,
    buf: &'l [u8],
    wanted: W,
}

impl<W: Fn(Known, &[u8]) -> bool> FieldSink<'_, W> {
    fn push(&mut self, id: Known, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        if (self.wanted)(id, name) {
            self.list.push(id, name, write);
        }
    }
}

impl<W: Fn(Known, &[u8]) -> bool> HeadSink for FieldSink<'_, W> {
    fn request(&mut self, method: &[u8], path: &[u8]) {
        let text = &mut self.list.text;
        text.extend_from_slice(method);
        self.list.method = Span { start: 0, end: text.len() as u32 };
        target::put(text, path);
        self.list.target = Span { start: self.list.method.end, end: text.len() as u32 };
    }

    fn status(&mut self, _: u16) {}

    fn keep(&mut self, line: &HeaderLine) {
        let (name, value) = (line.name.of(self.buf), line.value.of(self.buf));
        self.push(line.id, name, |text| text.extend_from_slice(value));
    }

    fn put_with(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        self.push(Known::of(name), name, write);
    }

    fn end(&mut self, framing: Framing) {
        match framing {
            Framing::Length(length) => self.put_number(b"content-length", length),
            Framing::Unknown => self.list.unknown_length = true,
            Framing::Said => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_field_by_field() {
        let buf = b"GET / HTTP/1.1\r\nX-User: anna\r\n\r\n";
        let line =
            HeaderLine { id: Known::Other, name: Span { start: 16, end: 22 }, value: Span { start: 24, end: 28 } };
        let mut list = FieldList::default();
        for _ in 0..2 {
            let mut sink = list.sink(buf);
            sink.request(b"GET", b"/a b?c");
            sink.put(b"host", b"a.com");
            sink.keep(&line);
            sink.replace(&line, buf, b"bert\r\nx: y");
            sink.put_list(b"x-forwarded-for", [&b"1"[..], b"", b"2\n"].into_iter());
            sink.end(Framing::Length(12));
            assert_eq!((list.method(), list.target()), (&b"GET"[..], &b"/a%20b?c"[..]));
            let values =
                |name: &[u8]| list.values(name).map(|value| value.escape_ascii().to_string()).collect::<Vec<_>>();
            assert_eq!(values(b"x-user"), ["anna", "bertx: y"]);
            assert_eq!(values(b"Host"), ["a.com"]);
            assert_eq!(values(b"x-forwarded-for"), ["1,2"]);
            assert_eq!(values(b"content-length"), ["12"]);
            assert_eq!(values(b"x"), [""; 0]);
        }
    }

    #[test]
    fn only_what_is_wanted_stays() {
        let mut list = FieldList::default();
        let mut sink = list.sink_of(b"", |_, name| name.eq_ignore_ascii_case(b"a"));
        sink.status(200);
        sink.put(b"A", b"1");
        sink.put(b"b", b"2");
        sink.end(Framing::Unknown);
        assert_eq!(list.fields().collect::<Vec<_>>(), [(Known::Other, &b"A"[..], &b"1"[..])]);
    }
}

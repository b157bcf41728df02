//! The receiver of a head that is sent: a codec writes it, a field list keeps it.
//!
//! [`super::outgoing`] and [`super::local_reply`] decide the content of a head, once; the sink decides its form.

use super::field_value;
use super::head::HeaderLine;

/// The framing that is still missing when all fields of a head are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// None: there is no body, or a field that passed has its length.
    Said,
    /// `content-length` with this many bytes.
    Length(u64),
    /// That there is a body whose length is not known: the codec's own way of saying it.
    Unknown,
}

/// Takes the head of one message, its parts in the order in which they are sent.
pub trait HeadSink {
    /// The head is a request's: its method, and path and query as `target::put` writes them.
    fn request(&mut self, method: &[u8], target: &[u8]);

    /// The head is a response's.
    fn status(&mut self, status: u16);

    /// A line of the received head that passes unchanged.
    fn keep(&mut self, line: &HeaderLine);

    /// A field of the proxy's own; `write` appends its value, which must be legal.
    fn put_with(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>));

    /// The last field is out.
    fn end(&mut self, framing: Framing);

    /// A field of the proxy's own. Bytes that no value may hold are left out.
    #[inline]
    fn put(&mut self, name: &[u8], value: &[u8]) {
        self.put_with(name, |out| field_value::put(out, value));
    }

    /// A field whose value is a number.
    #[inline]
    fn put_number(&mut self, name: &[u8], value: u64) {
        self.put_with(name, |out| out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()));
    }

    /// A field whose value is a list: comma, no blank, as Envoy joins them; empty elements are left out.
    fn put_list<'v>(&mut self, name: &[u8], values: impl Iterator<Item = &'v [u8]>) {
        self.put_with(name, |out| {
            let start = out.len();
            for value in values.filter(|value| !value.is_empty()) {
                if out.len() > start {
                    out.push(b',');
                }
                field_value::put(out, value);
            }
        });
    }

    /// A line of the received head with another value, or unchanged if the value is the same.
    #[inline]
    fn replace(&mut self, line: &HeaderLine, buf: &[u8], value: &[u8]) {
        if line.value.of(buf) == value {
            self.keep(line);
        } else {
            self.put(line.name.of(buf), value);
        }
    }
}

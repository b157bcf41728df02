//! The response headers that the access log shows, kept from the head as it was written.
//!
//! Most formats show none, and then nothing is looked at. It holds what it has room for from one response to the next,
//! so that keeping allocates nothing.

use std::ops::Range;

use crate::observe::access_log::AccessLog;

/// The headers that a format asks for.
#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes: Vec<u8>,
    /// Name, in lower case, and value of each.
    lines: Vec<(Range<usize>, Range<usize>)>,
}

impl Kept {
    /// Forgets the last response.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
    }

    /// Keeps what `format` shows of a response's head: its bytes from the status line to the empty line.
    pub(super) fn keep(&mut self, format: &AccessLog, head: &[u8]) {
        self.clear();
        let wanted = format.response_headers();
        if wanted.is_empty() {
            return;
        }
        for line in head.split(|byte| *byte == b'\n').skip(1) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
            let (name, value) = line.split_at(colon);
            let Some(name) = wanted.iter().find(|wanted| wanted.as_bytes().eq_ignore_ascii_case(name)) else {
                continue;
            };
            if self.get(name).is_some() {
                continue;
            }
            let name = self.push(name.as_bytes());
            let value = self.push(value.get(1..).unwrap_or_default().trim_ascii());
            self.lines.push((name, value));
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// The first value of a header that the format shows; its name in lower case.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        let of = |span: &Range<usize>| self.bytes.get(span.clone()).unwrap_or_default();
        self.lines.iter().find(|(kept, _)| of(kept) == name.as_bytes()).map(|(_, value)| of(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nx-a:1\r\nX-A: 2\r\nx-empty: \r\ncolon: a:b\r\n\r\nx-body: no\r\n";

    #[test]
    fn what_the_format_shows_is_kept() {
        let format = AccessLog::compile(
            "%RESP(CONTENT-TYPE)% %RESP(X-A)% %RESP(X-EMPTY)% %RESP(COLON)% %RESP(X-BODY)% %RESP(X-NONE)%",
        )
        .unwrap();
        let mut kept = Kept::default();
        for _ in 0..2 {
            kept.keep(&format, HEAD);
            for (name, value) in [
                ("content-type", Some(&b"text/plain"[..])),
                ("x-a", Some(b"1")),
                ("x-empty", Some(b"")),
                ("colon", Some(b"a:b")),
                ("x-body", None),
                ("x-none", None),
            ] {
                assert_eq!(kept.get(name), value, "{name}");
            }
        }
        kept.clear();
        assert_eq!(kept.get("x-a"), None);
    }

    #[test]
    fn nothing_is_kept_that_is_not_shown() {
        let mut kept = Kept::default();
        kept.keep(&AccessLog::istio_default(), HEAD);
        assert!(kept.bytes.capacity() == 0 && kept.lines.capacity() == 0);
    }
}

//! What the first bytes of a connection are: an HTTP/1 request line, a TLS ClientHello, or something else.
//!
//! Pure: bytes in, verdict out, asked again with more bytes behind the same ones. Called by `redirect` and `connect`.

use crate::base::limits::MOST_FIRST_BYTES;
use crate::h1::head::Method;
use crate::plan::Seen;

/// What the bytes so far are; `None`: more are needed to say.
pub(super) fn look(bytes: &[u8]) -> Option<Seen<'_>> {
    let seen = match bytes.first()? {
        &HANDSHAKE => hello(bytes),
        b'A'..=b'Z' => request_line(bytes),
        _ => Some(Seen::Bytes),
    };
    if seen.is_none() && bytes.len() >= MOST_FIRST_BYTES { Some(Seen::Bytes) } else { seen }
}

/// The whole line is awaited: `GET key` is a request to others, too. A CONNECT asks some other proxy for a tunnel, whose
/// bytes are none of ours.
fn request_line(bytes: &[u8]) -> Option<Seen<'_>> {
    const LONGEST_METHOD: usize = 16;
    let token = bytes.iter().take(LONGEST_METHOD + 1).take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-');
    let token = &bytes[..token.count()];
    match bytes.get(token.len()) {
        None if token.len() <= LONGEST_METHOD => return None,
        Some(b' ') if Method::of(token).is_some_and(|method| method != Method::Connect) => {}
        _ => return Some(Seen::Bytes),
    }
    let rest = &bytes[token.len()..];
    match memchr::memchr(b'\n', rest) {
        Some(end) => {
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            let version = line.len().checked_sub(8).and_then(|at| line.get(at..));
            let is_http = version.is_some_and(|version| version.starts_with(b"HTTP/1."));
            Some(if is_http { Seen::Http } else { Seen::Bytes })
        }
        None if rest.iter().all(|byte| (b' '..0x7f).contains(byte) || *byte == b'\r') => None,
        None => Some(Seen::Bytes),
    }
}

/// The content type of TLS handshake records.
const HANDSHAKE: u8 = 22;

/// RFC 8446 §5.1 and §4.1.2: a record that begins a ClientHello, with the server name of its extensions (RFC 6066 §3).
/// Hellos that span several records exist in theory; their name is not found, and they are TLS all the same.
fn hello(bytes: &[u8]) -> Option<Seen<'_>> {
    const CLIENT_HELLO: u8 = 1;
    const MAJOR_VERSION: u8 = 3;
    for (at, expected) in [(1, MAJOR_VERSION), (5, CLIENT_HELLO)] {
        if *bytes.get(at)? != expected {
            return Some(Seen::Bytes);
        }
    }
    let length = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
    let record = bytes.get(5..5 + length)?;
    Some(Seen::Tls(server_name(record)))
}

/// The name of the first `host_name` in the hello; `None` if there is none, or the hello is malformed.
fn server_name(record: &[u8]) -> Option<&[u8]> {
    const SERVER_NAME: u16 = 0;
    const HOST_NAME: u8 = 0;
    let mut hello = Bytes(record);
    hello.skip(4 + 2 + 32)?; // type and length, version, random
    for width in [1, 2, 1] {
        hello.vector(width)?; // session id, cipher suites, compression methods
    }
    let mut extensions = Bytes(hello.vector(2)?);
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let content = extensions.vector(2)?;
        if kind == usize::from(SERVER_NAME) {
            let mut names = Bytes(Bytes(content).vector(2)?);
            while !names.0.is_empty() {
                let kind = names.number(1)?;
                let name = names.vector(2)?;
                if kind == usize::from(HOST_NAME) {
                    return Some(name).filter(|name| !name.is_empty());
                }
            }
        }
    }
    None
}

/// Bytes to read from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn skip(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    /// A number of `width` bytes.
    fn number(&mut self, width: usize) -> Option<usize> {
        Some(self.skip(width)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// What a length of `width` bytes stands before.
    fn vector(&mut self, width: usize) -> Option<&'a [u8]> {
        let length = self.number(width)?;
        self.skip(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello with these extensions.
    fn hello_with(extensions: &[u8]) -> Vec<u8> {
        let mut hello = vec![3, 3];
        hello.extend([7; 32]);
        hello.extend([2, 9, 9]); // session id
        hello.extend([0, 2, 0x13, 0x01]); // cipher suites
        hello.extend([1, 0]); // compression methods
        hello.extend((extensions.len() as u16).to_be_bytes());
        hello.extend(extensions);
        let mut record = vec![22, 3, 1];
        record.extend((hello.len() as u16 + 4).to_be_bytes());
        record.extend([1, 0]);
        record.extend((hello.len() as u16).to_be_bytes());
        record.extend(hello);
        record
    }

    fn named(name: &str) -> Vec<u8> {
        let length = name.len() as u16;
        let mut extensions = vec![0, 43, 0, 3, 2, 3, 4, 0, 0];
        extensions.extend((length + 5).to_be_bytes());
        extensions.extend((length + 3).to_be_bytes());
        extensions.push(0);
        extensions.extend(length.to_be_bytes());
        extensions.extend(name.as_bytes());
        hello_with(&extensions)
    }

    #[test]
    fn first_bytes() {
        for (bytes, seen) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(Seen::Http)),
            (b"POST /a?b HTTP/1.0\r\nHost: x", Some(Seen::Http)),
            (b"M-SEARCH * HTTP/1.1\r\n", Some(Seen::Http)),
            (b"GET http://a/ HTTP/1.1\n", Some(Seen::Http)),
            (b"", None),
            (b"G", None),
            (b"GET /a", None),
            (b"GET /a HTTP/1.1\r", None),
            (b"GET key\r\n", Some(Seen::Bytes)),
            (b"GET / HTTP/2.0\r\n", Some(Seen::Bytes)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Seen::Bytes)),
            (b"CONNECT a:443 HTTP/1.1\r\n", Some(Seen::Bytes)),
            (b"HELO mail\r\n", Some(Seen::Bytes)),
            (b"EHLO", None),
            (b"EHLO mail\r\n", Some(Seen::Bytes)),
            (b"ABCDEFGHIJKLMNOPQ", Some(Seen::Bytes)),
            (b"GET \x01", Some(Seen::Bytes)),
            (b"SSH-2.0-x\r\n", Some(Seen::Bytes)),
            (b"get / HTTP/1.1\r\n", Some(Seen::Bytes)),
            (b"*2\r\n", Some(Seen::Bytes)),
            (b"\0", Some(Seen::Bytes)),
            (b"\x16\x03", None),
            (b"\x16\x02\x01", Some(Seen::Bytes)),
            (b"\x16\x03\x01\x00\x01\x02", Some(Seen::Bytes)),
        ] {
            assert_eq!(look(bytes), seen, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn server_names() {
        assert_eq!(look(&named("a.example.com")), Some(Seen::Tls(Some(b"a.example.com"))));
        assert_eq!(look(&hello_with(&[])), Some(Seen::Tls(None)));
        assert_eq!(look(&named("")), Some(Seen::Tls(None)));
    }

    #[test]
    fn a_verdict_needs_all_of_it_and_never_changes() {
        let lines: [&[u8]; 2] = [b"DELETE /some/path HTTP/1.1\r\nHost: a\r\n\r\n", &named("www.example.com")];
        for whole in lines {
            let expected = look(whole).expect("a verdict");
            for length in 0..whole.len() {
                assert!(look(&whole[..length]).is_none_or(|seen| seen == expected), "{length} bytes");
            }
        }
    }

    #[test]
    fn damaged_hellos_are_nameless_and_nothing_panics() {
        let sound = named("www.example.com");
        for at in 5..sound.len() {
            for value in [0, 1, 127, 255] {
                let mut damaged = sound.clone();
                damaged[at] = value;
                let _ = look(&damaged);
                let _ = look(&damaged[..at]);
            }
        }
        assert_eq!(look(&[b"GET /".as_slice(), &[b'x'; MOST_FIRST_BYTES]].concat()), Some(Seen::Bytes));
        assert_eq!(look(&[[22, 3, 1, 0xff, 0xff, 1].as_slice(), &[0; MOST_FIRST_BYTES]].concat()), Some(Seen::Bytes));
    }
}

//! The protocol of the first bytes of a connection: an HTTP/1 request line, a TLS ClientHello, or another one.
//!
//! Pure: it gets bytes, and again the same bytes with more after them. Called by `detect`.

use std::borrow::Cow;

use crate::base::limits::MOST_FIRST_BYTES;
use crate::http::head::Method;
use crate::plan::Detected;

/// The protocol of the bytes so far; `None`: more are needed.
pub(crate) fn look(bytes: &[u8]) -> Option<Detected<'_>> {
    let seen = match bytes.first()? {
        &HANDSHAKE => hello(bytes),
        b'A'..=b'Z' => request_line(bytes),
        _ => Some(Detected::Bytes),
    };
    if seen.is_none() && bytes.len() >= MOST_FIRST_BYTES { Some(Detected::Bytes) } else { seen }
}

/// The whole line is needed: `GET key` is a request of other protocols, too. A CONNECT addresses another proxy, whose
/// tunnel is not decoded.
fn request_line(bytes: &[u8]) -> Option<Detected<'_>> {
    const LONGEST_METHOD: usize = 16;
    let token = bytes.iter().take(LONGEST_METHOD + 1).take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-');
    let token = &bytes[..token.count()];
    match bytes.get(token.len()) {
        None if token.len() <= LONGEST_METHOD => return None,
        Some(b' ') if Method::of(token).is_some_and(|method| method != Method::Connect) => {}
        _ => return Some(Detected::Bytes),
    }
    let rest = &bytes[token.len()..];
    match memchr::memchr(b'\n', rest) {
        Some(end) => {
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            let version = line.len().checked_sub(8).and_then(|at| line.get(at..));
            let is_http = version.is_some_and(|version| version.starts_with(b"HTTP/1."));
            Some(if is_http { Detected::Http } else { Detected::Bytes })
        }
        None if rest.iter().all(|byte| (b' '..0x7f).contains(byte) || *byte == b'\r') => None,
        None => Some(Detected::Bytes),
    }
}

/// The content type of TLS handshake records.
const HANDSHAKE: u8 = 22;

/// RFC 8446 §5.1 and §4.1.2: records that hold a ClientHello, with the server name of its extensions (RFC 6066 §3). A hello
/// may be cut over as many records as its client likes.
fn hello(bytes: &[u8]) -> Option<Detected<'_>> {
    const CLIENT_HELLO: u8 = 1;
    let (first, rest) = match record(bytes) {
        Record::Whole { content, rest } => (content, rest),
        Record::Part(content) => match content.first() {
            Some(kind) if *kind != CLIENT_HELLO => return Some(Detected::Bytes),
            _ => return None,
        },
        Record::None => return Some(Detected::Bytes),
    };
    if first.first() != Some(&CLIENT_HELLO) {
        return Some(Detected::Bytes);
    }
    // Most hellos are one record, whose name is read in place; hellos of several records are assembled.
    if let Some(length) = hello_length(first)
        && let Some(whole) = first.get(..length)
    {
        return Some(Detected::Tls(server_name(whole).map(Cow::Borrowed)));
    }
    let mut whole = first.to_vec();
    let mut rest = rest;
    loop {
        match record(rest) {
            Record::Whole { content, rest: behind } => {
                whole.extend_from_slice(content);
                rest = behind;
            }
            Record::Part(_) => return None,
            Record::None => return Some(Detected::Bytes),
        }
        if let Some(length) = hello_length(&whole)
            && let Some(whole) = whole.get(..length)
        {
            return Some(Detected::Tls(server_name(whole).map(|name| Cow::Owned(name.to_vec()))));
        }
    }
}

/// The start of a sequence of handshake records.
enum Record<'a> {
    Whole {
        content: &'a [u8],
        rest: &'a [u8],
    },
    /// As much of one as there is, without its header.
    Part(&'a [u8]),
    /// Something else.
    None,
}

/// A record of a handshake: it has some content (RFC 8446 §5.1), and no more than a record may have.
fn record(bytes: &[u8]) -> Record<'_> {
    const MAJOR_VERSION: u8 = 3;
    const MOST_CONTENT: usize = 1 << 14;
    for (at, expected) in [(0, HANDSHAKE), (1, MAJOR_VERSION)] {
        match bytes.get(at) {
            None => return Record::Part(&[]),
            Some(byte) if *byte != expected => return Record::None,
            Some(_) => {}
        }
    }
    let Some((header, behind)) = bytes.split_at_checked(5) else { return Record::Part(&[]) };
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    match behind.split_at_checked(length) {
        _ if length == 0 || length > MOST_CONTENT => Record::None,
        Some((content, rest)) => Record::Whole { content, rest },
        None => Record::Part(behind),
    }
}

/// The bytes of the hello that handshake bytes begin with, its type and length included.
fn hello_length(handshake: &[u8]) -> Option<usize> {
    let length = handshake.get(1..4)?;
    Some(4 + length.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

/// The name of the first `host_name` in the hello; `None` without one, or if the hello is malformed.
fn server_name(whole: &[u8]) -> Option<&[u8]> {
    const SERVER_NAME: u16 = 0;
    const HOST_NAME: u8 = 0;
    let mut hello = Bytes(whole);
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

    /// The bytes after a length of `width` bytes.
    fn vector(&mut self, width: usize) -> Option<&'a [u8]> {
        let length = self.number(width)?;
        self.skip(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            (&b"GET / HTTP/1.1\r\n"[..], Some(Detected::Http)),
            (b"POST /a?b HTTP/1.0\r\nHost: x", Some(Detected::Http)),
            (b"M-SEARCH * HTTP/1.1\r\n", Some(Detected::Http)),
            (b"GET http://a/ HTTP/1.1\n", Some(Detected::Http)),
            (b"", None),
            (b"G", None),
            (b"GET /a", None),
            (b"GET /a HTTP/1.1\r", None),
            (b"GET key\r\n", Some(Detected::Bytes)),
            (b"GET / HTTP/2.0\r\n", Some(Detected::Bytes)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Detected::Bytes)),
            (b"CONNECT a:443 HTTP/1.1\r\n", Some(Detected::Bytes)),
            (b"HELO mail\r\n", Some(Detected::Bytes)),
            (b"EHLO", None),
            (b"EHLO mail\r\n", Some(Detected::Bytes)),
            (b"ABCDEFGHIJKLMNOPQ", Some(Detected::Bytes)),
            (b"GET \x01", Some(Detected::Bytes)),
            (b"SSH-2.0-x\r\n", Some(Detected::Bytes)),
            (b"get / HTTP/1.1\r\n", Some(Detected::Bytes)),
            (b"*2\r\n", Some(Detected::Bytes)),
            (b"\0", Some(Detected::Bytes)),
            (b"\x16\x03", None),
            (b"\x16\x02\x01", Some(Detected::Bytes)),
            (b"\x16\x03\x01\x00\x01\x02", Some(Detected::Bytes)),
            (b"\x16\x03\x01\x00\x09\x02", Some(Detected::Bytes)),
            (b"\x16\x03\x01\x00\x01\x01", None),
            (b"\x16\x03\x01\x00\x00", Some(Detected::Bytes)),
            (b"\x16\x03\x01\x40\x01", Some(Detected::Bytes)),
            (b"\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00", None),
            (b"\x16\x03\x01\x00\x01\x01\x17\x03\x01\x00", Some(Detected::Bytes)),
            (b"\x16\x03\x01\x00\x01\x01\x15", Some(Detected::Bytes)),
        ] {
            assert_eq!(look(bytes), seen, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn server_names() {
        assert_eq!(look(&named("a.example.com")), Some(Detected::tls("a.example.com")));
        assert_eq!(look(&hello_with(&[])), Some(Detected::Tls(None)));
        assert_eq!(look(&named("")), Some(Detected::Tls(None)));
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
        assert_eq!(look(&[b"GET /".as_slice(), &[b'x'; MOST_FIRST_BYTES]].concat()), Some(Detected::Bytes));
        assert_eq!(
            look(&[[22, 3, 1, 0xff, 0xff, 1].as_slice(), &[0; MOST_FIRST_BYTES]].concat()),
            Some(Detected::Bytes)
        );
    }

    /// The same hello in records of these lengths, and the last of what is left.
    fn cut(hello: &[u8], lengths: &[usize]) -> Vec<u8> {
        let (mut rest, mut records) = (&hello[5..], Vec::new());
        for length in lengths.iter().copied().chain([usize::MAX]) {
            let (content, behind) = rest.split_at(length.min(rest.len()));
            if !content.is_empty() {
                records.extend([22, 3, 1]);
                records.extend((content.len() as u16).to_be_bytes());
                records.extend(content);
            }
            rest = behind;
        }
        records
    }

    #[test]
    fn a_hello_in_records_of_one_byte() {
        let sound = named("www.example.com");
        let cut = cut(&sound, &vec![1; sound.len()]);
        assert_eq!(look(&cut), Some(Detected::tls("www.example.com")));
        assert_eq!(look(&cut[..cut.len() - 1]), None);
    }

    /// Bytes after the hello, in its last record or later, are not part of it.
    #[test]
    fn a_hello_with_something_behind_it() {
        let mut sound = named("www.example.com");
        sound.extend([20, 3, 3, 0, 1, 1]);
        assert_eq!(look(&sound), Some(Detected::tls("www.example.com")));
    }

    proptest! {
        #[test]
        fn cut_as_one_likes_it_is_the_same_hello(
            name in "[a-z]{1,20}(\\.[a-z]{1,20}){0,5}",
            lengths in prop::collection::vec(1..80_usize, 0..12),
        ) {
            let cut = cut(&named(&name), &lengths);
            let expected = Detected::tls(&name);
            prop_assert_eq!(look(&cut), Some(expected));
            for end in 0..cut.len() {
                prop_assert_eq!(look(&cut[..end]), None, "{} of {} bytes", end, cut.len());
            }
        }

        /// No panic, no result that changes with more bytes, and a result before too many bytes.
        #[test]
        fn any_bytes_will_do(start in prop_oneof![Just(&b"\x16\x03\x01"[..]), Just(&b""[..])], rest: Vec<u8>, more: Vec<u8>) {
            let bytes = [start, &rest].concat();
            let longer = [bytes.as_slice(), &more].concat();
            if let Some(seen) = look(&bytes) {
                prop_assert_eq!(look(&longer), Some(seen));
            }
            let most = [longer.as_slice(), &vec![0; MOST_FIRST_BYTES]].concat();
            prop_assert!(look(&most).is_some());
        }
    }
}

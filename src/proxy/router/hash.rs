//! A request's head as it goes upstream, for what a route hashes by.
//!
//! It is read back from the bytes that are about to be sent, because rules may have changed any of it. Only requests to
//! clusters that hash pay for it.

use std::net::SocketAddr;

use crate::policy::hashing::key::Outgoing;
use crate::proxy::stream::Stream;

/// The head of a request that was written by `h1::encode`.
pub(crate) struct Head<'a> {
    method: &'a [u8],
    target: &'a [u8],
    /// The header lines, each with its end.
    lines: &'a [u8],
    connection: (SocketAddr, SocketAddr),
}

impl<'a> Head<'a> {
    pub(crate) fn new(head: &'a [u8], stream: &Stream<'_>) -> Self {
        Self::of(head, (stream.conn.peer, stream.conn.local))
    }

    fn of(head: &'a [u8], connection: (SocketAddr, SocketAddr)) -> Self {
        let (first, lines) = head.split_at(memchr::memchr(b'\n', head).map_or(head.len(), |end| end + 1));
        let mut words = first.split(|byte| *byte == b' ');
        let mut word = || words.next().unwrap_or_default();
        Self { method: word(), target: word(), lines, connection }
    }

    fn pseudo(&self, name: &str) -> Option<&'a [u8]> {
        match name {
            ":method" => Some(self.method),
            ":path" => Some(self.target),
            _ => None,
        }
    }
}

impl Outgoing for Head<'_> {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let line_name = if name == ":authority" { "host" } else { name };
        let named = self.lines.split(|byte| *byte == b'\n').filter_map(move |line| {
            let colon = memchr::memchr(b':', line)?;
            let (own, value) = line.split_at_checked(colon)?;
            own.eq_ignore_ascii_case(line_name.as_bytes()).then(|| value.get(1..).unwrap_or_default().trim_ascii())
        });
        self.pseudo(name).into_iter().chain(named)
    }

    fn query(&self) -> &[u8] {
        let start = memchr::memchr(b'?', self.target).map_or(self.target.len(), |at| at + 1);
        self.target.get(start..).unwrap_or_default()
    }

    fn connection(&self) -> (SocketAddr, SocketAddr) {
        self.connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_can_be_asked_for() {
        let connection = (SocketAddr::from(([10, 0, 0, 1], 4321)), SocketAddr::from(([10, 0, 0, 2], 80)));
        let head = b"GET /p?user=a?b&c HTTP/1.1\r\nHost: a.com:80\r\nX-User: anna\r\nx-empty: \r\nx-user: b:c\r\n\r\n";
        let head = Head::of(head, connection);
        let values = |name: &str| -> Vec<String> {
            head.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
        };
        assert_eq!(values("x-user"), ["anna", "b:c"]);
        assert_eq!(values("x-empty"), [""]);
        assert_eq!(values("host"), ["a.com:80"]);
        assert_eq!(values(":authority"), ["a.com:80"]);
        assert_eq!(values(":path"), ["/p?user=a?b&c"]);
        assert_eq!(values(":method"), ["GET"]);
        assert_eq!(values("user"), [""; 0]);
        assert_eq!(head.query(), b"user=a?b&c");
        assert_eq!(head.connection(), connection);
        assert_eq!(Head::of(b"GET / HTTP/1.1\r\n\r\n", connection).query(), b"");
        for cut in [&b""[..], b"GET", b"GET ", b"\n", b"GET / HTTP/1.1\r\nx"] {
            assert_eq!(Head::of(cut, connection).values("x").count(), 0);
        }
    }
}

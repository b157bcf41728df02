//! A request's head as it goes upstream, for the hash keys of a route.
//!
//! Rules may have changed any of it, so it is read as it is sent. Only requests to clusters that hash pay for it.

use std::net::SocketAddr;

use crate::http::field_list::FieldList;
use crate::policy::hashing::key::Outgoing;

/// The head of a request as it goes upstream.
pub(crate) struct SentHead<'a> {
    /// The head.
    pub(crate) fields: &'a FieldList,
    /// The client's address, and ours as the client knows it.
    pub(crate) connection: (SocketAddr, SocketAddr),
}

impl Outgoing for SentHead<'_> {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let pseudo = match name {
            ":method" => Some(self.fields.method()),
            ":path" => Some(self.fields.target()),
            _ => None,
        };
        let name = if name == ":authority" { "host" } else { name };
        pseudo.into_iter().chain(self.fields.values(name.as_bytes()))
    }

    fn query(&self) -> &[u8] {
        let target = self.fields.target();
        let start = memchr::memchr(b'?', target).map_or(target.len(), |at| at + 1);
        target.get(start..).unwrap_or_default()
    }

    fn connection(&self) -> (SocketAddr, SocketAddr) {
        self.connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::sink::HeadSink;

    #[test]
    fn all_that_can_be_asked_for() {
        let connection = (SocketAddr::from(([10, 0, 0, 1], 4321)), SocketAddr::from(([10, 0, 0, 2], 80)));
        let mut fields = FieldList::default();
        let mut sink = fields.sink(b"");
        sink.request(b"GET", b"/p?user=a?b&c");
        for (name, value) in [("Host", "a.com:80"), ("X-User", "anna"), ("x-empty", ""), ("x-user", "b:c")] {
            sink.put(name.as_bytes(), value.as_bytes());
        }
        let head = SentHead { fields: &fields, connection };
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
        let none = FieldList::default();
        assert_eq!(SentHead { fields: &none, connection }.query(), b"");
    }
}

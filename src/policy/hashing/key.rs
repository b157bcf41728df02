//! The hash key of a request: a header, a cookie, the client's address or a parameter of the query.
//!
//! The values are taken from the request as it goes upstream, as Envoy does: after rewriting and header operations, with
//! the client in `x-forwarded-for`. A request that lacks the value has no hash, and goes to any endpoint. Only the
//! making of a cookie is left to the client: a request without one is hashed by the value that its response will set.
//! Envoy's `HashPolicyImpl`. Called by `proxy` once a request, before an endpoint is picked.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use smallvec::SmallVec;
use twox_hash::XxHash64;

use super::xxh64;

/// The hash key of `loadBalancer.consistentHash`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// `httpHeaderName`, lower case: all values of it, in whatever order they come.
    Header(Box<str>),
    /// `httpCookie`.
    Cookie(Cookie),
    /// `useSourceIp`: the address of the peer, without its port.
    SourceIp,
    /// `httpQueryParameterName`: its first value, as it is written.
    Query(Box<str>),
}

/// `httpCookie`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    /// `name`.
    pub name: Box<str>,
    /// `path` of the cookie that is made; may be empty.
    pub path: Box<str>,
    /// `ttl` of the generated cookie, in whole seconds; zero: a session cookie. `None`: no cookie is generated.
    pub ttl: Option<Duration>,
    /// `attributes` of the cookie that is made, such as `SameSite` and `Lax`; the value may be empty.
    pub attributes: Box<[(Box<str>, Box<str>)]>,
}

/// A request as it goes upstream.
pub trait Outgoing {
    /// The values of all lines of this name (lower case; `host` and pseudo names alike), in order.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;

    /// The query, after the `?` of the target; empty if there is none.
    fn query(&self) -> &[u8];

    /// The client's address, and ours as the client knows it.
    fn connection(&self) -> (SocketAddr, SocketAddr);
}

/// The result of hashing a request by the keys of its route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hashed<'k> {
    /// The hash to pick by; `None`: the request has none of the keys.
    pub hash: Option<u64>,
    /// Cookies that the response has to set.
    pub cookies: SmallVec<[NewCookie<'k>; 1]>,
}

/// A cookie that the client has not had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewCookie<'k> {
    cookie: &'k Cookie,
    value: [u8; 16],
}

/// Hashes a request by all keys of a route. Istio makes one of every destination that has any; the hash of one after
/// another is rotated into that of the former.
pub fn hash<'k>(keys: &'k [Key], request: &impl Outgoing) -> Hashed<'k> {
    let mut hashed = Hashed::default();
    for key in keys {
        let own = match key {
            Key::Header(name) => header(request.values(name)),
            Key::Cookie(cookie) => match find(request, &cookie.name) {
                Some(value) => Some(xxh64(value)),
                None => cookie.ttl.map(|_| {
                    let value = new_value(request.connection());
                    hashed.cookies.push(NewCookie { cookie, value });
                    xxh64(&value)
                }),
            },
            Key::SourceIp => Some(source_ip(request.connection().0)),
            Key::Query(name) => parameter(request.query(), name).map(xxh64),
        };
        hashed.hash = match (hashed.hash, own) {
            (Some(before), Some(own)) => Some(before.rotate_left(1) ^ own),
            (before, own) => own.or(before),
        };
    }
    hashed
}

impl NewCookie<'_> {
    /// Appends the value of the `set-cookie` line. Allocates only if `out` must grow.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Self { cookie, value } = self;
        out.extend_from_slice(cookie.name.as_bytes());
        out.extend_from_slice(b"=\"");
        out.extend_from_slice(value);
        out.push(b'"');
        let seconds = cookie.ttl.unwrap_or_default().as_secs();
        if seconds > 0 {
            out.extend_from_slice(b"; Max-Age=");
            out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
        }
        if !cookie.path.is_empty() {
            out.extend_from_slice(b"; Path=");
            out.extend_from_slice(cookie.path.as_bytes());
        }
        for (name, value) in &cookie.attributes {
            out.extend_from_slice(b"; ");
            out.extend_from_slice(name.as_bytes());
            if !value.is_empty() {
                out.push(b'=');
                out.extend_from_slice(value.as_bytes());
            }
        }
        out.extend_from_slice(b"; HttpOnly");
    }
}

/// The values sorted, so that their order does not matter; the hash of each is the seed of the next one's.
fn header<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<u64> {
    let mut values: SmallVec<[&[u8]; 8]> = values.collect();
    values.sort_unstable();
    values.iter().fold(None, |seed, value| Some(XxHash64::oneshot(seed.unwrap_or(0), value)))
}

/// The value of a cookie (RFC 6265 §4.2.1), without the quotes around it; `None` if it is empty or missing.
fn find<'a>(request: &'a impl Outgoing, name: &str) -> Option<&'a [u8]> {
    let pairs = request.values("cookie").flat_map(|line| line.split(|byte| *byte == b';'));
    let mut named = pairs.filter_map(|pair| {
        let start = pair.iter().position(|byte| *byte != b' ')?;
        let pair = pair.get(start..)?;
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (own, value) = pair.split_at_checked(equals)?;
        (own == name.as_bytes()).then_some(value.get(1..)?)
    });
    let value = named.next()?;
    let value = match value {
        [b'"', inner @ .., b'"'] => inner,
        bare => bare,
    };
    Some(value).filter(|value| !value.is_empty())
}

/// The first value of a parameter; empty if it has no `=`.
fn parameter<'a>(query: &'a [u8], name: &str) -> Option<&'a [u8]> {
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (own, value) = pair.split_at_checked(equals)?;
        (own == name.as_bytes()).then(|| value.get(1..).unwrap_or_default())
    })
}

/// The hash of a peer's address, without its port.
#[must_use]
pub fn source_ip(peer: SocketAddr) -> u64 {
    let mut text: SmallVec<[u8; 64]> = SmallVec::new();
    let _ = write!(text, "{}", peer.ip());
    xxh64(&text)
}

/// The value of a generated cookie: the same for all requests of a connection, so that concurrent requests agree.
fn new_value((peer, local): (SocketAddr, SocketAddr)) -> [u8; 16] {
    let mut text: SmallVec<[u8; 128]> = SmallVec::new();
    let _ = write!(text, "{peer}{local}");
    let hash = xxh64(&text);
    std::array::from_fn(|at| {
        let nibble = (hash >> (60 - 4 * at) & 0xf) as u32;
        char::from_digit(nibble, 16).unwrap_or_default() as u8
    })
}

#[cfg(test)]
mod tests;

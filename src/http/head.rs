//! Parsed heads: positions in the caller's buffer, with small ids for the names that the proxy itself cares about.
//!
//! A head has no lifetime, so it can move with its buffer, be kept by a connection and be filled again without
//! allocating. Codecs fill heads; all others only read them.

/// A range of bytes in the buffer that a head was parsed from. Half open: `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Position of the first byte.
    pub start: u32,
    /// Position after the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes of `buf` that this range names; empty if `buf` is not the buffer it was made from and too short.
    #[inline]
    #[must_use]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// Whether the range has no bytes.
    #[inline]
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// The two versions that are served; anything else is answered 426.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0: one request a connection unless `Connection: keep-alive`, and no chunked bodies.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

/// The request methods that rules mention or that change framing; `Other` are the rest that Envoy's parser knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// PROPFIND, PURGE, REPORT and the like: forwarded, never special.
    Other,
}

impl Method {
    /// The method of an exact (upper-case) token; `None` for a token that Envoy's HTTP/1 parser does not know.
    #[inline]
    #[must_use]
    pub fn of(token: &[u8]) -> Option<Self> {
        Some(match token {
            b"GET" => Self::Get,
            b"POST" => Self::Post,
            b"HEAD" => Self::Head,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"PATCH" => Self::Patch,
            b"CONNECT" => Self::Connect,
            b"TRACE" => Self::Trace,
            b"ACL" | b"BIND" | b"CHECKOUT" | b"COPY" | b"LINK" | b"LOCK" | b"M-SEARCH" | b"MERGE" | b"MKACTIVITY"
            | b"MKCALENDAR" | b"MKCOL" | b"MOVE" | b"NOTIFY" | b"PROPFIND" | b"PROPPATCH" | b"PURGE" | b"REBIND"
            | b"REPORT" | b"SEARCH" | b"SOURCE" | b"SUBSCRIBE" | b"UNBIND" | b"UNLINK" | b"UNLOCK" | b"UNSUBSCRIBE" => {
                Self::Other
            }
            _ => return None,
        })
    }

    /// Whether a request of this method may be sent again if the first one may have arrived (RFC 9110 §9.2.2). Rarer
    /// methods count as not idempotent.
    #[inline]
    #[must_use]
    pub fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace | Self::Put | Self::Delete)
    }

    /// Whether a request of this method without a body still says `content-length: 0` upstream, as Envoy writes it.
    #[inline]
    #[must_use]
    pub fn announces_empty_body(self) -> bool {
        !matches!(self, Self::Get | Self::Head | Self::Delete | Self::Trace | Self::Connect)
    }
}

/// The header names that the proxy looks at or edits, as ids. Every other name is [`Known::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Known {
    #[default]
    Other,
    Host,
    Connection,
    ContentLength,
    TransferEncoding,
    Te,
    Upgrade,
    KeepAlive,
    ProxyConnection,
    Expect,
    Server,
    Date,
    UserAgent,
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    XForwardedClientCert,
    XRequestId,
    XEnvoyUpstreamServiceTime,
    XRingwayHops,
    /// Any other name that begins with `x-envoy-`.
    XEnvoy,
}

impl Known {
    /// The id of a name in any case.
    #[inline]
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        // Length and first letter leave one candidate at most, and for most unknown names none.
        let Some(first) = name.first() else { return Self::Other };
        let (id, full): (Self, &[u8]) = match (name.len(), first | 0x20) {
            (2, b't') => (Self::Te, b"te"),
            (4, b'h') => (Self::Host, b"host"),
            (4, b'd') => (Self::Date, b"date"),
            (6, b's') => (Self::Server, b"server"),
            (6, b'e') => (Self::Expect, b"expect"),
            (7, b'u') => (Self::Upgrade, b"upgrade"),
            (10, b'u') => (Self::UserAgent, b"user-agent"),
            (10, b'c') => (Self::Connection, b"connection"),
            (10, b'k') => (Self::KeepAlive, b"keep-alive"),
            (12, b'x') => (Self::XRequestId, b"x-request-id"),
            (14, b'x') => (Self::XRingwayHops, b"x-ringway-hops"),
            (14, b'c') => (Self::ContentLength, b"content-length"),
            (15, b'x') => (Self::XForwardedFor, b"x-forwarded-for"),
            (16, b'x') => (Self::XForwardedHost, b"x-forwarded-host"),
            (16, b'p') => (Self::ProxyConnection, b"proxy-connection"),
            (17, b'x') => (Self::XForwardedProto, b"x-forwarded-proto"),
            (17, b't') => (Self::TransferEncoding, b"transfer-encoding"),
            (23, b'x') => (Self::XForwardedClientCert, b"x-forwarded-client-cert"),
            (29, b'x') => (Self::XEnvoyUpstreamServiceTime, b"x-envoy-upstream-service-time"),
            (_, b'x') if is_envoys(name) => return Self::XEnvoy,
            _ => return Self::Other,
        };
        if name.eq_ignore_ascii_case(full) {
            id
        } else if is_envoys(name) {
            Self::XEnvoy
        } else {
            Self::Other
        }
    }

    /// How many ids there are.
    const COUNT: usize = Self::XEnvoy as usize + 1;
}

/// Whether a name begins with `x-envoy-` and goes on.
#[inline]
fn is_envoys(name: &[u8]) -> bool {
    // Setting bit 5 of all eight bytes at once lowers the letters and leaves the dashes; it also lowers a few control
    // characters onto them, hence the second look.
    const LOWER: u64 = 0x2020_2020_2020_2020;
    match name.split_first_chunk::<8>() {
        Some((start, rest)) if !rest.is_empty() => {
            u64::from_ne_bytes(*start) | LOWER == u64::from_ne_bytes(*b"x-envoy-")
                && start.eq_ignore_ascii_case(b"x-envoy-")
        }
        _ => false,
    }
}

/// Where the lines of each known name are, so that no question about one of them walks over all lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Index([(u16, u16); Known::COUNT]);

impl Index {
    /// Notes that the line at `at` has this name; lines come in order.
    #[inline]
    pub(crate) fn note(&mut self, id: Known, at: usize) {
        let (first, end) = &mut self.0[id as usize];
        if *end == 0 {
            *first = at as u16; // `parse::MOST_HEADERS` is far below
        }
        *end = at as u16 + 1;
    }

    #[inline]
    fn has(&self, id: Known) -> bool {
        self.0[id as usize].1 != 0
    }

    /// From the first line of this name to the last one, others between them included.
    #[inline]
    fn range(&self, id: Known) -> std::ops::Range<usize> {
        let (first, end) = self.0[id as usize];
        first.into()..end.into()
    }
}

/// One header line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeaderLine {
    /// Which known name this is.
    pub id: Known,
    /// The name as received, without the colon.
    pub name: Span,
    /// The value without the white space around it.
    pub value: Span,
}

/// The lines of a head, with facts about them from parsing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) index: Index,
    /// Every line is `name: value\r\n` to the byte, so unchanged neighbours can be copied as one piece.
    pub(crate) canonical: bool,
    /// Bytes that had been seen when the head was last found incomplete: see `parse::worth_reading`.
    pub(crate) seen: usize,
}

/// The head of a request. Fields are valid once the codec has found it complete.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The method as sent, for [`Method::Other`] and for logs.
    pub method_span: Span,
    /// The request target as sent (RFC 9112 §3.2); `target::split` takes it apart.
    pub target: Span,
    /// The version.
    pub version: Version,
    /// The header lines, in order.
    pub headers: Vec<HeaderLine>,
    /// Bytes of the head in the buffer: empty lines before it and the blank line after it included.
    pub len: usize,
    pub(crate) facts: Facts,
}

/// The head of a response, interim (1xx) ones included.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    /// The status, 100 to 999.
    pub status: u16,
    /// The version.
    pub version: Version,
    /// The header lines, in order.
    pub headers: Vec<HeaderLine>,
    /// Bytes of the head in the buffer, the blank line included.
    pub len: usize,
    pub(crate) facts: Facts,
}

macro_rules! lookups {
    ($($head:ident),*) => {$(
        impl $head {
            /// Whether any line has this known name.
            #[inline]
            #[must_use]
            pub fn has(&self, id: Known) -> bool {
                self.facts.index.has(id)
            }

            /// The first line of a known name.
            #[inline]
            #[must_use]
            pub fn find(&self, id: Known) -> Option<&HeaderLine> {
                self.all(id).next()
            }

            /// Every line of a known name, in order.
            #[inline]
            pub fn all(&self, id: Known) -> impl Iterator<Item = &HeaderLine> {
                self.span_of(id).iter().filter(move |line| line.id == id)
            }

            /// From the first line of a known name to the last one, others between them included.
            #[inline]
            pub(crate) fn span_of(&self, id: Known) -> &[HeaderLine] {
                self.headers.get(self.facts.index.range(id)).unwrap_or_default()
            }

            /// The first value of a name in any case. `buf` is the buffer that the head was parsed from.
            #[must_use]
            pub fn value_of<'a>(&self, name: &str, buf: &'a [u8]) -> Option<&'a [u8]> {
                self.headers
                    .iter()
                    .find(|line| line.name.of(buf).eq_ignore_ascii_case(name.as_bytes()))
                    .map(|line| line.value.of(buf))
            }
        }
    )*};
}
lookups!(RequestHead, ResponseHead);

impl RequestHead {
    /// Forgets the message, keeps the memory. Must be called before the struct is used for another buffer.
    #[inline]
    pub fn clear(&mut self) {
        let headers = std::mem::take(&mut self.headers);
        *self = Self { headers, ..Self::default() };
        self.headers.clear();
    }
}

impl ResponseHead {
    /// Forgets the message, keeps the memory. Must be called before the struct is used for another buffer.
    #[inline]
    pub fn clear(&mut self) {
        let headers = std::mem::take(&mut self.headers);
        *self = Self { headers, ..Self::default() };
        self.headers.clear();
    }
}

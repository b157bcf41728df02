//! Why a message is refused, whichever codec read it, and the response to a refused request.
//!
//! Plain data. Made by the codecs and by [`super::target`]; `proxy` answers by it, and the access log shows its details.

use super::status;

/// Why a message is refused: one variant a reason. Every one of them ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The first line is not a request line.
    #[error("the request line is malformed")]
    RequestLine,
    /// The first line is not a status line, or the status is below 100.
    #[error("the status line is malformed")]
    StatusLine,
    /// A method that Envoy's parser does not know.
    #[error("the method is unknown")]
    Method,
    /// A well-formed version that is neither 1.0 nor 1.1.
    #[error("the HTTP version is not supported")]
    Version,
    /// A name that is not a token: a space before the colon, a folded line, a control character.
    #[error("a header name is malformed")]
    HeaderName,
    /// A control character or a bare CR in a value.
    #[error("a header value holds a control character")]
    HeaderValue,
    /// CR without LF at the end of a line.
    #[error("a line does not end in CRLF")]
    LineEnd,
    /// More bytes than `HeadLimits::max_bytes`.
    #[error("the head is too large")]
    TooLarge,
    /// More lines than `HeadLimits::max_headers`.
    #[error("the head has too many header lines")]
    TooManyHeaders,
    /// HTTP/1.1 without `Host`, and no authority in the target (RFC 9112 §3.2).
    #[error("the Host header is missing")]
    HostMissing,
    /// More than one `Host` line.
    #[error("there is more than one Host header")]
    HostDuplicate,
    /// A `Host` value or an authority that RFC 3986 §3.2 does not allow, user information included.
    #[error("the authority is malformed")]
    Authority,
    /// A `Connection` line that would strip `Host` or an `X-Forwarded-*` line.
    #[error("Connection names a header that it must not")]
    Connection,
    /// A target in no form of RFC 9112 §3.2, or with a byte that a URI cannot hold.
    #[error("the request target is malformed")]
    Target,
    /// An absolute target whose scheme is not `http` or `https`.
    #[error("the scheme of the request target is not supported")]
    Scheme,
    /// `https://` in the target of a plaintext connection.
    #[error("an https target on a plaintext connection")]
    HttpsTarget,
    /// A path that cannot be normalised: `#`, or an encoded NUL.
    #[error("the path cannot be normalised")]
    Path,
    /// Both `Content-Length` and `Transfer-Encoding` (RFC 9112 §6.3 calls it an attack).
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    /// A `Content-Length` that is repeated, a list, signed, empty, padded with zeros or too large.
    #[error("Content-Length is not one plain number")]
    Length,
    /// A `Transfer-Encoding` other than a single `chunked`.
    #[error("Transfer-Encoding is not a single chunked")]
    Coding,
    /// `Transfer-Encoding` in an HTTP/1.0 request (RFC 9112 §6.1: faulty framing).
    #[error("Transfer-Encoding in an HTTP/1.0 message")]
    CodingHttp10,
    /// A 204 that announces a body.
    #[error("a response that has no body announces one")]
    ForbiddenBody,
    /// A chunk size line that is malformed or too long, or chunks that are nearly all extension.
    #[error("a chunk size line is malformed")]
    ChunkSize,
    /// A chunk that is not followed by CRLF.
    #[error("a chunk does not end in CRLF")]
    ChunkEnd,
    /// A trailer section that is malformed or too long.
    #[error("the trailer section is malformed")]
    Trailer,
}

impl ProtocolError {
    /// The status to answer a client with. (A bad message from an upstream is always a 502.)
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::HttpsTarget => 403,
            Self::Version => 426,
            Self::TooLarge | Self::TooManyHeaders => 431,
            Self::Coding => 501,
            _ => 400,
        }
    }

    /// The body of that answer; empty where Envoy's connection manager, not its codec, refuses.
    #[must_use]
    pub fn body(self) -> &'static str {
        match self {
            Self::HostMissing | Self::Path => "",
            _ => status::reason(self.status()),
        }
    }

    /// Envoy's `%RESPONSE_CODE_DETAILS%` for the refusal.
    #[must_use]
    pub fn details(self) -> &'static str {
        match self {
            Self::Version => "low_version",
            Self::HeaderValue => "http1.invalid_characters",
            Self::TooLarge => "http1.headers_too_large",
            Self::TooManyHeaders => "http1.too_many_headers",
            Self::HostMissing => "missing_host_header",
            Self::HostDuplicate | Self::Authority => "http.invalid_authority",
            Self::Connection => "http1.connection_header_rejected",
            Self::Scheme => "http1.invalid_scheme",
            Self::HttpsTarget => "http1.https_url_on_plaintext_connection",
            Self::Path => "path_normalization_failed",
            Self::LengthAndCoding => "http1.content_length_and_chunked_not_allowed",
            Self::Coding | Self::CodingHttp10 => "http1.invalid_transfer_encoding",
            _ => "http1.codec_error",
        }
    }

    /// Whether Envoy flags the refusal `DPE` (its codec did it) or not at all (its connection manager did).
    #[must_use]
    pub fn is_protocol_error(self) -> bool {
        !matches!(self, Self::HostMissing | Self::Path)
    }
}

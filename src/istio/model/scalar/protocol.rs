//! The protocol of a port: from `protocol`, `appProtocol` or the port's name.

/// What a port speaks (Istio `pkg/config/protocol/instance.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `HTTP`.
    Http,
    /// `HTTP2`: HTTP/2 without TLS.
    Http2,
    /// `GRPC`.
    Grpc,
    /// `GRPC-WEB`.
    GrpcWeb,
    /// `HTTPS`.
    Https,
    /// `TLS`.
    Tls,
    /// `TCP`.
    Tcp,
    /// `MONGO`.
    Mongo,
    /// `REDIS`.
    Redis,
    /// `MYSQL`.
    Mysql,
    /// `UDP`.
    Udp,
    /// Not said: HTTP or TCP, found out by looking at the bytes.
    Auto,
}

impl Protocol {
    /// Whether `http:` rules of a VirtualService apply to a port of this protocol.
    #[must_use]
    pub fn routes_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb | Self::Auto)
    }
}

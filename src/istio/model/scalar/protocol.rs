//! The protocol of a port: from `protocol`, `appProtocol` or the port's name.

/// The protocol of a port (Istio `pkg/config/protocol/instance.go`).
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
    /// The names to offer where one is wrong.
    pub(in crate::istio) const KNOWN: &[&str] = &["HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "TCP", "TLS"];

    /// Whether connections begin with TLS, which names the host they are for.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }

    /// Whether `http:` rules of a VirtualService apply to a port of this protocol.
    #[must_use]
    pub fn routes_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb | Self::Auto)
    }
}

impl Protocol {
    /// The protocol that Istio's `protocol` field names, in any case; `None` for a name that Istio does not know.
    /// An empty name is [`Protocol::Auto`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "" => Self::Auto,
            "HTTP" | "HTTP_PROXY" => Self::Http,
            "HTTP2" => Self::Http2,
            "GRPC" => Self::Grpc,
            "GRPC-WEB" => Self::GrpcWeb,
            "HTTPS" => Self::Https,
            "TLS" => Self::Tls,
            "TCP" => Self::Tcp,
            "MONGO" => Self::Mongo,
            "REDIS" => Self::Redis,
            "MYSQL" => Self::Mysql,
            "UDP" => Self::Udp,
            _ => return None,
        })
    }

    /// The protocol of a Kubernetes Service port (Istio `pkg/config/kube/conversion.go`): `appProtocol` wins, then
    /// the port name's part before the first `-`; failing both, a few port numbers are TCP, and others are sniffed.
    #[must_use]
    pub fn of_kube_port(number: u16, name: &str, protocol: &str, app_protocol: Option<&str>) -> Self {
        if protocol.eq_ignore_ascii_case("UDP") {
            return Self::Udp;
        }
        match app_protocol {
            Some("kubernetes.io/h2c") => return Self::Http2,
            Some("kubernetes.io/ws") => return Self::Http,
            Some("kubernetes.io/wss") => return Self::Https,
            Some(app) => {
                if let Some(known) = Self::parse(app).filter(|_| !app.is_empty()) {
                    return known;
                }
            }
            None => {}
        }
        let lower = name.to_ascii_lowercase();
        let prefix =
            if lower.starts_with("grpc-web") { "grpc-web" } else { lower.split('-').next().unwrap_or_default() };
        match Self::parse(prefix) {
            Some(known) if !prefix.is_empty() => known,
            // SMTP, DNS, MySQL, MongoDB: servers that speak first, which sniffing would stall.
            _ if matches!(number, 25 | 53 | 3306 | 27017) => Self::Tcp,
            _ => Self::Auto,
        }
    }

    /// Istio's name of the protocol.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Http2 => "HTTP2",
            Self::Grpc => "GRPC",
            Self::GrpcWeb => "GRPC-WEB",
            Self::Https => "HTTPS",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Mongo => "MONGO",
            Self::Redis => "REDIS",
            Self::Mysql => "MYSQL",
            Self::Udp => "UDP",
            Self::Auto => "unset",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        assert_eq!(Protocol::parse("http"), Some(Protocol::Http));
        assert_eq!(Protocol::parse("Grpc-Web"), Some(Protocol::GrpcWeb));
        assert_eq!(Protocol::parse(""), Some(Protocol::Auto));
        assert_eq!(Protocol::parse("SCTP"), None);
    }

    #[test]
    fn kubernetes_ports_follow_app_protocol_then_name_then_number() {
        for ((number, name, protocol, app), expected) in [
            ((80, "", "TCP", None), Protocol::Auto),
            ((80, "http", "TCP", None), Protocol::Http),
            ((80, "HTTP-web", "TCP", None), Protocol::Http),
            ((80, "http2-web", "TCP", None), Protocol::Http2),
            ((80, "httpweb", "TCP", None), Protocol::Auto),
            ((80, "grpc-web-x", "TCP", None), Protocol::GrpcWeb),
            ((80, "grpc-x", "TCP", None), Protocol::Grpc),
            ((80, "tcp-x", "TCP", Some("http")), Protocol::Http),
            ((80, "x", "TCP", Some("kubernetes.io/h2c")), Protocol::Http2),
            ((80, "http", "TCP", Some("example.com/odd")), Protocol::Http),
            ((3306, "db", "TCP", None), Protocol::Tcp),
            ((3306, "http", "TCP", None), Protocol::Http),
            ((53, "http", "UDP", None), Protocol::Udp),
        ] {
            assert_eq!(Protocol::of_kube_port(number, name, protocol, app), expected, "{number} {name} {app:?}");
        }
    }
}

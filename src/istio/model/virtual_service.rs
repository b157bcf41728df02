//! `VirtualService` (Istio `networking/v1alpha3/virtual_service.proto`): rules from requests to destinations.

use super::Meta;
use super::scalar::StringMatch;

/// A VirtualService document. In a [`World`](crate::istio::world::World) all names are resolved and lower-case.
#[derive(Debug, Clone)]
pub struct VirtualService {
    /// Name, namespace, place.
    pub meta: Meta,
    /// `hosts`; in the world short names are expanded with the resource's namespace.
    pub hosts: Vec<String>,
    /// `gateways`; in the world each is `namespace/name` or [`MESH`], and absent has become `[mesh]`.
    pub gateways: Vec<String>,
    /// `http`, in order: the first rule that matches wins.
    pub http: Vec<HttpRoute>,
}

/// The reserved gateway name of sidecars, and the default of `gateways`.
pub const MESH: &str = "mesh";

/// One rule of `http`. Its path in the document is `spec.http[index]`.
#[derive(Debug, Clone)]
pub struct HttpRoute {
    /// `name`; empty when absent.
    pub name: String,
    /// Line of the rule in the file.
    pub line: u32,
    /// `match`: any of these blocks suffices; empty: every request.
    pub matches: Vec<HttpMatch>,
    /// `route`: at least one.
    pub route: Vec<RouteDestination>,
}

/// One block of `match`: all of its conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpMatch {
    /// `name`; the route is then called `route.match`. Empty when absent.
    pub name: String,
    /// `uri`: the path without query.
    pub uri: Option<StringMatch>,
    /// `ignoreUriCase`: of exact and prefix `uri` only.
    pub ignore_uri_case: bool,
    /// `method`.
    pub method: Option<StringMatch>,
    /// `authority`: the Host as sent, its port included.
    pub authority: Option<StringMatch>,
    /// `headers`, sorted by name; names as written (they may be `:method`, `:path`, `:authority`, `:scheme`).
    pub headers: Vec<(String, StringMatch)>,
    /// `port`: the port the client addressed: for a gateway, its server's number.
    pub port: Option<u16>,
}

/// One entry of `route`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteDestination {
    /// `destination`.
    pub destination: Destination,
    /// `weight`; 0 when absent. Meaningless for a single destination, which takes everything.
    pub weight: u32,
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// `host`; in the world expanded and lower-case.
    pub host: String,
    /// `subset`; `None`: all endpoints of the service.
    pub subset: Option<String>,
    /// `port.number`.
    pub port: Option<u16>,
}

//! The admin endpoints for people, dashboards and probes, in Envoy's formats.
//!
//! It owns its socket and threads and only reads: statistics from the registry, clusters from the current plan. It must
//! never reach a worker or hold a lock that one could want; commands (`/drain`) go to control as an [`Event`].
//! `control` starts it, and updates its [`State`] with every new plan and stage of the proxy.

// This is an edge: the age of the process needs the clock.
#![allow(clippy::disallowed_methods)]

mod authority;
mod clusters;
pub(super) mod config;
mod ejections;
mod listeners;
mod logging;
mod mirror_diffs;
mod stats;

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::mirror_diffs::Differences;
use super::Event;
use crate::base::endpoint::EndpointAddress;
use crate::base::re2::{self, BadRegex, Regex};
use crate::http::head::Method;
use crate::httpd::{Plus, Request, Response, Server, Settings};
use crate::observe::stats::Registry;
use crate::plan::Plan;
use crate::proxy::Difference;
use crate::upstream::SharedClusters;

/// Most connections: a few dashboards and probes, with room for silent ones. Fewer if the process may open only few
/// descriptors, which are for clients.
const CONNECTIONS: std::ops::RangeInclusive<u64> = 8..=64;

/// Responses under way at once. They are made with the cores that clients are served with.
const ANSWERS: usize = 4;

/// Of how many descriptors of the process one may be such a connection.
const DESCRIPTORS_PER_CONNECTION: u64 = 16;

/// Envoy's default `stats_flush_interval`: the meaning of "interval" in a histogram's text.
const ROLL_EVERY: Duration = Duration::from_secs(5);

/// Largest body of a request, in bytes: the endpoints need none, but `curl -d` sends one.
const BODY_BYTES: usize = 4096;

/// The proxy's state, with Envoy's names and numbers (`admin.v3.ServerInfo.State`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// It serves.
    Live = 0,
    /// It finishes requests in flight and accepts no new connections.
    Draining = 1,
    /// It is not yet ready to serve.
    PreInitializing = 2,
}

impl ServerState {
    fn name(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
            Self::PreInitializing => "PRE_INITIALIZING",
        }
    }
}

/// The state that the admin endpoints show, and the receiver of their commands.
#[derive(Debug)]
pub struct State {
    registry: Arc<Registry>,
    started: Instant,
    events: Sender<Event>,
    now: Mutex<Now>,
    differences: Mutex<Differences>,
}

#[derive(Debug, Clone)]
struct Now {
    plan: Arc<Plan>,
    /// The shared state of its clusters.
    shared: SharedClusters,
    /// Which plan it is, from 1.
    version: u64,
    /// The digest of its configuration.
    digest: String,
    stage: ServerState,
}

impl State {
    /// The state of a process that started at `started`, with the plan it is about to serve; `events` receives the
    /// endpoints' commands.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        plan: Arc<Plan>,
        shared: SharedClusters,
        started: Instant,
        events: Sender<Event>,
    ) -> Self {
        let now = Now { plan, shared, version: 1, digest: String::new(), stage: ServerState::PreInitializing };
        Self { registry, started, events, now: Mutex::new(now), differences: Mutex::default() }
    }

    /// Tells of the stage that the proxy has reached.
    pub fn enter(&self, stage: ServerState) {
        self.now().stage = stage;
    }

    /// Tells of the digest of the configuration in force.
    pub fn describe(&self, digest: String) {
        self.now().digest = digest;
    }

    /// Tells of the plan that the workers serve from now on.
    pub fn install(&self, plan: Arc<Plan>, shared: SharedClusters) {
        let mut now = self.now();
        (now.plan, now.shared) = (plan, shared);
        now.version += 1;
    }

    /// Tells of a request that a mirror answered differently.
    pub fn differs(&self, difference: Difference) {
        self.differences().push(difference);
    }

    fn differences(&self) -> MutexGuard<'_, Differences> {
        self.differences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of other members of the clusters of that plan.
    pub fn members_changed(&self, plan: Arc<Plan>, shared: SharedClusters) {
        let mut now = self.now();
        (now.plan, now.shared) = (plan, shared);
    }

    fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.now().plan)
    }

    /// Updates the statistics of the process itself.
    fn refresh(&self) {
        let (server, stage) = (self.registry.server(), self.now().stage);
        server.uptime.set(self.uptime());
        server.live.set(u64::from(stage == ServerState::Live));
        server.state.set(stage as u64);
        server.concurrency.set(self.registry.cores() as u64);
        self.show_breakers();
        ejections::show(self);
    }

    /// Shows which circuit breakers are open. Worked out when somebody looks, so that no request pays for it.
    fn show_breakers(&self) {
        let now = self.now().clone();
        for (cluster, shared) in now.plan.clusters.iter().zip(now.shared.iter()) {
            let Some(breaker) = &shared.breaker else { continue };
            let stats = self.registry.cluster_shared(&cluster.name);
            for (limit, gauge) in [
                (breaker.connections.limit(), &stats.default_cx_open),
                (&breaker.pending, &stats.default_rq_pending_open),
                (&breaker.requests, &stats.default_rq_open),
            ] {
                gauge.set(u64::from(limit.is_used_up()));
            }
            let budget = cluster.limits.retry_budget.as_ref();
            let used_up = breaker.retries_are_used_up(budget, crate::io::now());
            stats.default_rq_retry_open.set(u64::from(used_up));
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uptime(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}

/// The running admin server; dropping it stops it.
pub struct Admin {
    server: Server,
    stop: Option<Sender<()>>,
    roller: Option<JoinHandle<()>>,
}

impl Admin {
    /// Serves `state` on `address` (port 0: one of the kernel's choice), in a process that may open so many
    /// `descriptors`.
    ///
    /// # Errors
    /// If the address cannot be listened on or a thread cannot be started.
    pub fn start(address: SocketAddr, descriptors: u64, state: Arc<State>) -> io::Result<Self> {
        let connections = (descriptors / DESCRIPTORS_PER_CONNECTION).clamp(*CONNECTIONS.start(), *CONNECTIONS.end());
        let settings = Settings {
            server: "ringway".to_owned(),
            thread_name: "admin",
            connections: connections as usize,
            answers: ANSWERS,
            // Probes and orchestrators judge the process by it.
            at_once: |request| request.path == READY,
            body_bytes: BODY_BYTES,
            patience: Duration::from_secs(5),
            response: Duration::from_secs(60),
            idle: Duration::from_secs(30),
        };
        let registry = Arc::clone(&state.registry);
        let server = Server::start(TcpListener::bind(address)?, settings, move |request| answer(request, &state))?;
        let (stop, stopped) = channel::<()>();
        let roller = std::thread::Builder::new().name("admin-roll".to_owned()).spawn(move || {
            while stopped.recv_timeout(ROLL_EVERY) == Err(RecvTimeoutError::Timeout) {
                registry.roll();
            }
        })?;
        Ok(Self { server, stop: Some(stop), roller: Some(roller) })
    }

    /// The address that is listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.take(); // the roller's wait ends with its channel
        if let Some(roller) = self.roller.take() {
            let _ = roller.join(); // its panic was printed
        }
    }
}

/// One page of the admin server.
struct Page {
    path: &'static str,
    about: &'static str,
    method: Methods,
    parameters: &'static [(&'static str, &'static str)],
    answer: fn(&Request, &State) -> Result<Response, Response>,
}

/// The allowed methods of a page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Methods {
    /// It shows something.
    Get,
    /// It does something.
    Post,
    /// It shows something, and does something if it is posted to.
    Both,
}

impl Methods {
    fn allow(self, method: Method) -> bool {
        match self {
            Self::Get => matches!(method, Method::Get | Method::Head),
            Self::Post => method == Method::Post,
            Self::Both => matches!(method, Method::Get | Method::Head | Method::Post),
        }
    }

    /// For the header `allow`.
    fn names(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
            Self::Both => "GET, HEAD, POST",
        }
    }
}

/// Whether the proxy serves; answered before all else.
const READY: &str = "/ready";

const FILTER: (&str, &str) = ("filter", "Regular expression for filtering by name");
const FORMAT: (&str, &str) = ("format", "Format to use; One of (text, json)");
const USED_ONLY: (&str, &str) = ("usedonly", "Only include stats that have been written by the system since restart");
const TYPE: (&str, &str) = ("type", "Stat types to include; One of (All, Counters, Gauges, Histograms)");

/// All there is, in the order of the lists that show it.
const PAGES: &[Page] = &[
    Page { path: "/", about: "Admin home page", method: Methods::Get, parameters: &[], answer: home },
    Page {
        path: "/clusters",
        about: "upstream cluster status",
        method: Methods::Get,
        parameters: &[FILTER, FORMAT],
        answer: clusters::clusters,
    },
    Page {
        path: "/config_dump",
        about: "the configuration in force: listeners, routes, clusters",
        method: Methods::Get,
        parameters: &[
            ("name_regex", "Dump only listeners, virtual hosts and clusters whose names match"),
            ("format", "Format to use; One of (json, yaml)"),
        ],
        answer: config_dump,
    },
    Page {
        path: "/drain",
        about: "stop accepting connections, finish what is in flight, and wait for the signal to end",
        method: Methods::Post,
        parameters: &[],
        answer: drain,
    },
    Page {
        path: "/listeners",
        about: "print listener info",
        method: Methods::Get,
        parameters: &[FORMAT],
        answer: listeners::listeners,
    },
    Page {
        path: "/logging",
        about: "query/change logging levels",
        method: Methods::Both,
        parameters: &[
            ("<name>", "POST: Change the level of one logger"),
            ("paths", "POST: Change multiple levels by setting to <name1>:<level1>,<name2>:<level2>"),
            ("level", "POST: Change the level of all loggers"),
        ],
        answer: logging::logging,
    },
    Page {
        path: "/mirror_diffs",
        about: "the last requests that a mirror answered differently (annotation ringway.dev/mirror-compare)",
        method: Methods::Get,
        parameters: &[FORMAT],
        answer: mirror_diffs::mirror_diffs,
    },
    Page {
        path: READY,
        about: "print server state, return 200 if LIVE, otherwise return 503",
        method: Methods::Get,
        parameters: &[],
        answer: ready,
    },
    Page {
        path: "/server_info",
        about: "print server version/status information",
        method: Methods::Get,
        parameters: &[],
        answer: info,
    },
    Page {
        path: "/stats",
        about: "print server stats",
        method: Methods::Get,
        parameters: &[FILTER, ("format", "Format to use; One of (text, json, prometheus)"), TYPE, USED_ONLY],
        answer: stats::stats,
    },
    Page {
        path: "/stats/prometheus",
        about: "print server stats in prometheus format",
        method: Methods::Get,
        parameters: &[FILTER, TYPE, USED_ONLY],
        answer: stats::prometheus,
    },
];

fn answer(request: &Request, state: &State) -> Response {
    let response = match PAGES.iter().find(|page| page.path == request.path) {
        _ if !authority::are_trusted(request) => Response::text(403, authority::REFUSAL),
        None => {
            let mut text = "invalid path. admin commands are:\n".to_owned();
            list(&mut text);
            Response::text(404, text)
        }
        Some(page) if !page.method.allow(request.method) => {
            let required = if page.method == Methods::Post { "POST" } else { "GET" };
            let text = format!("Method {} not allowed, {required} required.", request.method_text);
            Response::text(405, text).with("allow", page.method.names())
        }
        Some(_) if request.method == Method::Post && is_from_elsewhere(request) => {
            Response::text(403, "a page of another origin may not do this\n")
        }
        Some(page) => (page.answer)(request, state).unwrap_or_else(|refusal| refusal),
    };
    response.with("cache-control", "no-cache, max-age=0").with("x-content-type-options", "nosniff")
}

/// Whether a browser sends this for a page that is not one of these: any web page can make it post to this host.
fn is_from_elsewhere(request: &Request) -> bool {
    request.header("origin").is_some_and(|origin| {
        let host = origin.split_once("://").map_or(origin, |(_, host)| host);
        !request.header("host").is_some_and(|own| own.eq_ignore_ascii_case(host))
    })
}

fn list(text: &mut String) {
    for Page { path, about, parameters, method, .. } in PAGES {
        let post = if *method == Methods::Post { " (POST)" } else { "" };
        let _ = writeln!(text, "  {path}{post}: {about}"); // a String takes every write
        for (name, about) in *parameters {
            let _ = writeln!(text, "      {name}: {about}");
        }
    }
}

/// The page for people. It is a single file, and loads its content from the other pages.
fn home(_: &Request, _: &State) -> Result<Response, Response> {
    let mut rows = String::new();
    for Page { path, about, method, .. } in PAGES {
        let name = match method {
            Methods::Post => format!("{path} (POST)"),
            Methods::Get | Methods::Both => format!("<a href=\".{path}\">{path}</a>"),
        };
        let _ = writeln!(rows, "<tr><td>{name}</td><td>{about}</td></tr>"); // a String takes every write
    }
    let html = include_str!("admin/home.html").replace("<!-- pages -->\n", &rows);
    let only_itself = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                       base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let response = Response { content_type: "text/html; charset=UTF-8", ..Response::text(200, html) };
    Ok(response.with("content-security-policy", only_itself))
}

fn ready(_: &Request, state: &State) -> Result<Response, Response> {
    let stage = state.now().stage;
    Ok(Response::text(if stage == ServerState::Live { 200 } else { 503 }, format!("{}\n", stage.name())))
}

fn info(_: &Request, state: &State) -> Result<Response, Response> {
    let (now, uptime) = (state.now().clone(), format!("{}s", state.uptime()));
    let document = json!({
        "version": concat!("ringway/", env!("CARGO_PKG_VERSION")),
        "state": now.stage.name(),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "hot_restart_version": "disabled",
        "command_line_options": {"concurrency": state.registry.cores()},
        "node": {
            "id": now.plan.proxy.name,
            "metadata": {
                "NAMESPACE": now.plan.proxy.namespace,
                "CONFIG_VERSION": now.version.to_string(),
                "CONFIG_DIGEST": now.digest,
            },
        },
    });
    Ok(json_page(format!("{document:#}\n")))
}

/// Drains like SIGTERM, except that the process stays for its admin endpoints until the signal: no new connection is
/// accepted from now on, requests in flight are finished (for `drainDuration` at most), and it cannot be undone.
fn drain(_: &Request, state: &State) -> Result<Response, Response> {
    match state.events.send(Event::Drain) {
        Ok(()) => Ok(Response::text(200, "OK\n")),
        Err(_) => Err(Response::text(503, "the process is ending\n")),
    }
}

fn config_dump(request: &Request, state: &State) -> Result<Response, Response> {
    let arguments = Arguments::of(request)?;
    for refused in ["resource", "mask"] {
        if arguments.get(refused).is_some() {
            return Err(refuse(format!("{refused} is not offered; name_regex is, and the whole dump\n")));
        }
    }
    let wanted = regex(arguments.get("name_regex"))?;
    let plan = state.plan();
    let document = config::dump(&plan, &|name| wanted.as_ref().is_none_or(|wanted| wanted.is_match(name.as_bytes())));
    match arguments.get("format") {
        None | Some("json") => Ok(json_page(format!("{document:#}\n"))),
        Some("yaml") => {
            let text = serde_yaml::to_string(&document)
                .map_err(|error| Response::text(500, format!("the dump is no YAML: {error}\n")))?;
            Ok(Response { content_type: "application/yaml", ..Response::text(200, text) })
        }
        Some(_) => Err(refuse("usage: /config_dump?format=(json|yaml)\n")),
    }
}

fn json_page(text: String) -> Response {
    Response { content_type: "application/json", ..Response::text(200, text) }
}

fn refuse(why: impl Into<String>) -> Response {
    Response::text(400, why)
}

/// An address in Envoy's JSON form.
fn address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// That of an endpoint.
fn endpoint_address(at: &EndpointAddress) -> Value {
    match at {
        EndpointAddress::Ip(at) => address(*at),
        EndpointAddress::Unix(path) => json!({"pipe": {"path": &**path}}),
    }
}

fn regex(text: Option<&str>) -> Result<Option<Regex>, Response> {
    let bad = |text: &str, bad: BadRegex| refuse(format!("Invalid re2 regex: \"{text}\" {bad} ({})\n", bad.write()));
    text.map(|text| re2::search(text).map_err(|error| bad(text, error))).transpose()
}

/// The query of a request. Parameters that a page does not know are ignored, as by Envoy.
struct Arguments {
    pairs: Vec<(String, String)>,
    filter: Option<Regex>,
}

impl Arguments {
    /// Reads them; the error is the answer to send.
    fn of(request: &Request) -> Result<Self, Response> {
        let mut arguments = Self { pairs: request.arguments(Plus::Itself), filter: None };
        arguments.filter = regex(arguments.get("filter"))?;
        Ok(arguments)
    }

    /// The value of the first parameter of that name.
    fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(each, _)| each == name).map(|(_, value)| value.as_str())
    }

    /// Whether the filter lets a name through.
    fn keeps(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.is_match(name.as_bytes()))
    }
}

#[cfg(test)]
mod tests;

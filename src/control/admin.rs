//! The admin endpoints: what people, dashboards and probes read of a running proxy, in Envoy's forms.
//!
//! It owns its socket and threads and only reads: statistics from the registry, clusters from the plan in force. It
//! must never reach a worker or hold a lock that one could want. `control` starts it, and tells its [`State`] of every
//! new plan and of the proxy's stages.

// This is an edge: the age of the process needs the clock.
#![allow(clippy::disallowed_methods)]

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::json;

use crate::h1::head::Method;
use crate::httpd::{Plus, Request, Response, Server, Settings};
use crate::observe::stats::{Registry, write_text};
use crate::plan::{Cluster, Plan};

/// Connections served at once: a few dashboards and probes, and the threads that they cost.
const CONNECTIONS: usize = 16;

/// Envoy's default `stats_flush_interval`: what "interval" means in a histogram's text.
const ROLL_EVERY: Duration = Duration::from_secs(5);

/// What Istio configures where no `connectionPool` limits anything: 2^32 - 1 of all.
const UNLIMITED: u32 = u32::MAX;

/// What the proxy is doing, in Envoy's words and with Envoy's numbers (`admin.v3.ServerInfo.State`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It serves.
    Live = 0,
    /// It finishes what is under way and takes nothing new.
    Draining = 1,
    /// It is not yet ready to serve.
    PreInitializing = 2,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
            Self::PreInitializing => "PRE_INITIALIZING",
        }
    }
}

/// What the admin endpoints show.
#[derive(Debug)]
pub struct State {
    registry: Arc<Registry>,
    started: Instant,
    now: Mutex<Now>,
}

#[derive(Debug, Clone)]
struct Now {
    plan: Arc<Plan>,
    stage: Stage,
}

impl State {
    /// The state of a process that started at `started`, with the plan it is about to serve.
    #[must_use]
    pub fn new(registry: Arc<Registry>, plan: Arc<Plan>, started: Instant) -> Self {
        Self { registry, started, now: Mutex::new(Now { plan, stage: Stage::PreInitializing }) }
    }

    /// Tells of the stage that the proxy has reached.
    pub fn enter(&self, stage: Stage) {
        self.now().stage = stage;
    }

    /// Tells of the plan that the workers serve from now on.
    pub fn install(&self, plan: Arc<Plan>) {
        self.now().plan = plan;
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
    /// Serves `state` on `address` (port 0: one of the kernel's choice).
    ///
    /// # Errors
    /// If the address cannot be listened on or a thread cannot be started.
    pub fn start(address: SocketAddr, state: Arc<State>) -> io::Result<Self> {
        let settings = Settings {
            server: "ringway".to_owned(),
            thread_name: "admin",
            connections: CONNECTIONS,
            body_bytes: 0,
            patience: Duration::from_secs(10),
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
    parameters: &'static [(&'static str, &'static str)],
    answer: fn(&Request, &State) -> Result<Response, Response>,
}

/// All there is, in the order of the lists that show it.
const PAGES: &[Page] = &[
    Page { path: "/", about: "Admin home page", parameters: &[], answer: home },
    Page {
        path: "/clusters",
        about: "upstream cluster status",
        parameters: &[("filter", "Regular expression for filtering clusters by name")],
        answer: clusters,
    },
    Page {
        path: "/ready",
        about: "print server state, return 200 if LIVE, otherwise return 503",
        parameters: &[],
        answer: ready,
    },
    Page { path: "/server_info", about: "print server version/status information", parameters: &[], answer: info },
    Page {
        path: "/stats",
        about: "print server stats",
        parameters: &[
            ("filter", "Regular expression for filtering stats by name"),
            ("usedonly", "Only include stats that have been written by the system since restart"),
        ],
        answer: stats,
    },
];

fn answer(request: &Request, state: &State) -> Response {
    let response = match PAGES.iter().find(|page| page.path == request.path) {
        None => {
            let mut text = "invalid path. admin commands are:\n".to_owned();
            list(&mut text);
            Response::text(404, text)
        }
        Some(_) if !matches!(request.method, Method::Get | Method::Head) => {
            let text = format!("Method {} not allowed, GET required.", request.method_text);
            Response::text(405, text).with("allow", "GET, HEAD")
        }
        Some(page) => (page.answer)(request, state).unwrap_or_else(|refusal| refusal),
    };
    response.with("cache-control", "no-cache, max-age=0").with("x-content-type-options", "nosniff")
}

fn list(text: &mut String) {
    for Page { path, about, parameters, .. } in PAGES {
        let _ = writeln!(text, "  {path}: {about}"); // a String takes every write
        for (name, about) in *parameters {
            let _ = writeln!(text, "      {name}: {about}");
        }
    }
}

fn home(_: &Request, state: &State) -> Result<Response, Response> {
    let mut rows = String::new();
    for Page { path, about, .. } in PAGES {
        let _ = writeln!(rows, "<tr><td><a href=\".{path}\">{path}</a></td><td>{about}</td></tr>");
    }
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>ringway admin</title></head>\n\
         <body><h1>ringway</h1><p>{}, up for {} s</p>\n<table>\n{rows}</table></body></html>\n",
        state.now().stage.name(),
        state.uptime(),
    );
    Ok(Response { content_type: "text/html; charset=UTF-8", ..Response::text(200, html) })
}

fn ready(_: &Request, state: &State) -> Result<Response, Response> {
    let stage = state.now().stage;
    Ok(Response::text(if stage == Stage::Live { 200 } else { 503 }, format!("{}\n", stage.name())))
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
        "node": {"id": now.plan.proxy.name, "metadata": {"NAMESPACE": now.plan.proxy.namespace}},
    });
    Ok(Response { content_type: "application/json", ..Response::text(200, format!("{document:#}\n")) })
}

fn stats(request: &Request, state: &State) -> Result<Response, Response> {
    let arguments = Arguments::of(request)?;
    let server = state.registry.server();
    let stage = state.now().stage;
    server.uptime.set(state.uptime());
    server.live.set(u64::from(stage == Stage::Live));
    server.state.set(stage as u64);
    server.concurrency.set(state.registry.cores() as u64);
    let mut stats = state.registry.snapshot(&|name| arguments.keeps(name));
    stats.retain(|stat| !arguments.used_only || stat.value.used());
    let mut text = String::new();
    write_text(&stats, &mut text);
    Ok(Response::text(200, text))
}

fn clusters(request: &Request, state: &State) -> Result<Response, Response> {
    let arguments = Arguments::of(request)?;
    let plan = Arc::clone(&state.now().plan);
    let mut text = String::new();
    for cluster in plan.clusters.iter().filter(|cluster| arguments.keeps(&cluster.name)) {
        // A String takes every write.
        let _ = write_cluster(&mut text, cluster, &state.registry);
    }
    Ok(Response::text(200, text))
}

fn write_cluster(text: &mut String, cluster: &Cluster, registry: &Registry) -> std::fmt::Result {
    let name = &cluster.name;
    writeln!(text, "{name}::observability_name::{name}")?;
    for limit in ["max_connections", "max_pending_requests", "max_requests", "max_retries"] {
        writeln!(text, "{name}::default_priority::{limit}::{UNLIMITED}")?;
    }
    writeln!(text, "{name}::added_via_api::false")?;
    for endpoint in &cluster.endpoints {
        let address = endpoint.address;
        let totals = registry.endpoint_totals(name, address);
        for (field, value) in [
            ("cx_active", totals.cx_active),
            ("cx_connect_fail", totals.cx_connect_fail),
            ("cx_total", totals.cx_total),
            ("rq_active", totals.rq_active),
            ("rq_error", totals.rq_error),
            ("rq_success", totals.rq_success),
            ("rq_timeout", totals.rq_timeout),
            ("rq_total", totals.rq_total),
        ] {
            writeln!(text, "{name}::{address}::{field}::{value}")?;
        }
        for (field, value) in [
            ("hostname", ""),
            ("health_flags", "healthy"),
            ("weight", itoa::Buffer::new().format(endpoint.weight)),
            ("region", ""),
            ("zone", ""),
            ("sub_zone", ""),
            ("canary", "false"),
            ("priority", "0"),
            ("success_rate", "-1"),
            ("local_origin_success_rate", "-1"),
        ] {
            writeln!(text, "{name}::{address}::{field}::{value}")?;
        }
    }
    Ok(())
}

/// The parameters of `/stats` and `/clusters`.
struct Arguments {
    filter: Option<Regex>,
    used_only: bool,
}

impl Arguments {
    /// Reads them; the error is the answer to send. Unknown ones are ignored, as by Envoy, but not `format`: who asks
    /// for JSON must not be given text.
    fn of(request: &Request) -> Result<Self, Response> {
        let mut arguments = Self { filter: None, used_only: false };
        for (name, value) in request.arguments(Plus::Itself) {
            match name.as_str() {
                "filter" => {
                    let regex = Regex::new(&value);
                    arguments.filter =
                        Some(regex.map_err(|error| Response::text(400, format!("Invalid regex: {error}\n")))?);
                }
                "usedonly" => arguments.used_only = true,
                "format" if value != "text" => {
                    return Err(Response::text(400, format!("format {value:?} is not offered; text is\n")));
                }
                _ => {}
            }
        }
        Ok(arguments)
    }

    fn keeps(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.is_match(name))
    }
}

#[cfg(test)]
mod tests;

//! Runs the cases of a world against one proxy, and compares what was seen at two of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::case::{Case, OK, Reply, Step};
use crate::observe::{Observation, Summary, is_for, summary};
use crate::support::client::{Client, Response, once};
use crate::support::envoy::Envoy;
use crate::support::message::{Body, Framing};
use crate::support::origin::{Origin, Peer};
use crate::support::ports;
use crate::support::ringway::{DRIVERS, Driver, Ringway, Setup};
use crate::support::skip;
use crate::support::wait::eventually;
use crate::translate::{Family, Outbound, Place, Side, bootstrap};

/// The YAML that a table of cases runs on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World {
    yaml: &'static str,
    /// How many origins there are: `@0`, `@1`, … in the YAML are their ports, `@refusing` is a port that refuses.
    origins: usize,
    side: Side,
    /// Fields of `meshConfig` and their values in flow YAML.
    mesh_config: &'static [(&'static str, &'static str)],
    /// Whom both proxies ask for names, and for which addresses Envoy asks.
    names: Option<(SocketAddr, Family)>,
}

impl World {
    /// A world with an HTTP server on port 80 of the Gateway `edge`.
    pub(crate) const fn gateway(yaml: &'static str, origins: usize) -> Self {
        Self { yaml, origins, side: Side::Gateway, mesh_config: &[], names: None }
    }

    /// A world with what a sidecar takes from its application. It must have a VirtualService for `marker.example.com` that
    /// routes nothing: an unknown host would not be a 404.
    pub(crate) const fn mesh(yaml: &'static str, origins: usize, outbound: Outbound) -> Self {
        Self { yaml, origins, side: Side::Mesh(outbound), mesh_config: &[], names: None }
    }

    /// The same world under these fields of `meshConfig`.
    pub(crate) const fn under(mut self, mesh_config: &'static [(&'static str, &'static str)]) -> Self {
        self.mesh_config = mesh_config;
        self
    }

    /// The same world with this server for its names, which both proxies ask again after a second where it does not say
    /// when.
    pub(crate) const fn asking(mut self, name_server: SocketAddr, family: Family) -> Self {
        self.mesh_config = &[("dnsRefreshRate", "1s")];
        self.names = Some((name_server, family));
        self
    }
}

/// The origins of a world and the script that they follow at the moment.
pub(crate) struct Origins {
    script: Arc<Mutex<Script>>,
    origins: Vec<Origin>,
    /// A port that nobody listens on.
    refusing: u16,
}

/// What the origins do, and how many requests of the case they have got.
struct Script {
    reply: Reply,
    requests: usize,
}

impl Script {
    const fn new(reply: Reply) -> Self {
        Self { reply, requests: 0 }
    }

    /// What is done with the next request.
    fn next(&mut self) -> Reply {
        let number = self.requests;
        self.requests += 1;
        match self.reply {
            Reply::InTurn(replies) => replies[number.min(replies.len() - 1)],
            reply => reply,
        }
    }
}

impl Origins {
    pub(crate) fn start(count: usize) -> Self {
        let script = Arc::new(Mutex::new(Script::new(OK)));
        let origins = (0..count)
            .map(|_| {
                let script = Arc::clone(&script);
                Origin::start(move |peer| follow(peer, &script))
            })
            .collect();
        Self { script, origins, refusing: ports::free() }
    }

    /// The YAML with `@0`, `@1`, … replaced by the ports of the origins and `@refusing` by a closed one.
    fn fill_in(&self, yaml: &str) -> String {
        let mut yaml = yaml.replace("@refusing", &self.refusing.to_string());
        for (number, origin) in self.origins.iter().enumerate() {
            yaml = yaml.replace(&format!("@{number}"), &origin.port().to_string());
        }
        yaml
    }

    /// The log's upstream addresses by the names that the YAML gives them.
    fn name_ports(&self, line: &str) -> String {
        let mut line = line.replace(&format!("127.0.0.1:{}\"", self.refusing), "@refusing\"");
        for (number, origin) in self.origins.iter().enumerate() {
            line = line.replace(&format!("\"{}\"", origin.address), &format!("\"@{number}\""));
        }
        line
    }

    fn forget(&self) {
        for origin in &self.origins {
            origin.take();
        }
    }
}

/// One connection of an origin: each request is answered as the script says by then.
fn follow(peer: &mut Peer, script: &Mutex<Script>) -> io::Result<()> {
    while let Some(head) = peer.head()? {
        let reply = script.lock().expect("a Script is never left half written").next();
        match reply {
            Reply::Bytes(bytes) => {
                peer.body(head)?;
                peer.send(bytes)?;
            }
            Reply::ThenClose(bytes) => {
                peer.body(head)?;
                return peer.send(bytes);
            }
            Reply::ThenReset(bytes) => {
                peer.body(head)?;
                peer.send(bytes)?;
                return peer.reset();
            }
            Reply::Continue => {
                peer.send("HTTP/1.1 100 Continue\r\n\r\n")?;
                let request = peer.body(head)?;
                let start = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.bytes.len());
                peer.send([start.as_bytes(), &request.body.bytes].concat())?;
            }
            Reply::Late(milliseconds, bytes) => {
                peer.body(head)?;
                std::thread::sleep(Duration::from_millis(milliseconds));
                peer.send(bytes)?;
            }
            Reply::InTurn(_) => panic!("turns within turns"),
            Reply::Tunnel(bytes) => {
                let none = Body { bytes: Vec::new(), framing: Framing::None, complete: true, trailers: Vec::new() };
                peer.record(head, none);
                peer.send(bytes)?;
                loop {
                    let byte = peer.raw(1)?;
                    if byte.is_empty() {
                        return Ok(());
                    }
                    peer.send(byte)?;
                }
            }
        }
    }
    Ok(())
}

/// A proxy under test.
pub(crate) trait Proxy {
    fn name(&self) -> String;
    fn address(&self) -> SocketAddr;
    fn log(&self) -> Vec<String>;
    fn admin(&self) -> SocketAddr;
    fn said(&self) -> String;
    /// The folder that ringway reads; Envoy has none.
    fn configuration(&self) -> Option<PathBuf> {
        None
    }
}

/// The statistics whose names end so; those of 0 are left out. Listeners go by their ports, so what they count is known
/// by its ending alone. Waits for what goes on when the clients have their answers: copies of requests.
pub(crate) fn counted(proxy: &dyn Proxy, endings: &[&str]) -> BTreeMap<String, String> {
    let text = eventually("no request at any origin", || {
        let text = once(proxy.admin(), "GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").text();
        let names = [".upstream_rq_active: ", ".upstream_rq_pending_active: "];
        let active = |line: &str| names.iter().any(|name| line.contains(name)) && !line.ends_with(": 0");
        (!text.lines().any(active)).then_some(text)
    });
    let pairs = text.lines().filter_map(|line| line.rsplit_once(": ")).filter(|(_, value)| *value != "0");
    let named = pairs.filter_map(|(name, value)| {
        let ending = endings.iter().find(|ending| name.ends_with(**ending))?;
        let name = if name.starts_with("http.") { format!("http{ending}") } else { name.to_owned() };
        Some((name, value.to_owned()))
    });
    named.collect()
}

struct EnvoyProxy {
    envoy: Envoy,
    address: SocketAddr,
    admin: SocketAddr,
    log: std::path::PathBuf,
    _dir: TempDir,
}

impl EnvoyProxy {
    fn start(yaml: &str, world: World) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let log = dir.path().join("access.log");
        let address = ports::loopback(ports::free());
        let admin = ports::loopback(ports::free());
        let place = Place { listener: address, admin, log: log.to_str().expect("a path in UTF-8"), names: world.names };
        let envoy = Envoy::start(&bootstrap(yaml, world.mesh_config, world.side, &place), admin);
        Self { envoy, address, admin, log, _dir: dir }
    }
}

impl Proxy for EnvoyProxy {
    fn name(&self) -> String {
        "Envoy".to_owned()
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        // Of a line that is still being written, only the beginning is there.
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    }

    fn admin(&self) -> SocketAddr {
        self.admin
    }

    fn said(&self) -> String {
        self.envoy.said()
    }
}

struct RingwayProxy {
    ringway: Ringway,
    driver: Driver,
    side: Side,
}

impl RingwayProxy {
    fn start(yaml: &str, world: World, driver: Driver) -> Self {
        let setup = Setup::new(driver).yaml(yaml);
        let fields = world.mesh_config.iter();
        let setup = fields.fold(setup, |setup, (field, value)| setup.mesh_config(field, value));
        let setup = match world.names {
            None => setup,
            Some((server, _)) => setup.spec("dns", &format!("{{servers: ['{server}'], timeout: 2s, attempts: 0}}")),
        };
        let setup = match world.side {
            Side::Gateway => setup,
            Side::Mesh(Outbound::AllowAny) => setup.mesh("ALLOW_ANY"),
            Side::Mesh(Outbound::AllowAnyDynamicDns) => setup.mesh("ALLOW_ANY_DYNAMIC_DNS"),
            Side::Mesh(Outbound::RegistryOnly) => setup.mesh("REGISTRY_ONLY"),
        };
        Self { ringway: setup.start(), driver, side: world.side }
    }
}

impl Proxy for RingwayProxy {
    fn name(&self) -> String {
        format!("ringway on {}", self.driver.name())
    }

    fn address(&self) -> SocketAddr {
        match self.side {
            Side::Gateway => self.ringway.address(),
            Side::Mesh(_) => self.ringway.mesh(),
        }
    }

    fn log(&self) -> Vec<String> {
        self.ringway.log()
    }

    fn admin(&self) -> SocketAddr {
        self.ringway.admin
    }

    fn said(&self) -> String {
        self.ringway.process.said()
    }

    fn configuration(&self) -> Option<PathBuf> {
        Some(self.ringway.config())
    }
}

/// Whether Envoy is there; says loudly when not.
pub(crate) fn envoy_is_there(cases: usize) -> bool {
    match Envoy::binary() {
        Ok(_) => true,
        Err(why) => {
            skip::loudly(&format!("SKIPPED: {cases} differential cases, because Envoy cannot be had: {why}"));
            false
        }
    }
}

/// Runs every case at Envoy and then at ringway on each driver, one proxy after the other before the same origins, and
/// fails with a list of all the differences that the cases do not state.
pub(crate) fn compare(world: World, cases: &[Case]) {
    compare_counting(world, cases, &[]);
}

/// [`compare`], and what all the cases together have added to the statistics whose names end so.
pub(crate) fn compare_counting(world: World, cases: &[Case], stats: &[&str]) {
    if !envoy_is_there(cases.len()) {
        return;
    }
    let origins = Origins::start(world.origins);
    let yaml = origins.fill_in(world.yaml);
    let mut report = String::new();

    let envoy = EnvoyProxy::start(&yaml, world);
    let oracle = run(&envoy, &origins, cases);
    let expected = counted(&envoy, stats);
    drop(envoy);
    for (case, seen) in cases.iter().zip(&oracle) {
        if !agree(case.envoy, &seen.lines) {
            let _ = writeln!(report, "{}: Envoy logs {:?}, the case says {:?}", case.name, seen.lines, case.envoy);
        }
    }
    if std::env::var_os("DIFFERENTIAL_SHOW").is_some() {
        show(cases, &oracle);
    }
    assert!(report.is_empty(), "the table is wrong about Envoy:\n{report}");
    for driver in DRIVERS {
        let ringway = RingwayProxy::start(&yaml, world, driver);
        let seen = run(&ringway, &origins, cases);
        for ((case, oracle), seen) in cases.iter().zip(&oracle).zip(&seen) {
            differences(&mut report, driver, case, &oracle.observation, &seen.observation);
        }
        let counted = counted(&ringway, stats);
        let names: BTreeSet<&String> = expected.keys().chain(counted.keys()).collect();
        for name in names.into_iter().filter(|name| expected.get(*name) != counted.get(*name)) {
            let (theirs, ours) = (text(expected.get(name)), text(counted.get(name)));
            let _ = writeln!(report, "{name}: Envoy {theirs}, ringway {ours} ({})", driver.name());
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

/// Whether each line of the log is as the case says: `STATUS FLAGS DETAILS`, or those and the route's name.
fn agree(expected: &[&str], lines: &[Summary]) -> bool {
    expected.len() == lines.len()
        && expected.iter().zip(lines).all(|(expected, line)| {
            *expected == line.verdict || *expected == format!("{} {}", line.verdict, line.route)
        })
}

/// Calls `visit` with each proxy in turn, before the same origins: Envoy, then ringway on each driver. Every origin says
/// its name (`@0`) in the response header `x-origin`.
pub(crate) fn at_each(world: World, visit: impl FnMut(&dyn Proxy)) {
    let named: Vec<Origin> = (0..world.origins)
        .map(|name| Origin::replying(format!("HTTP/1.1 200 OK\r\nx-origin: @{name}\r\ncontent-length: 0\r\n\r\n")))
        .collect();
    at_each_before(world, named, visit);
}

/// [`at_each`], before these origins.
pub(crate) fn at_each_before(world: World, origins: Vec<Origin>, mut visit: impl FnMut(&dyn Proxy)) {
    at_each_with(world, origins, |proxy, _| visit(proxy));
}

/// [`at_each_before`], with a look at the origins.
pub(crate) fn at_each_with(world: World, origins: Vec<Origin>, mut visit: impl FnMut(&dyn Proxy, &[Origin])) {
    if !envoy_is_there(1) {
        return;
    }
    let script = Arc::new(Mutex::new(Script::new(OK)));
    let origins = Origins { script, origins, refusing: ports::free() };
    let yaml = origins.fill_in(world.yaml);
    visit(&EnvoyProxy::start(&yaml, world), &origins.origins);
    for driver in DRIVERS {
        visit(&RingwayProxy::start(&yaml, world, driver), &origins.origins);
    }
}

/// Prints what Envoy did, for whoever writes a case.
fn show(cases: &[Case], seen: &[Seen]) {
    for (case, seen) in cases.iter().zip(seen) {
        println!("== {} {:?}", case.name, seen.lines);
        for (place, value) in &seen.observation.places {
            println!("   {place}: {value}");
        }
    }
}

/// What was seen of one case.
struct Seen {
    observation: Observation,
    lines: Vec<Summary>,
}

fn marker(number: usize) -> String {
    format!("/marker/{number}")
}

/// Runs the cases in order. A marker request after each one divides the access log.
fn run(proxy: &dyn Proxy, origins: &Origins, cases: &[Case]) -> Vec<Seen> {
    let mut seen = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        *origins.script.lock().expect("a Script is never left half written") = Script::new(case.origin);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(proxy.address(), origins, case)));
        let mut observation =
            outcome.unwrap_or_else(|_| panic!("{} at {}:\n{}", case.name, proxy.name(), proxy.said()));
        let mut count = 0;
        for (name, origin) in origins.origins.iter().enumerate() {
            // When the origin notices that a request was cut off is up to chance; what it has got of it by then too.
            for request in origin.take().iter().filter(|request| request.body.complete) {
                observation.request(count, request);
                observation.set(format!("origin.{count}.at"), format!("@{name}"));
                count += 1;
            }
        }
        *origins.script.lock().expect("a Script is never left half written") = Script::new(OK);
        mark(proxy.address(), &marker(number));
        origins.forget();
        seen.push(Seen { observation, lines: Vec::new() });
    }
    let last = marker(cases.len() - 1);
    let log = eventually(&format!("the access log of {} up to {last}", proxy.name()), || {
        let log = proxy.log();
        log.iter().any(|line| is_for(line, &last)).then_some(log)
    });
    let mut lines = log.iter();
    for (number, seen) in seen.iter_mut().enumerate() {
        let own = lines.by_ref().take_while(|line| !is_for(line, &marker(number)));
        let own = own.filter(|line| !is_for(line, AFTER));
        for (count, line) in own.enumerate() {
            let line = origins.name_ports(line);
            seen.observation.log_line(count, &line);
            seen.lines.push(summary(&line));
        }
    }
    seen
}

/// The path of the request that finds out whether a connection is still open.
const AFTER: &str = "/after";

/// A request to a host that no world routes, with a path of its own in the log.
fn mark(address: SocketAddr, path: &str) {
    let response = once(address, format!("GET {path} HTTP/1.1\r\nHost: marker.example.com\r\n\r\n"));
    assert_eq!(response.status, 404, "the marker is routed: {response:?}");
}

/// Plays the client's part of a case and notes what came back.
fn play(address: SocketAddr, origins: &Origins, case: &Case) -> Observation {
    let mut observation = Observation::default();
    let mut client = Client::connect(address);
    let mut responses = 0;
    let mut last: Option<Response> = None;
    for step in case.steps {
        match *step {
            Step::Send(bytes) => drop(client.try_send(bytes)), // refused early: the answer says why
            Step::Fill(before, piece, count, after) => {
                let bytes = [before, &piece.repeat(count), after].concat();
                drop(client.try_send(bytes)); // as above
            }
            Step::Read(method) => {
                match client.try_response_to(method) {
                    Ok(Some(response)) => {
                        observation.response(responses, &response);
                        last = Some(response);
                    }
                    Ok(None) => observation.set(format!("client.{responses}.start"), "<closed>"),
                    Err(error) => panic!("reading response {responses}: {error}"),
                }
                responses += 1;
            }
            Step::Raw(length) => {
                let bytes = client.raw(length);
                observation.set(format!("client.{responses}.raw"), String::from_utf8_lossy(&bytes).into_owned());
                responses += 1;
            }
            Step::AtOrigin => eventually("the request at an origin", || {
                origins.origins.iter().any(|origin| !origin.requests().is_empty()).then_some(())
            }),
            Step::AtOrigins(count) => eventually("the requests at the origins", || {
                let received: usize = origins.origins.iter().map(|origin| origin.requests().len()).sum();
                (received >= count).then_some(())
            }),
            Step::Pause(milliseconds) => std::thread::sleep(Duration::from_millis(milliseconds)),
            Step::Finish => {
                client.half_close();
                let rest = client.rest();
                observation.set("client.rest", String::from_utf8_lossy(&rest).into_owned());
                return observation;
            }
            Step::Leave => {
                client.reset();
                return observation;
            }
        }
    }
    let tunnel = last.as_ref().is_some_and(|response| response.status == 101);
    if !tunnel {
        observation.set("client.after", if still_open(&mut client) { "open" } else { "closed" });
    }
    observation
}

/// Whether the proxy answers another request on this connection. No timing in it: a proxy that has decided to close
/// does not answer, however long the close takes.
fn still_open(client: &mut Client) -> bool {
    if client.try_send(format!("GET {AFTER} HTTP/1.1\r\nHost: marker.example.com\r\n\r\n")).is_err() {
        return false;
    }
    matches!(client.try_response_to("GET"), Ok(Some(response)) if response.status == 404)
}

/// Adds the differences that the case does not state, and the statements that are not true.
fn differences(report: &mut String, driver: Driver, case: &Case, envoy: &Observation, ringway: &Observation) {
    let mut used = vec![false; case.stated.len()];
    let mut places: Vec<&String> = envoy.places.keys().chain(ringway.places.keys()).collect();
    places.sort();
    places.dedup();
    for place in places {
        let (theirs, ours) = (envoy.places.get(place), ringway.places.get(place));
        if theirs == ours {
            continue;
        }
        let stated = case.stated.iter().position(|stated| covers(stated.place, place));
        if let Some(number) = stated {
            used[number] = true;
        } else {
            let (theirs, ours) = (text(theirs), text(ours));
            let name = driver.name();
            let _ = writeln!(report, "{}: {place}:\n    Envoy:   {theirs}\n    ringway: {ours} ({name})", case.name);
        }
    }
    for (stated, used) in case.stated.iter().zip(used) {
        if !used {
            let _ = writeln!(report, "{}: no difference at {} ({})", case.name, stated.place, stated.why);
        }
        let ours = text(ringway.places.get(stated.place));
        if !stated.ringway.is_empty() && ours != stated.ringway {
            let _ = writeln!(
                report,
                "{}: {}: ringway has {ours}, the case says {}",
                case.name, stated.place, stated.ringway
            );
        }
    }
}

/// `client.0` covers `client.0.start`, but not `client.01`.
fn covers(stated: &str, place: &str) -> bool {
    place.strip_prefix(stated).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn text(value: Option<&String>) -> &str {
    value.map_or("<absent>", String::as_str)
}

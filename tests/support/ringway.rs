//! The real `ringway` binary on loopback: made configuration, kernel-checked ports, admin, log, exit code.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::client::{Client, Response, once};
use super::envoy::ready;
use super::ports;
use super::process::Process;
use super::wait::eventually;

/// Which of ringway's I/O drivers a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    IoUring,
    Epoll,
}

impl Driver {
    /// Its name in `spec.driver`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// A test for each driver: `fn name(driver: Driver)` becomes `name::io_uring` and `name::epoll`.
#[allow(unused_macros, reason = "some test binaries have no test for each driver")]
macro_rules! on_each_driver {
    ($($test:ident),* $(,)?) => {
        $(mod $test {
            #[test]
            fn io_uring() {
                super::$test(crate::support::ringway::Driver::IoUring);
            }

            #[test]
            fn epoll() {
                super::$test(crate::support::ringway::Driver::Epoll);
            }
        })*
    };
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use on_each_driver;

/// Every driver; black-box tests run on all of them.
pub(crate) const DRIVERS: [Driver; 2] = [Driver::IoUring, Driver::Epoll];

/// What a test says about the process it wants; [`Setup::start`] runs it.
pub(crate) struct Setup {
    driver: Driver,
    cpus: Vec<usize>,
    bind: IpAddr,
    gateway_ports: Vec<u16>,
    bound: BTreeMap<u16, u16>,
    admin: Option<SocketAddr>,
    mesh: Option<SocketAddr>,
    mesh_fields: String,
    labels: String,
    limits: String,
    access_log: Option<PathBuf>,
    spec: String,
    mesh_config: String,
    documents: Vec<String>,
    paths: Vec<PathBuf>,
    flags: Vec<String>,
    launcher: Vec<String>,
}

impl Setup {
    /// One worker on the first CPU, a Gateway port 80, an access log, defaults for the rest.
    pub(crate) fn new(driver: Driver) -> Self {
        Self {
            driver,
            cpus: vec![0],
            bind: Ipv4Addr::LOCALHOST.into(),
            gateway_ports: vec![80],
            bound: BTreeMap::new(),
            admin: None,
            mesh: None,
            mesh_fields: String::new(),
            labels: String::new(),
            limits: String::new(),
            access_log: None,
            spec: String::new(),
            mesh_config: String::new(),
            documents: Vec::new(),
            paths: Vec::new(),
            flags: Vec::new(),
            launcher: Vec::new(),
        }
    }

    /// The CPUs to have a worker on.
    pub(crate) fn cpus(mut self, cpus: &[usize]) -> Self {
        self.cpus = cpus.to_vec();
        self
    }

    /// The Gateway ports that the YAML opens; each gets a free port of the machine.
    pub(crate) fn gateway_ports(mut self, ports: &[u16]) -> Self {
        self.gateway_ports = ports.to_vec();
        self
    }

    /// With a mesh listener, and this `outboundTrafficPolicy.mode`.
    pub(crate) fn mesh(mut self, mode: &str) -> Self {
        self.mesh = Some(ports::loopback(ports::free()));
        self.mesh_config("outboundTrafficPolicy", &format!("{{mode: {mode}}}"))
    }

    /// The address of the mesh listener, in place of one on loopback.
    pub(crate) fn mesh_at(mut self, address: SocketAddr) -> Self {
        self.mesh = Some(address);
        self
    }

    /// One more field of `spec.mesh`; `value` is flow YAML.
    pub(crate) fn mesh_field(mut self, field: &str, value: &str) -> Self {
        let _ = write!(self.mesh_fields, ", {field}: {value}"); // a String takes everything
        self
    }

    /// The port to bind for a Gateway port, in place of a free one.
    pub(crate) fn bound(mut self, gateway_port: u16, port: u16) -> Self {
        self.bound.insert(gateway_port, port);
        self
    }

    /// The address of the Gateway listeners, in place of 127.0.0.1.
    pub(crate) fn bind(mut self, address: impl Into<IpAddr>) -> Self {
        self.bind = address.into();
        self
    }

    /// The address of the admin endpoints, in place of a free port.
    pub(crate) fn admin(mut self, address: SocketAddr) -> Self {
        self.admin = Some(address);
        self
    }

    /// Where the access log goes, in place of a file of the test's own.
    pub(crate) fn access_log(mut self, path: impl Into<PathBuf>) -> Self {
        self.access_log = Some(path.into());
        self
    }

    /// Flags for the command line.
    pub(crate) fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    /// A command that starts ringway, whose own command line is appended to it.
    pub(crate) fn launcher(mut self, command: &[&str]) -> Self {
        self.launcher = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// A label of the proxy, for Gateway selectors.
    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        let _ = writeln!(self.labels, "    {key}: {value}"); // a String takes everything
        self
    }

    /// One of `spec.limits`, in the contract's words.
    pub(crate) fn limit(mut self, field: &str, value: &str) -> Self {
        let _ = writeln!(self.limits, "    {field}: {value}");
        self
    }

    /// Another field of `spec`; `value` may be flow YAML.
    pub(crate) fn spec(mut self, field: &str, value: &str) -> Self {
        let _ = writeln!(self.spec, "  {field}: {value}");
        self
    }

    /// One field of `spec.meshConfig`; `value` may be flow YAML.
    pub(crate) fn mesh_config(mut self, field: &str, value: &str) -> Self {
        let _ = writeln!(self.mesh_config, "    {field}: {value}");
        self
    }

    /// Istio and Kubernetes documents.
    pub(crate) fn yaml(mut self, documents: impl Into<String>) -> Self {
        self.documents.push(documents.into());
        self
    }

    /// A file or folder to read besides.
    pub(crate) fn path(mut self, path: impl Into<PathBuf>) -> Self {
        self.paths.push(path.into());
        self
    }

    /// Starts ringway; ready when `/ready` says so.
    pub(crate) fn start(self) -> Ringway {
        self.start_with_stdout(Stdio::null())
    }

    /// As [`Setup::start`], with this standard output.
    pub(crate) fn start_with_stdout(self, stdout: Stdio) -> Ringway {
        let written = self.write();
        let mut process = Process::start_with_stdout("ringway", &mut self.command(&written), stdout);
        process.wait_until("ready", || ready(written.admin));
        let Written { dir, log, admin, ports } = written;
        Ringway { process, admin, ports, mesh: self.mesh, log, dir }
    }

    /// Runs ringway to an end that comes by itself: exit code and standard error.
    #[track_caller]
    pub(crate) fn fail(self) -> (Option<i32>, String) {
        let written = self.write();
        let mut process = Process::start("ringway", &mut self.command(&written));
        let status = process.wait();
        (status.code(), process.finish())
    }

    fn command(&self, written: &Written) -> Command {
        let mut words = self.launcher.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_ringway")]);
        let mut command = Command::new(words.next().expect("at least ringway"));
        command.args(words).arg("run").arg("-c").arg(written.dir.path().join("config"));
        for path in &self.paths {
            command.arg("-c").arg(path);
        }
        command.args(&self.flags);
        command
    }

    /// Chooses ports and writes the configuration.
    fn write(&self) -> Written {
        let dir = TempDir::new().expect("a temporary folder");
        let log = self.access_log.clone().unwrap_or_else(|| dir.path().join("access.log"));
        let admin = self.admin.unwrap_or_else(|| ports::loopback(ports::free()));
        let mut ports: BTreeMap<u16, u16> = self.gateway_ports.iter().map(|port| (*port, ports::free())).collect();
        ports.extend(&self.bound);
        let config = dir.path().join("config");
        std::fs::create_dir(&config).expect("a folder for the configuration");
        let proxy = self.proxy_document(&ports, admin, &log);
        std::fs::write(config.join("proxy.yaml"), proxy).expect("write proxy.yaml");
        for (number, text) in self.documents.iter().enumerate() {
            std::fs::write(config.join(format!("{number}.yaml")), text).expect("write YAML");
        }
        Written { dir, log, admin, ports }
    }

    fn proxy_document(&self, ports: &BTreeMap<u16, u16>, admin: SocketAddr, log: &Path) -> String {
        let mut text = "apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata:\n  name: test\n".to_owned();
        let ports: Vec<String> = ports.iter().map(|(gateway, bound)| format!("{gateway}: {bound}")).collect();
        if !self.labels.is_empty() {
            let _ = write!(text, "  labels:\n{}", self.labels);
        }
        let _ = writeln!(text, "spec:\n  cpus: {:?}\n  driver: {}", self.cpus, self.driver.name());
        let _ = writeln!(text, "  bind: {}\n  admin: {admin}\n  ports: {{{}}}", self.bind, ports.join(", "));
        if let Some(mesh) = self.mesh {
            let _ = writeln!(text, "  mesh: {{listen: '{mesh}'{}}}", self.mesh_fields);
        }
        text.push_str(&self.spec);
        if !self.limits.is_empty() {
            let _ = write!(text, "  limits:\n{}", self.limits);
        }
        let _ = write!(text, "  meshConfig:\n    accessLogFile: {}\n{}", log.display(), self.mesh_config);
        text
    }
}

/// A configuration on disk.
struct Written {
    dir: TempDir,
    log: PathBuf,
    admin: SocketAddr,
    ports: BTreeMap<u16, u16>,
}

/// A running ringway.
pub(crate) struct Ringway {
    pub(crate) process: Process,
    pub(crate) admin: SocketAddr,
    ports: BTreeMap<u16, u16>,
    mesh: Option<SocketAddr>,
    log: PathBuf,
    dir: TempDir,
}

impl Ringway {
    /// Where the mesh listener is, for a [`Setup::mesh`].
    pub(crate) fn mesh(&self) -> SocketAddr {
        self.mesh.expect("the test asked for a mesh listener")
    }

    /// Where the listener of Gateway port 80 is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener(80)
    }

    /// Where the listener of a Gateway port is.
    pub(crate) fn listener(&self, gateway_port: u16) -> SocketAddr {
        ports::loopback(self.ports[&gateway_port])
    }

    /// The folder that the configuration is read from.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    /// A connection to Gateway port 80.
    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// A connection to Gateway port 80 for each of two workers.
    #[track_caller]
    pub(crate) fn client_of_each_worker(&self) -> [Client; 2] {
        let count = |worker: usize| self.sum_of(&format!("worker_{worker}.downstream_cx_total"));
        let mut found: [Option<Client>; 2] = [None, None];
        for _ in 0..200 {
            let before = [count(0), count(1)];
            let client = self.client();
            let at = eventually("accepted", || (0..2).find(|worker| count(*worker) > before[*worker]));
            found[at].get_or_insert(client);
            if let [Some(_), Some(_)] = found {
                return found.map(|client| client.expect("checked"));
            }
        }
        panic!("200 connections and all on one worker");
    }

    /// What the admin answers to a GET.
    pub(crate) fn admin(&self, path: &str) -> Response {
        once(self.admin, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    /// The value of a counter or gauge; 0 when it is not there.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let stats = self.admin("/stats").text();
        let value = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.map_or(0, |value| value.parse().unwrap_or_else(|_| panic!("{name}: {value}")))
    }

    /// As [`Ringway::stat`], of a cluster.
    pub(crate) fn cluster_stat(&self, cluster: &str, name: &str) -> u64 {
        self.stat(&format!("cluster.{cluster}.{name}"))
    }

    /// As [`Ringway::stat`], of the cluster of [`everything_to`].
    pub(crate) fn origin_stat(&self, name: &str) -> u64 {
        self.cluster_stat(ORIGIN_CLUSTER, name)
    }

    /// The sum of every counter or gauge whose name ends so: over listeners, clusters, workers.
    pub(crate) fn sum_of(&self, ending: &str) -> u64 {
        let stats = self.admin("/stats").text();
        let pairs = stats.lines().filter_map(|line| line.rsplit_once(": "));
        pairs.filter(|(name, _)| name.ends_with(ending)).filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
    }

    /// The lines of the access log so far, if it is the test's own file.
    pub(crate) fn log(&self) -> Vec<String> {
        let own = self.log.starts_with(self.dir.path()); // a device has no end
        let text = if own { std::fs::read_to_string(&self.log).unwrap_or_default() } else { String::new() };
        // Of a line that is still being written, only the beginning is there.
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    }

    /// Waits for a line of the access log that holds all of `parts`.
    #[track_caller]
    pub(crate) fn logged(&self, parts: &[&str]) -> String {
        eventually(&format!("an access log line with {parts:?}"), || {
            self.log().into_iter().find(|line| parts.iter().all(|part| line.contains(part)))
        })
    }

    /// Waits until nothing is in flight any more: no downstream connection, no active request, and no permit for one, be it
    /// under way, waiting or tried again (those of a limit of 1 would show).
    #[track_caller]
    pub(crate) fn quiet(&self) {
        eventually("no active connection or request", || {
            let active = ["downstream_cx_active", "downstream_rq_active", "upstream_rq_active", "active_faults"];
            let pending = ["upstream_rq_pending_active", "default.rq_open", "default.rq_pending_open", "rq_retry_open"];
            active.iter().chain(&pending).all(|gauge| self.sum_of(gauge) == 0).then_some(())
        });
    }

    /// Sends SIGTERM and asserts a clean end.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Stopped {
        self.process.signal(Signal::TERM);
        self.ended()
    }

    /// Waits for the end after a signal sent by the test, and asserts exit code 0.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> Stopped {
        let status = self.process.wait();
        let said = self.process.finish();
        assert_eq!(status.code(), Some(0), "ringway ended with {status}:\n{said}");
        Stopped { said, log: self.log() }
    }
}

/// What a ringway that ended well left behind.
pub(crate) struct Stopped {
    /// Its standard error.
    pub(crate) said: String,
    /// Its access log.
    pub(crate) log: Vec<String>,
}

/// Documents that expose one service with the origins on these ports as its endpoints, to every host and path.
pub(crate) fn everything_to(ports: &[u16]) -> String {
    let mut text = r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec:
  hosts: ['*']
  gateways: [edge]
  http:
  - route:
    - destination: {host: origin, port: {number: 8000}}
---
apiVersion: v1
kind: Service
metadata: {name: origin}
spec:
  selector: {app: origin}
  ports:
  - {name: http, port: 8000}
"
    .to_owned();
    for (number, port) in ports.iter().enumerate() {
        let _ = write!(
            text,
            "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: origin-{number}}}\n\
             spec:\n  address: 127.0.0.1\n  ports: {{http: {port}}}\n  labels: {{app: origin}}\n"
        );
    }
    text
}

/// The cluster of [`everything_to`], as statistics and logs name it.
pub(crate) const ORIGIN_CLUSTER: &str = "outbound|8000||origin.default.svc.cluster.local";

//! The real thing: an application, its sidecar, an egress gateway and the outside, each in network namespaces that the
//! test makes and takes away again, with a packet filter that leaves the application no way around its sidecar.
//!
//! ```text
//! app (application, sidecar)            gw (egress gateway)            out (httpbin)
//! 10.77.1.2, fd77:1::2  ------------  10.77.1.1 | 10.77.2.1  --------  10.77.2.2
//! ```
//!
//! `gw` forwards nothing, so what reaches `out` has come through the gateway's proxy. Making namespaces takes root (or
//! CAP_SYS_ADMIN and CAP_NET_ADMIN), `ip`, and `iptables` with `ip6tables`, or `nft`; without them each test says so and is
//! skipped.

#![allow(clippy::disallowed_methods, reason = "a test drives real processes and reads the real clock")]

#[path = "../support/mod.rs"]
mod support;

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use support::client::Client;
use support::httpbin::Httpbin;
use support::origin::{Origin, Peer};
use support::ringway::{DRIVERS, Driver, Ringway, Setup};
use support::skip;
use support::wait::eventually;

/// The group that the packet filter lets through, as Istio's: the sidecar's.
const GROUP: &str = "1337";

/// Where redirected connections go.
const MESH_PORT: u16 = 15001;

/// Three namespaces, gone when dropped.
struct Namespaces {
    app: String,
    gw: String,
    out: String,
    v6: bool,
}

/// Runs a command to its end; its standard error if it failed.
fn run(command: &[&str]) -> Result<(), String> {
    let (program, arguments) = command.split_first().expect("a program");
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", command.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

fn within_namespace(namespace: &str, command: &[&str]) -> Result<(), String> {
    run(&[&["ip", "netns", "exec", namespace], command].concat())
}

impl Namespaces {
    /// Makes them, or says why not.
    fn make() -> Result<Self, String> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::SeqCst);
        let name = |part: &str| format!("rw{}-{number}-{part}", std::process::id());
        let mut made = Self { app: name("app"), gw: name("gw"), out: name("out"), v6: false };
        for namespace in [&made.app, &made.gw, &made.out] {
            run(&["ip", "netns", "add", namespace])?;
            within_namespace(namespace, &["ip", "link", "set", "lo", "up"])?;
        }
        made.join(&made.app, &made.gw, 1)?;
        made.join(&made.gw, &made.out, 2)?;
        // The way to the outside is known, and nobody goes it for the application.
        within_namespace(&made.app, &["ip", "route", "add", "default", "via", "10.77.1.1"])?;
        within_namespace(&made.out, &["ip", "route", "add", "default", "via", "10.77.2.1"])?;
        within_namespace(&made.gw, &["sysctl", "-q", "-w", "net.ipv4.ip_forward=0"])?;
        made.v6 = made.join_v6().map_err(|why| skip::loudly(&format!("no IPv6 in namespaces: {why}"))).is_ok();
        Ok(made)
    }

    /// A cable between two of them: 10.77.`net`.2 or .1 at the first, whichever is further from the gateway.
    fn join(&self, one: &str, other: &str, net: u8) -> Result<(), String> {
        let (left, right) = (format!("l{net}"), format!("r{net}"));
        let cable = ["ip", "link", "add", &left, "netns", one, "type", "veth", "peer", "name", &right, "netns", other];
        run(&cable)?;
        let address = |namespace: &str| format!("10.77.{net}.{}/24", if namespace == self.gw { 1 } else { 2 });
        for (namespace, end) in [(one, &left), (other, &right)] {
            within_namespace(namespace, &["ip", "address", "add", &address(namespace), "dev", end])?;
            within_namespace(namespace, &["ip", "link", "set", end, "up"])?;
        }
        Ok(())
    }

    fn join_v6(&self) -> Result<(), String> {
        for (namespace, end, address) in [(&self.app, "l1", "fd77:1::2/64"), (&self.gw, "r1", "fd77:1::1/64")] {
            within_namespace(namespace, &["ip", "-6", "address", "add", address, "dev", end, "nodad"])?;
        }
        Ok(())
    }

    /// Redirects what leaves `app` to its sidecar; what `except` says is let through.
    fn redirect(&self, except: &[&str]) -> Result<(), String> {
        let port = MESH_PORT.to_string();
        let rule = |program, own| {
            let rule = ["-t", "nat", "-A", "OUTPUT", "-p", "tcp", "!", "-d", own];
            let target = ["-j", "REDIRECT", "--to-ports", port.as_str()];
            within_namespace(&self.app, &[&[program], &rule[..], except, &target[..]].concat())
        };
        rule("iptables", "127.0.0.0/8")?;
        if self.v6 { rule("ip6tables", "::1/128") } else { Ok(()) }
    }

    /// Does something with `namespace` as its network: whatever is bound, connected or started there stays there.
    fn inside<T: Send>(&self, namespace: &str, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                let file = File::open(format!("/run/netns/{namespace}")).expect("the namespace");
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
                    .expect("into the namespace");
                work()
            });
            work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn in_app<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.inside(&self.app, work)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for namespace in [&self.app, &self.gw, &self.out] {
            let _ = run(&["ip", "netns", "del", namespace]); // what was never made cannot be taken away
        }
    }
}

/// The namespaces, or a line that nobody can overlook.
fn namespaces(test: &str) -> Option<Namespaces> {
    let made = Namespaces::make().and_then(|made| {
        let filters = ["iptables", "ip6tables"];
        let missing = filters.iter().find(|filter| within_namespace(&made.app, &[filter, "-t", "nat", "-L"]).is_err());
        missing.map_or(Ok(made), |filter| Err(format!("{filter} cannot list its nat table")))
    });
    let skipped =
        |why| skip::loudly(&format!("SKIPPED: namespaces::{test}, because namespaces cannot be made here: {why}"));
    made.map_err(skipped).ok()
}

/// A ringway that runs with the group of the sidecar.
fn as_group(driver: Driver) -> Setup {
    let group = format!("--regid={GROUP}");
    Setup::new(driver).launcher(&["setpriv", &group, "--clear-groups"])
}

fn except_the_sidecar() -> [&'static str; 5] {
    ["-m", "owner", "!", "--gid-owner", GROUP]
}

fn mesh() -> SocketAddr {
    // Both kinds of IP: the redirected connections come to 127.0.0.1 and to ::1.
    SocketAddr::from(([0_u16; 8], MESH_PORT))
}

/// An answer that names who gave it, to any HTTP request on any connection.
fn web(name: &'static str, at: SocketAddr) -> Origin {
    Origin::start_at(at, move |peer| {
        while let Some(request) = peer.request()? {
            let body = format!("{name} for {}", request.header("host").unwrap_or_default());
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))?;
        }
        Ok(())
    })
}

/// A server that speaks first and then repeats what it hears, in capitals.
fn loud(at: SocketAddr) -> Origin {
    Origin::start_at(at, speak_loudly)
}

fn speak_loudly(peer: &mut Peer) -> io::Result<()> {
    peer.send("220 loud\r\n")?;
    let mut stream = peer.stream()?.try_clone()?;
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            n => stream.write_all(&chunk[..n].to_ascii_uppercase())?,
        }
    }
}

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().expect("an address"), port)
}

/// What curl prints, from within the current namespace: the body, then the status on a line of its own.
fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20", "-w", "\n%{http_code}"])
        .args(arguments)
        .env_remove("http_proxy")
        .output()
        .expect("curl");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The tutorial's egress documents; the gateway is at 10.77.1.1:8080, httpbin at 10.77.2.2.
const EGRESS: &str = r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: httpbin}
spec:
  hosts: [httpbin.org]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.77.2.2, ports: {http: 8000}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: istio-egressgateway}
spec:
  selector: {istio: egressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [httpbin.org]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: egressgateway-for-httpbin}
spec:
  host: istio-egressgateway.istio-system.svc.cluster.local
  subsets: [{name: httpbin}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpbin-egress}
spec:
  hosts: [httpbin.org]
  gateways: [istio-egressgateway, mesh]
  http:
  - match: [{gateways: [mesh], port: 80}]
    route:
    - destination: {host: istio-egressgateway.istio-system.svc.cluster.local, subset: httpbin, port: {number: 80}}
  - match: [{gateways: [istio-egressgateway], port: 80}]
    route:
    - destination: {host: httpbin.org, port: {number: 80}}
---
apiVersion: v1
kind: Service
metadata: {name: istio-egressgateway, namespace: istio-system}
spec: {selector: {istio: egressgateway}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: egressgateway, namespace: istio-system}
spec: {address: 10.77.1.1, ports: {http: 8080}, labels: {istio: egressgateway}}
";

/// Stops a ringway of a namespace; its access log.
fn stopped(of: &Namespaces, namespace: &str, ringway: Ringway) -> Vec<String> {
    of.inside(namespace, || {
        let stopped = ringway.stop();
        assert!(!stopped.said.contains("panicked"), "{}", stopped.said);
        stopped.log
    })
}

#[test]
fn the_only_way_out_is_through_the_gateway() {
    let Some(spaces) = namespaces("the_only_way_out_is_through_the_gateway") else { return };
    let _httpbin = spaces.inside(&spaces.out, || Httpbin::start_at(address("10.77.2.2", 8000)));
    // By itself the application does not get there.
    let direct = spaces.in_app(|| TcpStream::connect_timeout(&address("10.77.2.2", 8000), Duration::from_millis(500)));
    assert!(direct.is_err(), "the gateway's host must not forward");
    spaces.redirect(&except_the_sidecar()).expect("the packet filter");
    for driver in DRIVERS {
        let gateway = spaces.inside(&spaces.gw, || {
            let setup = Setup::new(driver).bind(address("10.77.1.1", 0).ip()).bound(80, 8080);
            setup.label("istio", "egressgateway").yaml(EGRESS).start()
        });
        let sidecar = spaces.in_app(|| {
            let setup = as_group(driver).gateway_ports(&[]).mesh("REGISTRY_ONLY").mesh_at(mesh());
            setup.label("app", "sleep").yaml(EGRESS).start()
        });
        // The application knows an address of httpbin.org and nothing of any proxy.
        let page = spaces.in_app(|| curl(&["--resolve", "httpbin.org:80:10.77.2.2", "http://httpbin.org/headers"]));
        assert!(page.ends_with("\n200") && page.contains("\"Host\": \"httpbin.org\""), "{page}");
        assert!(page.contains("=1,") && page.contains("X-Ringway-Hops"), "it came by two ringways: {page}");
        let refused = spaces.in_app(|| curl(&["--resolve", "example.com:80:10.77.2.2", "http://example.com/"]));
        assert_eq!(refused, "\n502", "and there is no other way");
        let (first, second) = (stopped(&spaces, &spaces.app, sidecar), stopped(&spaces, &spaces.gw, gateway));
        let line = |log: &[String]| log.iter().find(|line| line.contains("GET /headers")).cloned().unwrap_or_default();
        let first = line(&first);
        let egress =
            "\"10.77.1.1:8080\" outbound|80|httpbin|istio-egressgateway.istio-system.svc.cluster.local 10.77.1.2:";
        assert!(first.contains(egress), "{first}");
        assert!(first.contains(" 10.77.2.2:80 10.77.1.2:"), "where it was sent and from where: {first}");
        let second = line(&second);
        assert!(second.contains("\"10.77.2.2:8000\" outbound|80||httpbin.org 10.77.2.1:"), "{second}");
    }
}

/// Documents of services that are no HTTP: one with an address of its own, one that has its port, two that are told apart
/// by their names.
fn bytes_services() -> String {
    let entry = |name: &str, host: &str, addresses: &str, port: u16, protocol: &str, target: u16| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec:\n  hosts: [{host}]\n  \
             addresses: [{addresses}]\n  ports: [{{number: {port}, name: p, protocol: {protocol}, targetPort: {target}}}]\n  \
             resolution: STATIC\n  endpoints: [{{address: 10.77.1.1}}]\n---\n"
        )
    };
    entry("db", "db.example.com", "10.88.0.9", 5432, "TCP", 7001)
        + &entry("mail", "mail.example.com", "", 25, "TCP", 7001)
        + &entry("a", "a.example.com", "", 443, "TLS", 7003)
        + &entry("web", "web.example.com", "", 80, "HTTP", 7002)
        + "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: none}\nspec:\n  hosts: \
           [none.example.com]\n  ports: [{number: 7005, name: a, protocol: HTTP}, {number: 7006, name: b, protocol: TCP}]\n  \
           resolution: NONE\n"
}

/// A ClientHello that asks for this name, as a real client sends it: what `openssl s_client` wrote down.
fn hello(name: &str) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address").to_string();
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &at, "-servername", name])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("openssl");
    let mut stream = listener.accept().expect("a client").0;
    let mut record = vec![0; 5];
    stream.read_exact(&mut record).expect("a record");
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + length, 0);
    stream.read_exact(&mut record[5..]).expect("a hello");
    drop(stream);
    let _ = client.wait(); // it failed, as it had to
    record
}

/// A whole conversation with a [`loud`] server at this address.
fn talk(to: SocketAddr) -> String {
    let mut client = Client::connect(to);
    assert_eq!(client.raw(10), b"220 loud\r\n", "{to}");
    client.send("hello there");
    client.half_close();
    String::from_utf8(client.rest()).expect("text")
}

#[test]
fn any_protocol_is_redirected() {
    let Some(spaces) = namespaces("any_protocol_is_redirected") else { return };
    let servers = spaces.inside(&spaces.gw, || {
        let ip = "10.77.1.1";
        let mut servers = vec![
            loud(address(ip, 7001)),
            web("web", address(ip, 7002)),
            Origin::reflecting_at(address(ip, 7003)),
            web("elsewhere", address(ip, 7004)),
            web("none", address(ip, 7005)),
            loud(address(ip, 7006)),
        ];
        if spaces.v6 {
            servers.extend([loud(address("fd77:1::1", 7001)), web("six", address("fd77:1::1", 7004))]);
        }
        servers
    });
    spaces.redirect(&except_the_sidecar()).expect("the packet filter");
    let hello = hello("a.example.com");
    for driver in DRIVERS {
        let start = |mode: &str| {
            spaces.in_app(|| {
                let setup = as_group(driver).gateway_ports(&[]).mesh(mode).mesh_at(mesh());
                let setup = setup.spec("dns", "{hosts: {new.example.com: [10.77.1.1]}}");
                setup.mesh_config("protocolDetectionTimeout", "200ms").yaml(bytes_services()).start()
            })
        };
        let sidecar = start("ALLOW_ANY");
        spaces.in_app(|| {
            // To a service with an address of its own; to the one that has the port; to nobody's.
            for to in ["10.88.0.9:5432", "10.99.1.2:25", "10.77.1.1:7001"] {
                assert_eq!(talk(to.parse().expect("an address")), "HELLO THERE", "{to}");
            }
            // TLS is told apart by the name that it asks for; one that nobody declared goes where it was sent.
            let mut client = Client::connect(address("10.99.1.2", 443));
            client.send(&hello);
            assert_eq!(client.raw(hello.len()), hello);
            drop(client);
            // HTTP on a port that is declared: by Host, wherever it was sent. And on one that nobody declared.
            let known = curl(&["--connect-to", "web.example.com:80:10.99.1.2:80", "http://web.example.com/"]);
            assert_eq!(known, "web for web.example.com\n200");
            let unknown = curl(&["-H", "Host: never.example.com", "http://10.77.1.1:7004/"]);
            assert_eq!(unknown, "elsewhere for never.example.com\n200");
            // Nobody listens there.
            let mut client = Client::connect(address("10.77.1.1", 7999));
            client.send("\0");
            client.expect_closed();
            if spaces.v6 {
                assert_eq!(talk(address("fd77:1::1", 7001)), "HELLO THERE");
                assert_eq!(curl(&["-g", "http://[fd77:1::1]:7004/"]), "six for [fd77:1::1]:7004\n200");
            }
            eventually("every tunnel at its end", || (sidecar.sum_of("upstream_rq_active") == 0).then_some(()));
            let stat = |name: &str| sidecar.stat(name);
            assert_eq!(stat("tcp.outbound|5432||db.example.com.downstream_cx_total"), 1);
            assert_eq!(stat("tcp.outbound|5432||db.example.com.downstream_cx_rx_bytes_total"), 11);
            assert_eq!(stat("tcp.outbound|5432||db.example.com.downstream_cx_tx_bytes_total"), 21);
            assert_eq!(stat("cluster.outbound|5432||db.example.com.upstream_cx_rx_bytes_total"), 21);
            let undeclared = stat("tcp.PassthroughCluster.downstream_cx_total");
            assert_eq!(undeclared, if spaces.v6 { 3 } else { 2 });
        });
        let log = stopped(&spaces, &spaces.app, sidecar);
        let line = |part: &str| {
            let found = log.iter().find(|line| line.contains(part));
            found.unwrap_or_else(|| panic!("no line with {part}: {log:#?}")).clone()
        };
        let db = line(" 10.88.0.9:5432 ");
        assert!(db.contains("] \"- - -\" 0 - - - \"-\" 11 21 "), "{db}");
        assert!(
            db.contains("\"-\" \"-\" \"-\" \"-\" \"10.77.1.1:7001\" outbound|5432||db.example.com 10.77.1.2:"),
            "{db}"
        );
        assert!(line(" 10.99.1.2:25 ").contains(" outbound|25||mail.example.com "));
        assert!(line(" 10.77.1.1:7001 ").contains("\"10.77.1.1:7001\" PassthroughCluster "));
        let tls = line(" 10.99.1.2:443 ");
        assert!(tls.contains(" outbound|443||a.example.com ") && tls.ends_with(" a.example.com -"), "{tls}");
        let unknown = line("never.example.com");
        assert!(
            unknown.contains("\"10.77.1.1:7004\" PassthroughCluster ") && unknown.ends_with(" allow_any"),
            "{unknown}"
        );
        let refused = line(" 10.77.1.1:7999 ");
        assert!(
            refused.contains("] \"- - -\" 0 URX,UF - - \"delayed_connect_error:_Connection_refused\" 0 0 "),
            "{refused}"
        );

        let sidecar = start("REGISTRY_ONLY");
        spaces.in_app(|| {
            assert_eq!(talk(address("10.88.0.9", 5432)), "HELLO THERE");
            // Declared without saying where: it goes where it was sent, and nobody looks its name up.
            let sent = ["--resolve", "none.example.com:7005:10.77.1.1", "http://none.example.com:7005/"];
            assert_eq!(curl(&sent), "none for none.example.com:7005\n200");
            assert_eq!(talk(address("10.77.1.1", 7006)), "HELLO THERE");
            for (to, first) in [("10.77.1.1:7001", &b"\0"[..]), ("10.77.1.1:443", b"\x16\x03\x01")] {
                let mut client = Client::connect(to.parse().expect("an address"));
                client.send(first);
                client.expect_closed();
            }
            assert_eq!(curl(&["http://10.77.1.1:7004/"]), "\n502");
            assert_eq!(sidecar.stat("tcp.BlackHoleCluster.downstream_cx_no_route"), 2);
        });
        let log = stopped(&spaces, &spaces.app, sidecar);
        let blocked = log.iter().find(|line| line.contains(" 10.77.1.1:7001 ")).expect("a line");
        assert!(blocked.contains("] \"- - -\" 0 UH ") && blocked.contains(" \"-\" BlackHoleCluster "), "{blocked}");

        let sidecar = start("ALLOW_ANY_DYNAMIC_DNS");
        spaces.in_app(|| {
            // HTTP goes to its Host, wherever it was sent; everything else to where it was sent.
            let sent = ["--resolve", "new.example.com:7004:10.99.1.2", "http://new.example.com:7004/"];
            assert_eq!(curl(&sent), "elsewhere for new.example.com:7004\n200");
            assert_eq!(talk(address("10.77.1.1", 7001)), "HELLO THERE");
        });
        let log = stopped(&spaces, &spaces.app, sidecar);
        let line = log.iter().find(|line| line.contains("new.example.com")).expect("a line");
        assert!(
            line.contains("\"10.77.1.1:7004\" AllowAnyDynamicDNSCluster ") && line.contains(" 10.99.1.2:7004 "),
            "{line}"
        );
        assert!(log.iter().any(|line| line.contains("\"10.77.1.1:7001\" PassthroughCluster ")), "{log:?}");
    }
    drop(servers);
}

/// Rules for connections, which lead away from services that nobody serves: by the name that is asked for, and by the
/// address.
const RULES: &str = "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: b}
spec:
  hosts: [b.example.com]
  ports: [{number: 443, name: tls, protocol: TLS, targetPort: 7999}]
  resolution: STATIC
  endpoints: [{address: 10.77.1.1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: old}
spec:
  hosts: [old.example.com]
  addresses: [10.88.1.0/24]
  ports: [{number: 5432, name: tcp, protocol: TCP, targetPort: 7999}]
  resolution: STATIC
  endpoints: [{address: 10.77.1.1}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: by-name}
spec:
  hosts: [b.example.com]
  tls:
  - match: [{port: 443, sniHosts: [b.example.com]}]
    route: [{destination: {host: a.example.com, port: {number: 443}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: by-address}
spec:
  hosts: [old.example.com]
  tcp:
  - match: [{port: 5432, destinationSubnets: [10.88.1.7/32]}]
    route: [{destination: {host: db.example.com, port: {number: 5432}}}]
";

#[test]
fn rules_for_connections_take_redirected_ones() {
    let Some(spaces) = namespaces("rules_for_connections_take_redirected_ones") else { return };
    let servers = spaces
        .inside(&spaces.gw, || (loud(address("10.77.1.1", 7001)), Origin::reflecting_at(address("10.77.1.1", 7003))));
    spaces.redirect(&except_the_sidecar()).expect("the packet filter");
    let hello = hello("b.example.com");
    for driver in DRIVERS {
        let sidecar = spaces.in_app(|| {
            let setup = as_group(driver).gateway_ports(&[]).mesh("REGISTRY_ONLY").mesh_at(mesh());
            let setup = setup.mesh_config("protocolDetectionTimeout", "200ms");
            setup.yaml(bytes_services()).yaml(RULES).start()
        });
        spaces.in_app(|| {
            let mut client = Client::connect(address("10.99.1.2", 443));
            client.send(&hello);
            assert_eq!(client.raw(hello.len()), hello);
            drop(client);
            assert_eq!(talk(address("10.88.1.7", 5432)), "HELLO THERE");
            // No rule has this address of the service, and nobody listens where the service is.
            let mut client = Client::connect(address("10.88.1.8", 5432));
            client.send("\0");
            client.expect_closed();
            eventually("every tunnel at its end", || (sidecar.sum_of("upstream_rq_active") == 0).then_some(()));
        });
        let log = stopped(&spaces, &spaces.app, sidecar);
        for (to, cluster, name) in [
            (" 10.99.1.2:443 ", " outbound|443||a.example.com ", " b.example.com "),
            (" 10.88.1.7:5432 ", " outbound|5432||db.example.com ", " - "),
        ] {
            let line = log.iter().find(|line| line.contains(to)).unwrap_or_else(|| panic!("no line to {to}: {log:#?}"));
            assert!(line.contains("] \"- - -\" 0 - - - ") && line.contains(cluster) && line.contains(name), "{line}");
        }
    }
    drop(servers);
}

/// The service at the address that the application knows is at a Unix domain socket, and is then nowhere.
#[test]
fn a_redirected_connection_ends_at_a_socket() {
    let Some(spaces) = namespaces("a_redirected_connection_ends_at_a_socket") else { return };
    spaces.redirect(&except_the_sidecar()).expect("the packet filter");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("db.sock");
    let entry = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: db}}\nspec:\n  hosts: \
         [db.example.com]\n  addresses: [10.88.0.9]\n  ports: [{{number: 5432, name: p, protocol: TCP}}]\n  resolution: \
         STATIC\n  endpoints: [{{address: 'unix://{}'}}]\n",
        path.display()
    );
    for driver in DRIVERS {
        let server = Origin::start_on(UnixListener::bind(&path).expect("a socket"), speak_loudly);
        let sidecar = spaces.in_app(|| {
            let setup = as_group(driver).gateway_ports(&[]).mesh("REGISTRY_ONLY").mesh_at(mesh());
            setup.mesh_config("protocolDetectionTimeout", "200ms").yaml(entry.as_str()).start()
        });
        spaces.in_app(|| {
            assert_eq!(talk(address("10.88.0.9", 5432)), "HELLO THERE");
            eventually("the tunnel at its end", || (sidecar.sum_of("upstream_rq_active") == 0).then_some(()));
        });
        drop(server);
        std::fs::remove_file(&path).expect("it was there");
        spaces.in_app(|| {
            let mut client = Client::connect(address("10.88.0.9", 5432));
            client.send("hello");
            client.expect_closed();
        });
        let log = stopped(&spaces, &spaces.app, sidecar);
        let [talked, refused] = log.as_slice() else { panic!("{log:#?}") };
        assert!(talked.contains("] \"- - -\" 0 - - - \"-\" 11 21 "), "{talked}");
        let at = format!("\"-\" \"-\" \"-\" \"-\" \"{}\" outbound|5432||db.example.com - ", path.display());
        assert!(talked.contains(&at) && refused.contains(&at), "{log:#?}");
        let why = format!("immediate_connect_error:_No_such_file_or_directory|remote_address:{}", path.display());
        assert!(refused.contains(&format!("] \"- - -\" 0 URX,UF - - \"{why}\" 0 0 ")), "{refused}");
    }
}

/// A packet filter that also redirects what the sidecar itself sends out: every connection would come back to it, for ever.
#[test]
fn a_filter_without_an_exception_is_no_endless_loop() {
    let Some(spaces) = namespaces("a_filter_without_an_exception_is_no_endless_loop") else { return };
    spaces.redirect(&[]).expect("the packet filter");
    for driver in DRIVERS {
        let sidecar = spaces.in_app(|| {
            let setup = as_group(driver).gateway_ports(&[]).mesh("ALLOW_ANY").mesh_at(mesh());
            setup.mesh_config("protocolDetectionTimeout", "200ms").start()
        });
        spaces.in_app(|| {
            let began = Instant::now();
            let answer = curl(&["http://10.77.1.1:7004/"]);
            assert!(answer.ends_with("\n508"), "{answer}");
            let mut client = Client::connect(address("10.77.1.1", 7001));
            client.send("\0");
            client.expect_closed();
            assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
            let connections = sidecar.sum_of("downstream_cx_total");
            assert!(connections < 100, "{connections} connections for two");
            // The listener itself is no place to go, by any address.
            let mut client = Client::connect(address("10.77.1.2", MESH_PORT));
            client.send("\0");
            client.expect_closed();
        });
        let log = stopped(&spaces, &spaces.app, sidecar);
        for to in [" 10.77.1.1:7001 ", " 10.77.1.2:15001 "] {
            let found = log.iter().find(|line| line.contains(to) && line.contains(" loop_detected "));
            assert!(found.is_some(), "{to}: {log:#?}");
        }
    }
}

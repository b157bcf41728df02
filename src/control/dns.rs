//! The thread that asks name servers. It alone knows the resolver and its runtime, which no worker ever meets; control
//! sends it names and hears of each once, as an [`Event::Named`].
//!
//! `/etc/hosts` and `/etc/resolv.conf` are looked at again when they have changed.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Event;
use crate::io::now;
use crate::plan::Dns;

/// Most concurrent queries; other names wait.
const MOST_AT_ONCE: usize = 64;

/// How long the system's files are not checked again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The outcome of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsAnswer {
    /// There, in the order of the answer, IPv4 first.
    At {
        /// At least one.
        addresses: Vec<IpAddr>,
        /// How long it is valid (the records' TTL); `None`: the answer has no TTL.
        valid: Option<Duration>,
    },
    /// The name does not exist, or has no address.
    NoSuchName,
    /// No server answered, or one answered with a failure; the text is for people.
    Failed(String),
}

/// The running thread; it ends when this is dropped.
pub(super) struct Asker(UnboundedSender<Ask>);

enum Ask {
    Name(Box<str>),
    Settings(Box<Dns>),
}

impl Asker {
    /// Starts the thread. Answers come as [`Event::Named`].
    ///
    /// # Errors
    /// When the process is out of threads or descriptors.
    pub(super) fn start(settings: Dns, events: Sender<Event>) -> io::Result<Self> {
        let (asks, asked) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || runtime.block_on(answer_all(settings, asked, events));
        std::thread::Builder::new().name("dns".to_owned()).spawn(work)?;
        Ok(Self(asks))
    }

    /// A resolver without a thread: its queries come out at the other end.
    #[cfg(test)]
    pub(super) fn unheard() -> (Self, impl FnMut() -> Option<Box<str>>) {
        let (asks, mut asked) = unbounded_channel();
        let next = move || loop {
            match asked.try_recv() {
                Ok(Ask::Name(name)) => return Some(name),
                Ok(Ask::Settings(_)) => {}
                Err(_) => return None,
            }
        };
        (Self(asks), next)
    }

    /// Asks where a name is. There is one answer to each question.
    pub(super) fn ask(&self, name: &str) {
        let _ = self.0.send(Ask::Name(name.into())); // the thread lives as long as this
    }

    /// Changes the servers.
    pub(super) fn configure(&self, settings: Dns) {
        let _ = self.0.send(Ask::Settings(Box::new(settings)));
    }
}

async fn answer_all(settings: Dns, mut asked: UnboundedReceiver<Ask>, events: Sender<Event>) {
    let mut sources = Sources::new(settings);
    let places = Arc::new(Semaphore::new(MOST_AT_ONCE));
    while let Some(ask) = asked.recv().await {
        match ask {
            Ask::Settings(settings) => sources = Sources::new(*settings),
            Ask::Name(name) => {
                let (current, events, places) = (sources.current(), events.clone(), places.clone());
                tokio::spawn(async move {
                    let _place = places.acquire().await;
                    let answer = current.find(&name).await;
                    let _ = events.send(Event::Named { name, answer }); // control is gone once the proxy stops
                });
            }
        }
    }
}

/// The servers and hosts of the settings, and the state of the system's files when they were read.
struct Sources {
    settings: Dns,
    looked: std::time::Instant,
    seen: [Option<SystemTime>; 2],
    current: Arc<Current>,
}

/// The servers and hosts in use at the moment.
struct Current {
    hosts: Hosts,
    /// `Err`: why there is no usable server.
    servers: Result<TokioResolver, String>,
}

impl Sources {
    fn new(settings: Dns) -> Self {
        let current = Arc::new(Current::of(&settings));
        Self { settings, looked: now(), seen: changed(), current }
    }

    fn current(&mut self) -> Arc<Current> {
        let now = now();
        if now.duration_since(self.looked) >= LOOK_AGAIN {
            self.looked = now;
            let seen = changed();
            if seen != self.seen {
                self.seen = seen;
                self.current = Arc::new(Current::of(&self.settings));
            }
        }
        self.current.clone()
    }
}

/// When each of the files was last written.
fn changed() -> [Option<SystemTime>; 2] {
    [HOSTS, RESOLV_CONF].map(|path| fs::metadata(path).and_then(|file| file.modified()).ok())
}

impl Current {
    fn of(settings: &Dns) -> Self {
        Self {
            hosts: Hosts::from_system().unwrap_or_default(),
            servers: resolver(settings).map_err(|error| format!("no name server can be asked: {error}")),
        }
    }

    async fn find(&self, name: &str) -> DnsAnswer {
        let parsed = match Name::from_utf8(name) {
            Ok(parsed) => parsed,
            Err(error) => return DnsAnswer::Failed(error.to_string()),
        };
        let of_file = |kind| self.hosts.lookup_static_host(&Query::query(parsed.clone(), kind));
        let written: Vec<IpAddr> =
            [of_file(RecordType::A), of_file(RecordType::AAAA)].iter().flatten().flat_map(addresses).collect();
        if !written.is_empty() {
            return found(written, None);
        }
        let servers = match &self.servers {
            Ok(servers) => servers,
            Err(why) => return DnsAnswer::Failed(why.clone()),
        };
        let (v4, v6) = tokio::join!(
            servers.lookup(parsed.clone(), RecordType::A),
            servers.lookup(parsed.clone(), RecordType::AAAA)
        );
        put_together([v4, v6])
    }
}

fn resolver(settings: &Dns) -> Result<TokioResolver, NetError> {
    let (config, mut options) = if settings.servers.is_empty() {
        hickory_resolver::system_conf::read_system_conf()?
    } else {
        let servers = settings.servers.iter().map(server).collect();
        (ResolverConfig::from_parts(None, Vec::new(), servers), ResolverOpts::default())
    };
    // Every answer is valid for its TTL; `names` keeps it longer where it must.
    options.cache_size = 0;
    if let Some(timeout) = settings.timeout {
        options.timeout = timeout;
    }
    if let Some(attempts) = settings.attempts {
        options.attempts = attempts as usize;
    }
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build()
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

fn addresses(lookup: &Lookup) -> impl Iterator<Item = IpAddr> {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr())
}

/// The combined answer of the queries for the two kinds of address.
fn put_together(lookups: [Result<Lookup, NetError>; 2]) -> DnsAnswer {
    let (mut all, mut valid, mut failed) = (Vec::new(), None, None);
    let now = now();
    for lookup in lookups {
        match lookup {
            Ok(lookup) => {
                all.extend(addresses(&lookup));
                let holds = lookup.valid_until().saturating_duration_since(now);
                valid = Some(valid.map_or(holds, |other: Duration| other.min(holds)));
            }
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => {}
            Err(error) => failed = Some(error.to_string()),
        }
    }
    match (all.is_empty(), failed) {
        (false, _) => found(all, valid.filter(|valid| !valid.is_zero())),
        (true, Some(why)) => DnsAnswer::Failed(why),
        (true, None) => DnsAnswer::NoSuchName,
    }
}

/// IPv6 addresses are used if the host has IPv6, as in the C library (`AI_ADDRCONFIG`), or if there are no others.
fn found(mut addresses: Vec<IpAddr>, valid: Option<Duration>) -> DnsAnswer {
    let some_v4 = addresses.iter().any(IpAddr::is_ipv4);
    let some_v6 = addresses.iter().any(IpAddr::is_ipv6);
    if some_v4 && some_v6 && !has_ipv6() {
        addresses.retain(|address| address.is_ipv4() || address.is_loopback());
    }
    DnsAnswer::At { addresses, valid }
}

/// Whether an interface has an IPv6 address that reaches beyond its own link.
fn has_ipv6() -> bool {
    let reaches = |ip: Ipv6Addr| !ip.is_loopback() && !ip.is_unicast_link_local();
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.iter().any(|interface| matches!(interface.ip(), IpAddr::V6(ip) if reaches(ip)))
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::{A, AAAA};
    use hickory_resolver::proto::rr::{RData, Record};

    use super::*;

    fn lookup(ips: &[&str], holds: u64) -> Result<Lookup, NetError> {
        let record = |ip: &&str| {
            let data = match ip.parse().expect("an address") {
                IpAddr::V4(ip) => RData::A(A(ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
            };
            Record::from_rdata(Name::root(), holds as u32, data)
        };
        let until = now() + Duration::from_secs(holds);
        Ok(Lookup::new_with_deadline(Query::new(), ips.iter().map(record), until))
    }

    fn at(ips: &[&str]) -> Vec<IpAddr> {
        ips.iter().map(|ip| ip.parse().expect("an address")).collect()
    }

    #[test]
    fn two_answers_are_one() {
        let DnsAnswer::At { addresses, valid } =
            put_together([lookup(&["10.0.0.2", "10.0.0.1"], 30), lookup(&["::1"], 9)])
        else {
            panic!("there are addresses");
        };
        assert_eq!(addresses, at(&["10.0.0.2", "10.0.0.1", "::1"]), "in their order");
        let valid = valid.expect("a TTL");
        assert!(valid <= Duration::from_secs(9) && valid > Duration::from_secs(7), "{valid:?}");
        let failed = || Err(NetError::Timeout);
        let one = put_together([failed(), lookup(&["::1"], 9)]);
        assert!(matches!(one, DnsAnswer::At { addresses, .. } if addresses == at(&["::1"])));
        assert!(matches!(put_together([failed(), failed()]), DnsAnswer::Failed(why) if why.contains("timed out")));
        assert!(matches!(put_together([lookup(&[], 9), failed()]), DnsAnswer::Failed(_)));
        assert_eq!(put_together([lookup(&[], 9), lookup(&[], 9)]), DnsAnswer::NoSuchName);
        let zero = put_together([lookup(&["10.0.0.1"], 0), lookup(&[], 9)]);
        assert_eq!(zero, DnsAnswer::At { addresses: at(&["10.0.0.1"]), valid: None }, "no TTL is no promise");
    }
}

//! A real name server (hickory's) on a loopback port, over UDP and TCP, that says what a test tells it to say.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use crate::support::ports;

/// What the server says of a name. Names of which nothing was said do not exist.
#[derive(Debug, Clone)]
pub(crate) enum Says {
    /// It has these addresses, for so many seconds.
    At(Vec<IpAddr>, u32),
    /// There is no such name.
    Nothing,
    /// SERVFAIL.
    Failure,
    /// No answer at all.
    Silence,
}

#[derive(Default)]
struct Zone {
    says: BTreeMap<String, Says>,
    asked: BTreeMap<String, usize>,
}

/// A running name server.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl NameServer {
    /// One that knows nothing yet.
    pub(crate) fn start() -> Self {
        let zone: Arc<Mutex<Zone>> = Arc::default();
        let address = ports::loopback(ports::free());
        let udp = std::net::UdpSocket::bind(address).expect("a UDP port");
        let tcp = std::net::TcpListener::bind(address).expect("a TCP port");
        udp.set_nonblocking(true).and_then(|()| tcp.set_nonblocking(true)).expect("sockets that do not block");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let handler = Answers(zone.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut server = Server::new(handler);
                server.register_socket(tokio::net::UdpSocket::from_std(udp).expect("a socket"));
                let tcp = tokio::net::TcpListener::from_std(tcp).expect("a socket");
                server.register_listener(tcp, Duration::from_secs(5), 4096);
                let _ = stopped.await;
            });
        });
        Self { address, zone, stop: Some(stop), thread: Some(thread) }
    }

    /// From now on it says so.
    pub(crate) fn says(&self, name: &str, says: Says) {
        self.zone.lock().expect("no handler panicked").says.insert(name.to_owned(), says);
    }

    /// From now on the name has these addresses for a second.
    pub(crate) fn at(&self, name: &str, addresses: &[&str]) {
        self.says(name, Says::At(addresses.iter().map(|ip| ip.parse().expect("an address")).collect(), 1));
    }

    /// How often it was asked for the IPv4 addresses of a name.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.zone.lock().expect("no handler panicked").asked.get(name).copied().unwrap_or_default()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Answers(Arc<Mutex<Zone>>);

impl Answers {
    fn of(&self, name: &str, kind: RecordType) -> Says {
        let mut zone = self.0.lock().expect("no handler panicked");
        if kind == RecordType::A {
            *zone.asked.entry(name.to_owned()).or_default() += 1;
        }
        zone.says.get(name).cloned().unwrap_or(Says::Nothing)
    }
}

#[async_trait::async_trait]
impl RequestHandler for Answers {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut handle: R) -> ResponseInfo {
        let builder = MessageResponseBuilder::from_message_request(request);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let none = ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() });
        let Ok(info) = request.request_info() else { return none };
        let name = Name::from(info.query.name());
        let kind = info.query.query_type();
        let mut records: Vec<Record> = Vec::new();
        match self.of(name.to_ascii().trim_end_matches('.'), kind) {
            Says::At(addresses, ttl) => {
                records.extend(addresses.into_iter().filter_map(|ip| match (ip, kind) {
                    (IpAddr::V4(ip), RecordType::A) => Some(Record::from_rdata(name.clone(), ttl, RData::A(A(ip)))),
                    (IpAddr::V6(ip), RecordType::AAAA) => {
                        Some(Record::from_rdata(name.clone(), ttl, RData::AAAA(AAAA(ip))))
                    }
                    _ => None,
                }));
            }
            Says::Nothing => metadata.response_code = ResponseCode::NXDomain,
            Says::Failure => metadata.response_code = ResponseCode::ServFail,
            Says::Silence => return none,
        }
        let nobody: [&Record; 0] = [];
        handle.send_response(builder.build(metadata, &records, nobody, nobody, nobody)).await.unwrap_or(none)
    }
}

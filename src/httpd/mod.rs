//! A small blocking HTTP/1.1 server on the proxy's own codec, for what is not the data path: the admin page and the
//! demo's origins.
//!
//! It owns sockets and threads (one a connection, their number bounded) and gives every client a deadline for its head,
//! its body and its reading, so that no client keeps others out for long. It must never serve proxied traffic and never
//! touch a worker. Handlers are plain functions from a request to a response.

mod connection;

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::h1::head::Method;

/// What one connection thread needs is small: no deep recursion, buffers on the heap.
const STACK_BYTES: usize = 256 * 1024;

/// Pause after an accept that failed, most likely for want of descriptors: they come back with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How a server treats its clients.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The `server` header of every response.
    pub server: String,
    /// Begins the names of the threads.
    pub thread_name: &'static str,
    /// Connections served at once; more wait to be accepted. With more than half of them taken, connections are
    /// closed after a response, so that idle ones do not keep others waiting.
    pub connections: usize,
    /// Largest request body in bytes; 413 above.
    pub body_bytes: usize,
    /// Time for a request head to arrive, and again for its body, and again for a client to take a response.
    pub patience: Duration,
    /// Time that a connection may lie idle between requests.
    pub idle: Duration,
}

/// A request, complete with its body.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The method's own text.
    pub method_text: String,
    /// The path as sent, without the query.
    pub path: String,
    /// The query as sent, without its `?`; empty if there is none.
    pub query: String,
    /// The host asked for, from the target or the `Host` line; may be empty.
    pub host: String,
    /// The header lines as sent; bytes that are not UTF-8 replaced.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The client's address.
    pub peer: SocketAddr,
}

impl Request {
    /// The first header of that name (any case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(each, _)| each.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The query's pairs, decoded, in order. A name without `=` has an empty value.
    #[must_use]
    pub fn arguments(&self, plus: Plus) -> Vec<(String, String)> {
        pairs(&self.query, plus)
    }
}

/// A response to be written.
pub struct Response {
    /// The status.
    pub status: u16,
    /// `content-type`; none for an empty text.
    pub content_type: &'static str,
    /// Further headers. Their values must be fit for a header.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub content: Content,
}

/// The body of a response.
pub enum Content {
    /// Sent with its length.
    Whole(Vec<u8>),
    /// Sent piece by piece, chunked.
    Pieces(Box<dyn Iterator<Item = Vec<u8>>>),
}

impl Response {
    /// A response of plain text.
    #[must_use]
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=UTF-8",
            headers: Vec::new(),
            content: Content::Whole(text.into().into_bytes()),
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What a `+` means in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plus {
    /// A plus, as in any other part of a URI (and as in Envoy's admin: it is common in a regex).
    Itself,
    /// A space, as HTML forms write it.
    Space,
}

/// Decodes `name=value&…`.
#[must_use]
pub fn pairs(text: &str, plus: Plus) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decoded(name, plus), decoded(value, plus))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// `%41` is an `A`; what is not a proper escape stays as it is.
fn decoded(text: &str, plus: Plus) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None if first == b'+' && plus == Plus::Space => bytes.push(b' '),
            None => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

type Handler = dyn Fn(&Request) -> Response + Send + Sync;

/// A running server; dropping it closes its socket and its connections.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    settings: Settings,
    handler: Box<Handler>,
    open: Mutex<Open>,
    /// Told when a connection ends, and when the server stops.
    changed: Condvar,
}

#[derive(Default)]
struct Open {
    stopping: bool,
    next: u64,
    streams: HashMap<u64, TcpStream>,
}

impl Server {
    /// Serves what comes in on `listener` with `handler`, on threads of its own.
    ///
    /// # Errors
    /// If the listener has no address or the thread cannot be started.
    pub fn start(
        listener: TcpListener,
        settings: Settings,
        handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let name = format!("{}-accept", settings.thread_name);
        let shared =
            Arc::new(Shared { settings, handler: Box::new(handler), open: Mutex::default(), changed: Condvar::new() });
        let acceptor = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(name).spawn(move || accept(&listener, &shared))?
        };
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// The address that is listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        {
            let mut open = self.shared.open();
            open.stopping = true;
            for stream in open.streams.values() {
                let _ = stream.shutdown(Shutdown::Both); // it may have ended by itself
            }
        }
        self.shared.changed.notify_all();
        // The acceptor sits in `accept`: a connection wakes it. If none can be made it is not waiting for one.
        let _ = TcpStream::connect_timeout(&self.address, self.shared.settings.patience);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join(); // its panic was printed
        }
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a connection may be accepted. False once the server stops.
    fn wait_for_room(&self) -> bool {
        let full = |open: &mut Open| !open.stopping && open.streams.len() >= self.settings.connections;
        let open = self.changed.wait_while(self.open(), full).unwrap_or_else(PoisonError::into_inner);
        !open.stopping
    }

    /// Takes a connection in, so that it is counted and can be shut down. `None` once the server stops.
    fn admit(self: &Arc<Self>, stream: &TcpStream) -> io::Result<Option<Admitted>> {
        let stream = stream.try_clone()?;
        let mut open = self.open();
        if open.stopping {
            return Ok(None);
        }
        let id = open.next;
        open.next += 1;
        open.streams.insert(id, stream);
        Ok(Some(Admitted { id, shared: Arc::clone(self) }))
    }
}

/// A connection's place among the open ones; given up by drop, so that a handler's panic does not keep it.
struct Admitted {
    id: u64,
    shared: Arc<Shared>,
}

impl Admitted {
    /// Whether the connection must end after its response: the server stops, or many others want its place.
    fn must_close(&self) -> bool {
        let open = self.shared.open();
        open.stopping || open.streams.len() * 2 > self.shared.settings.connections
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.open().streams.remove(&self.id);
        self.shared.changed.notify_all();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while shared.wait_for_room() {
        let accepted = listener.accept().and_then(|(stream, peer)| Ok((shared.admit(&stream)?, stream, peer)));
        let started = accepted.and_then(|(admitted, stream, peer)| {
            let Some(admitted) = admitted else { return Ok(()) };
            let name = format!("{}-{}", shared.settings.thread_name, admitted.id);
            let serve = move || connection::serve(&stream, peer, &admitted);
            std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(serve).map(drop)
        });
        if let Err(error) = started {
            tracing::debug!(%error, server = shared.settings.server, "connection not accepted");
            std::thread::sleep(ACCEPT_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests;

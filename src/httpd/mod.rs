//! A small HTTP/1.1 server on the proxy's own codec, outside of the data path: for the admin endpoints and the demo's
//! origins.
//!
//! It owns sockets and threads: one that accepts and waits for requests (`room`), and one for each response that is
//! under way. Connections, responses and memory are bounded, and every client has a deadline for its head, its body and
//! its reading, so that no client blocks others. It must never serve proxied traffic and never touch a worker. Handlers
//! are plain functions from a request to a response.

mod intake;
mod respond;
mod room;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::http::head::Method;
use room::{Returned, Room};

/// Connections that the kernel keeps until they are accepted. Further clients retry after a second.
const BACKLOG: i32 = 4096;

/// How a server treats its clients.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The `server` header of every response.
    pub server: String,
    /// Begins the names of the threads.
    pub thread_name: &'static str,
    /// Most connections. For one more, the oldest without a complete request is closed. With more than half of them
    /// taken, connections are closed after a response.
    pub connections: usize,
    /// Responses under way at once, fewer than `connections`; more requests wait. While they wait, responses that
    /// clients do not read are cut off.
    pub answers: usize,
    /// Whether a request is answered before all others, by the thread that reads it: its handler must be quick and its
    /// response small.
    pub at_once: fn(&Request) -> bool,
    /// Largest request body in bytes; 413 above.
    pub body_bytes: usize,
    /// Time for the first request head, from accept on; for a later one, from its first byte on; again for a body; and
    /// again for a client to take any part of a response.
    pub patience: Duration,
    /// Time for a client to take all of a response.
    pub response: Duration,
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
    /// The requested host, from the target or the `Host` line; may be empty.
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
    /// `content-type`; empty: not sent.
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

/// The meaning of `+` in a query.
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

/// `%41` is an `A`; an invalid escape stays unchanged.
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
    room: Option<JoinHandle<()>>,
}

/// The state that the room and the answering threads share.
struct Shared {
    settings: Settings,
    handler: Box<Handler>,
    stopping: AtomicBool,
    /// Connections there are.
    open: AtomicUsize,
    returned: Sender<Returned>,
    /// The other end of the room's bell.
    rope: UnixStream,
}

impl Server {
    /// Serves the connections of `listener` with `handler`, on threads of its own.
    ///
    /// # Errors If the listener has no address, or the thread or its waker cannot be created.
    pub fn start(
        listener: TcpListener,
        settings: Settings,
        handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        rustix::net::listen(&listener, BACKLOG)?;
        let (rope, bell) = UnixStream::pair()?;
        rope.set_nonblocking(true)?;
        bell.set_nonblocking(true)?;
        let name = format!("{}-room", settings.thread_name);
        let (sender, returned) = channel();
        let shared = Arc::new(Shared {
            settings,
            handler: Box::new(handler),
            stopping: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            returned: sender,
            rope,
        });
        let room = Room::new(listener, Arc::clone(&shared), bell, returned);
        let room = std::thread::Builder::new().name(name).spawn(move || room.run())?;
        Ok(Self { address, shared, room: Some(room) })
    }

    /// The address that is listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.ring();
        if let Some(room) = self.room.take() {
            let _ = room.join(); // its panic was printed
        }
    }
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Whether a connection must end after its response: the server stops, or many others wait for a slot.
    fn must_close(&self) -> bool {
        self.is_stopping() || self.open.load(Ordering::Relaxed) * 2 > self.settings.connections
    }

    fn give_back(&self, returned: Returned) {
        let _ = self.returned.send(returned); // a stopped server takes no connections back
        self.ring();
    }

    fn ring(&self) {
        let _ = (&self.rope).write(&[1]); // a bell that is full has been rung
    }
}

#[cfg(test)]
mod tests;

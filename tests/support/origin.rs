//! Origins on a loopback port or a Unix domain socket that do as a script says and remember what they were asked.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::client::reset;
use super::message::{Body, Framing, Head, Reader};
use super::wait::PATIENCE;

/// A request as an origin received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// The number of the connection it came on, from 0.
    pub(crate) connection: usize,
    pub(crate) head: Head,
    pub(crate) body: Body,
}

impl Recorded {
    /// `GET /path HTTP/1.1`.
    pub(crate) fn line(&self) -> &str {
        &self.head.start
    }

    /// The first value of the header `name`.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Recorded>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    stopping: AtomicBool,
    /// By the number of their connection.
    streams: Mutex<Vec<(usize, TcpStream)>>,
}

/// What an origin listens on.
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    /// The next connection. One over a Unix domain socket is read and written as any other; it only has no addresses.
    fn accept(&self) -> io::Result<TcpStream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true).expect("TCP_NODELAY");
                Ok(stream)
            }
            Self::Unix(listener) => Ok(TcpStream::from(OwnedFd::from(listener.accept()?.0))),
        }
    }

    /// Ends the accept call, in whatever namespace.
    fn close(&self) {
        let _ = SockRef::from(self).shutdown(Shutdown::Both);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// A listener with a thread for each connection; gone, with its connections, when dropped.
pub(crate) struct Origin {
    /// Of nobody, for a Unix domain socket.
    pub(crate) address: SocketAddr,
    socket: Arc<Socket>,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Origin {
    /// Runs `script` once for each connection. An error that it returns ends that connection, no more: proxies close
    /// on origins all the time.
    pub(crate) fn start(script: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), script)
    }

    /// As [`Origin::start`], at an address of its own.
    #[track_caller]
    pub(crate) fn start_at(
        address: SocketAddr,
        script: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("an origin at {address}: {error}"));
        let address = listener.local_addr().expect("a bound socket has an address");
        Self::behind(address, Socket::Tcp(listener), script)
    }

    /// As [`Origin::start`], at a Unix domain socket.
    pub(crate) fn start_on(
        listener: UnixListener,
        script: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::behind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), Socket::Unix(listener), script)
    }

    fn behind(
        address: SocketAddr,
        socket: Socket,
        script: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let socket = Arc::new(socket);
        let shared = Arc::new(Shared::default());
        let acceptor = std::thread::spawn({
            let (socket, shared) = (Arc::clone(&socket), Arc::clone(&shared));
            let script = Arc::new(script);
            move || accept(&socket, &shared, &script)
        });
        Self { address, socket, shared, acceptor: Some(acceptor) }
    }

    /// Answers every request of every connection with the same bytes.
    pub(crate) fn replying(reply: impl Into<Vec<u8>>) -> Self {
        let reply = reply.into();
        Self::start(move |peer| {
            while peer.request()?.is_some() {
                peer.send(&reply)?;
            }
            Ok(())
        })
    }

    /// Answers every request with 200 and its own body.
    pub(crate) fn echo() -> Self {
        Self::start(|peer| {
            while let Some(request) = peer.request()? {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.bytes.len());
                peer.send([head.as_bytes(), &request.body.bytes].concat())?;
            }
            Ok(())
        })
    }

    /// Says `greeting` and sends back all that comes, until the other side has sent everything.
    pub(crate) fn reflecting(greeting: &'static str) -> Self {
        Self::start(move |peer| reflect(peer, greeting))
    }

    /// As [`Origin::reflecting`] without a greeting, at this address.
    #[track_caller]
    pub(crate) fn reflecting_at(address: SocketAddr) -> Self {
        Self::start_at(address, |peer| reflect(peer, ""))
    }

    /// As [`Origin::reflecting`] without a greeting, at a Unix domain socket.
    pub(crate) fn reflecting_on(listener: UnixListener) -> Self {
        Self::start_on(listener, |peer| reflect(peer, ""))
    }

    /// The port to write into an endpoint.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request received so far.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().expect("no script panicked").clone()
    }

    /// Every request since the last call.
    pub(crate) fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.shared.requests.lock().expect("no script panicked"))
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections whose script is still running.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.socket.close();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join(); // a panic there has been printed; this may run while unwinding from another one
        }
    }
}

fn accept<F>(socket: &Socket, shared: &Arc<Shared>, script: &Arc<F>)
where
    F: Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static,
{
    let mut peers = Vec::new();
    loop {
        let stream = socket.accept();
        if shared.stopping.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream else { continue };
        let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
        shared.open.fetch_add(1, Ordering::SeqCst);
        let copy = stream.try_clone().expect("a copy of a socket");
        shared.streams.lock().expect("no script panicked").push((number, copy));
        let (shared, script) = (Arc::clone(shared), Arc::clone(script));
        peers.push(std::thread::spawn(move || {
            let mut peer = Peer { number, reader: Some(Reader::new(stream)), shared: Arc::clone(&shared) };
            let _ = script(&mut peer); // see `Origin::start`
            // The copy goes first, so that dropping the peer's socket is what closes (or resets) the connection.
            let mut streams = shared.streams.lock().expect("no script panicked");
            streams.retain(|(of, _)| *of != number);
            drop(streams);
            drop(peer);
            shared.open.fetch_sub(1, Ordering::SeqCst);
        }));
    }
    for (_, stream) in shared.streams.lock().expect("no script panicked").drain(..) {
        let _ = stream.shutdown(Shutdown::Both); // ends scripts that wait for bytes
    }
    for peer in peers {
        let _ = peer.join(); // its panic has been printed, and the test misses the reply
    }
}

fn reflect(peer: &mut Peer, greeting: &str) -> io::Result<()> {
    let mut stream = peer.stream()?.try_clone()?;
    stream.write_all(greeting.as_bytes())?;
    let mut chunk = [0; 16 * 1024];
    loop {
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            n => stream.write_all(&chunk[..n])?,
        }
    }
}

/// One connection, seen from the origin's script.
pub(crate) struct Peer {
    /// The number of this connection, from 0.
    pub(crate) number: usize,
    reader: Option<Reader>,
    shared: Arc<Shared>,
}

impl Peer {
    fn reader(&mut self) -> io::Result<&mut Reader> {
        self.reader.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// The socket itself.
    pub(crate) fn stream(&mut self) -> io::Result<&TcpStream> {
        Ok(&self.reader()?.stream)
    }

    /// Reads one request with its body and records it; `None` when the proxy closed.
    pub(crate) fn request(&mut self) -> io::Result<Option<Recorded>> {
        let Some(head) = self.head()? else { return Ok(None) };
        self.body(head).map(Some)
    }

    /// Reads the head of a request only.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        self.reader()?.head()
    }

    /// Reads the body that belongs to `head` and records the request, also when the body was cut off.
    pub(crate) fn body(&mut self, head: Head) -> io::Result<Recorded> {
        let framing = head.framing(Framing::None);
        let body = self.reader()?.body(framing)?;
        Ok(self.record(head, body))
    }

    /// Records a request of which only the head is wanted.
    pub(crate) fn record(&mut self, head: Head, body: Body) -> Recorded {
        let recorded = Recorded { connection: self.number, head, body };
        self.shared.requests.lock().expect("no script panicked").push(recorded.clone());
        recorded
    }

    /// Sends `bytes` in one write.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader()?.stream.write_all(bytes.as_ref())
    }

    /// Sends each byte in a segment of its own.
    pub(crate) fn send_bytewise(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        bytes.as_ref().iter().try_for_each(|byte| self.send([*byte]))
    }

    /// The next `length` raw bytes; fewer when the proxy closed.
    pub(crate) fn raw(&mut self, length: usize) -> io::Result<Vec<u8>> {
        Ok(self.reader()?.up_to(length)?.0)
    }

    /// Sends FIN and stays readable.
    pub(crate) fn half_close(&mut self) -> io::Result<()> {
        self.reader()?.stream.shutdown(Shutdown::Write)
    }

    /// Ends the connection with RST.
    pub(crate) fn reset(&mut self) -> io::Result<()> {
        if let Some(reader) = self.reader.take() {
            let mut streams = self.shared.streams.lock().expect("no script panicked");
            streams.retain(|(of, _)| *of != self.number);
            drop(streams);
            reset(reader.stream);
        }
        Ok(())
    }

    /// Waits until the proxy ends this connection and says how many bytes came before that.
    pub(crate) fn wait_closed(&mut self) -> io::Result<usize> {
        let reader = self.reader()?;
        reader.stream.set_read_timeout(Some(PATIENCE))?;
        Ok(reader.rest()?.len())
    }

    /// Whether the proxy ends this connection, or says anything more, within `limit`.
    pub(crate) fn ends_within(&mut self, limit: Duration) -> io::Result<bool> {
        let stream = &mut self.reader()?.stream;
        stream.set_read_timeout(Some(limit))?;
        let waits = |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        let ended = !stream.peek(&mut [0]).is_err_and(|error| waits(&error));
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(ended)
    }

    /// Waits until the proxy ends this connection, without reading what it sends.
    pub(crate) fn wait_closed_unread(&mut self) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            self.send("x")?; // fails once the other side is gone
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

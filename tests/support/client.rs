//! A client that sends exactly the bytes it is told to.

use std::io::{self, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use super::message::{Body, Framing, Head, Reader, broken};
use super::wait::PATIENCE;

/// A response as received; interim (1xx) ones are responses of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Body,
}

impl Response {
    /// The first value of the header `name`.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.bytes).into_owned()
    }

    /// `HTTP/1.1` or `HTTP/1.0`.
    pub(crate) fn version(&self) -> &str {
        self.head.start.split(' ').next().unwrap_or_default()
    }
}

/// One connection to the proxy.
pub(crate) struct Client {
    reader: Reader,
}

impl Client {
    /// Connects; panics when nobody listens.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"))
    }

    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    /// Connects from another of this host's addresses.
    #[track_caller]
    pub(crate) fn connect_from(own: IpAddr, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(own, 0).into()).unwrap_or_else(|error| panic!("bind {own}: {error}"));
        socket
            .connect_timeout(&address.into(), PATIENCE)
            .unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        Self::over(socket.into()).expect("a connected socket takes options")
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { reader: Reader::new(stream) })
    }

    /// The underlying socket.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.reader.stream
    }

    /// This side's address.
    pub(crate) fn local(&self) -> SocketAddr {
        self.reader.stream.local_addr().expect("a connected socket has an address")
    }

    /// Sends `bytes` in one write; panics when the peer is gone.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("send");
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.stream.write_all(bytes.as_ref())
    }

    /// Sends each byte in a segment of its own, as far as the peer takes them.
    pub(crate) fn send_bytewise(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            if self.try_send([*byte]).is_err() {
                return; // refused half way: what the peer answered is still to be read
            }
        }
    }

    /// Sends `bytes` in two writes, cut at `at`.
    pub(crate) fn send_split(&mut self, bytes: impl AsRef<[u8]>, at: usize) {
        let (first, second) = bytes.as_ref().split_at(at);
        if self.try_send(first).is_ok() {
            let _ = self.try_send(second); // as in `send_bytewise`
        }
    }

    /// The next response to a request whose method gives the response a body.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    /// The next response to a request with this method.
    #[track_caller]
    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        match self.try_response_to(method) {
            Ok(Some(response)) => response,
            Ok(None) => panic!("closed in place of a response to {method}"),
            Err(error) => panic!("no response to {method}: {error}"),
        }
    }

    /// The next response, or `None` when the connection ended before its first byte.
    pub(crate) fn try_response_to(&mut self, method: &str) -> io::Result<Option<Response>> {
        let head = match self.reader.head() {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(None),
            Err(error) if broken(&error) && error.kind() != io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        };
        let status = head.start.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("status line {:?}", head.start));
        let framing = match status {
            100..200 | 204 | 304 => Framing::None,
            _ if method == "HEAD" => Framing::None,
            200..300 if method == "CONNECT" => Framing::None,
            _ => head.framing(Framing::UntilClose),
        };
        let body = self.reader.body(framing)?;
        Ok(Some(Response { status, head, body }))
    }

    /// Sends one request and reads its response.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        let request = request.as_ref();
        self.send(request);
        let method = request.split(|byte| *byte == b' ').next().unwrap_or_default();
        self.response_to(&String::from_utf8_lossy(method))
    }

    /// The next `length` bytes as they are; fewer when the connection ends first.
    pub(crate) fn raw(&mut self, length: usize) -> Vec<u8> {
        self.reader.up_to(length).expect("raw bytes").0
    }

    /// Everything up to the end of the connection.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        self.reader.rest().expect("the connection should have ended")
    }

    /// Asserts that the peer closes without sending anything more.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "unexpected bytes before the close: {:?}", String::from_utf8_lossy(&rest));
    }

    /// Sends FIN and stays readable.
    pub(crate) fn half_close(&self) {
        let _ = self.reader.stream.shutdown(Shutdown::Write); // fails only when the peer is gone already
    }

    /// Ends the connection with RST.
    pub(crate) fn reset(self) {
        reset(self.reader.stream);
    }
}

/// Closes `stream` with RST instead of FIN.
pub(crate) fn reset(stream: TcpStream) {
    let socket = socket2::Socket::from(stream);
    socket.set_linger(Some(std::time::Duration::ZERO)).expect("SO_LINGER");
}

/// One request on a connection of its own, ended by the client.
#[track_caller]
pub(crate) fn once(address: SocketAddr, request: impl AsRef<[u8]>) -> Response {
    Client::connect(address).ask(request)
}

//! Reading HTTP/1.1 messages off a socket, strictly and independently of the codec under test.

use std::io::{self, Read};
use std::net::TcpStream;

/// How the end of a body was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body follows (also HEAD, 1xx, 204, 304).
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

/// A start line and its header lines, as received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// The first value of `name`, compared without case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Every value of `name`, compared without case.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// The framing that the header lines announce, before the rules that depend on the method or status.
    pub(crate) fn framing(&self, otherwise: Framing) -> Framing {
        if self.all("transfer-encoding").iter().any(|v| v.eq_ignore_ascii_case("chunked")) {
            return Framing::Chunked;
        }
        match self.header("content-length") {
            Some(length) => Framing::Length(length.parse().unwrap_or_else(|_| panic!("content-length {length:?}"))),
            None => otherwise,
        }
    }
}

/// A body as far as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) framing: Framing,
    /// False when the connection ended before the announced end.
    pub(crate) complete: bool,
    /// Trailer lines of a chunked body.
    pub(crate) trailers: Vec<(String, String)>,
}

/// A socket, or what is spoken over one, with the bytes read from it and not yet used.
pub(crate) struct Reader<S = TcpStream> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

impl<S: Read> Reader<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Reads more; false at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        let n = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..n]);
        Ok(n > 0)
    }

    /// A head, or `None` when the peer closed before its first byte. A head cut off is `UnexpectedEof`.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            if !self.fill()? {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                let text = String::from_utf8_lossy(&self.buffer).into_owned();
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("a head cut off: {text:?}")));
            }
        };
        let text = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines.map(header_line).collect();
        Ok(Some(Head { start, headers }))
    }

    /// A body with this framing. An end that comes too early gives what there was, with `complete: false`.
    pub(crate) fn body(&mut self, framing: Framing) -> io::Result<Body> {
        let mut body = Body { bytes: Vec::new(), framing, complete: true, trailers: Vec::new() };
        match framing {
            Framing::None => {}
            Framing::Length(length) => (body.bytes, body.complete) = self.up_to(length)?,
            Framing::UntilClose => {
                while self.fill()? {}
                body.bytes = std::mem::take(&mut self.buffer);
            }
            Framing::Chunked => body.complete = self.chunks(&mut body)?.is_some(),
        }
        Ok(body)
    }

    /// Reads chunks to the end of the trailer section; `None` when the stream ended first.
    fn chunks(&mut self, body: &mut Body) -> io::Result<Option<()>> {
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            let size = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("chunk size line {line:?}"));
            if size == 0 {
                break;
            }
            let (bytes, complete) = self.up_to(size)?;
            body.bytes.extend_from_slice(&bytes);
            if !complete {
                return Ok(None);
            }
            let Some(end) = self.line()? else { return Ok(None) };
            assert!(end.is_empty(), "a chunk of {size} bytes is followed by {end:?}");
        }
        loop {
            match self.line()? {
                None => return Ok(None),
                Some(line) if line.is_empty() => return Ok(Some(())),
                Some(line) => body.trailers.push(header_line(&line)),
            }
        }
    }

    /// The next CRLF-terminated line without its end; `None` when the stream ends first.
    fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..at]).into_owned();
                self.buffer.drain(..at + 2);
                return Ok(Some(line));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// `length` bytes, or fewer and `false` when the stream ends or breaks first.
    pub(crate) fn up_to(&mut self, length: usize) -> io::Result<(Vec<u8>, bool)> {
        while self.buffer.len() < length {
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return Ok((std::mem::take(&mut self.buffer), false)),
                Err(error) if broken(&error) => return Ok((std::mem::take(&mut self.buffer), false)),
                Err(error) => return Err(error),
            }
        }
        Ok((self.buffer.drain(..length).collect(), true))
    }

    /// Everything up to the end of the stream; an abrupt end counts as an end.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if broken(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(std::mem::take(&mut self.buffer))
    }
}

/// The peer ended the connection, whichever way.
pub(crate) fn broken(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}

fn header_line(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("header line {line:?}"));
    (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

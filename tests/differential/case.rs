//! A case: the bytes that a client sends, what the origin does, and what both proxies must make of it.

/// What the origin does with each request of a case.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reply {
    /// Reads the request and sends these bytes; the connection stays open.
    Bytes(&'static [u8]),
    /// Reads the request, sends these bytes, closes.
    ThenClose(&'static [u8]),
    /// Reads the request, sends these bytes, resets.
    ThenReset(&'static [u8]),
    /// Answers the head with 100, then reads the body and answers 200 with it.
    Continue,
    /// Answers the head with these bytes and then sends back whatever comes.
    Tunnel(&'static [u8]),
    /// Reads the request, lets so many milliseconds pass, sends these bytes.
    Late(u64, &'static [u8]),
    /// Does with the first request of the case as the first of these says, and so on; the last one stands for the rest.
    InTurn(&'static [Reply]),
}

/// What the client does, in order.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// Sends these bytes in one write.
    Send(&'static [u8]),
    /// Sends these bytes, then the next ones so many times, then the last ones.
    Fill(&'static [u8], &'static [u8], usize, &'static [u8]),
    /// Reads one response to a request of this method; interim ones count.
    Read(&'static str),
    /// Reads so many bytes as they are.
    Raw(usize),
    /// Waits until an origin has received the request.
    AtOrigin,
    /// Waits until the origins together have received so many requests.
    AtOrigins(usize),
    /// Lets so many milliseconds pass.
    Pause(u64),
    /// Sends FIN, and is told by the proxy's close that it has seen it.
    Finish,
    /// Resets the connection without waiting for anything more.
    Leave,
}

/// Something on which ringway and Envoy differ on purpose. It must differ: a statement that has become untrue fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stated {
    /// The place of the difference, or the beginning of it: `client.0.status`, `origin`, `log.0.details`.
    pub(crate) place: &'static str,
    /// What ringway has at that very place; "" when the place names more than one value, or nothing is to be said.
    pub(crate) ringway: &'static str,
    /// Which decision says so.
    pub(crate) why: &'static str,
}

/// One row of the tables under `cases/`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) steps: &'static [Step],
    pub(crate) origin: Reply,
    /// Envoy's `STATUS FLAGS DETAILS` of each access log line, with the route's name behind it where that is what the case
    /// is about: what the oracle really says, written down.
    pub(crate) envoy: &'static [&'static str],
    pub(crate) stated: &'static [Stated],
}

/// 200 with two bytes of body.
pub(crate) const OK: Reply = Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");

/// What Envoy logs when the origin's response went through.
pub(crate) const VIA: &[&str] = &["200 - via_upstream"];

impl Case {
    /// A case whose client sends `bytes` and reads one response; the origin says [`OK`].
    pub(crate) const fn get(name: &'static str, steps: &'static [Step], envoy: &'static [&'static str]) -> Self {
        Self { name, steps, origin: OK, envoy, stated: &[] }
    }

    /// The same case with another origin.
    pub(crate) const fn origin(mut self, origin: Reply) -> Self {
        self.origin = origin;
        self
    }

    /// The same case with differences on purpose.
    pub(crate) const fn but(mut self, stated: &'static [Stated]) -> Self {
        self.stated = stated;
        self
    }
}

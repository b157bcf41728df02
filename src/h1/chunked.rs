//! Chunked bodies (RFC 9112 §7.1): taking the framing off, and putting it on.
//!
//! Stricter than Envoy's parser where two readers could differ: every line ends in CRLF, a size is hex digits only,
//! a chunk's data ends where its size says. Extensions and trailers are checked, bounded and dropped.

use crate::base::limits::MAX_CHUNK_LINE_BYTES;
use crate::http::error::ProtocolError;
use crate::http::target::hex;

/// The end of a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Digits of the largest size; more, even zeros, are refused.
const MOST_DIGITS: u8 = 16;

/// Extension bytes that one body may have beyond twice its payload: tiny chunks with long extensions make a proxy
/// read much to forward little.
const MOST_EXTENSION_SURPLUS: u64 = 4 * MAX_CHUNK_LINE_BYTES as u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum DecoderState {
    /// In the size, after this many digits.
    #[default]
    Size,
    /// White space after the size.
    Padding,
    /// After the `;`.
    Extension,
    /// After the CR of a size line.
    SizeLf,
    /// In the data.
    Data,
    /// After the data.
    DataCr,
    DataLf,
    /// At the start of a trailer line, or at the blank line.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    /// After the CR of the blank line.
    EndLf,
    Done,
}

/// Where a chunked body is; one per message, [`Default`] at its start.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    state: DecoderState,
    digits: u8,
    /// The size while it is read, then the data still to come.
    remaining: u64,
    /// Bytes of the current line, or of the trailer section so far.
    line: usize,
    surplus: u64,
}

/// The result of one call of [`Decoder::decode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that belong to the body: all of them, unless `done`.
    pub consumed: usize,
    /// Bytes of payload, now at the start of the buffer.
    pub payload: usize,
    /// The body has ended; what follows `consumed` is the next message.
    pub done: bool,
}

impl Decoder {
    /// Takes the framing out of the next bytes of a body, moving the payload together at the start of `buf`.
    ///
    /// # Errors The framing is malformed or beyond its limits. Payload before that position is lost: the message is
    ///   broken.
    pub fn decode(&mut self, buf: &mut [u8]) -> Result<Decoded, ProtocolError> {
        let (mut at, mut payload) = (0, 0);
        while self.state != DecoderState::Done && at < buf.len() {
            if self.state == DecoderState::Data {
                let rest = buf.len() - at;
                let take = usize::try_from(self.remaining).map_or(rest, |remaining| remaining.min(rest));
                if payload != at {
                    buf.copy_within(at..at + take, payload);
                }
                at += take;
                payload += take;
                self.remaining -= take as u64;
                if self.remaining == 0 {
                    self.state = DecoderState::DataCr;
                }
            } else {
                self.state = self.frame(buf[at])?;
                at += 1;
            }
        }
        Ok(Decoded { consumed: at, payload, done: self.state == DecoderState::Done })
    }

    /// Whether the body has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == DecoderState::Done
    }

    /// The state after one byte of framing.
    fn frame(&mut self, byte: u8) -> Result<DecoderState, ProtocolError> {
        match self.state {
            DecoderState::Size => match hex(byte) {
                Some(digit) if self.digits < MOST_DIGITS => {
                    self.digits += 1;
                    self.remaining = self.remaining << 4 | u64::from(digit);
                    Ok(DecoderState::Size)
                }
                None if self.digits > 0 => self.after_size(byte),
                _ => Err(ProtocolError::ChunkSize),
            },
            DecoderState::Padding => self.after_size(byte),
            DecoderState::Extension => match byte {
                b'\r' => Ok(DecoderState::SizeLf),
                _ if is_text(byte) => {
                    self.surplus += 1;
                    self.count(DecoderState::Extension, ProtocolError::ChunkSize)
                }
                _ => Err(ProtocolError::ChunkSize),
            },
            DecoderState::SizeLf if byte == b'\n' => self.start_chunk(),
            DecoderState::SizeLf => Err(ProtocolError::ChunkSize),
            DecoderState::DataCr if byte == b'\r' => Ok(DecoderState::DataLf),
            DecoderState::DataLf if byte == b'\n' => {
                (self.digits, self.line) = (0, 0);
                Ok(DecoderState::Size)
            }
            DecoderState::DataCr | DecoderState::DataLf => Err(ProtocolError::ChunkEnd),
            DecoderState::Trailer if byte == b'\r' => Ok(DecoderState::EndLf),
            DecoderState::Trailer if is_token(byte) => self.count(DecoderState::TrailerName, ProtocolError::Trailer),
            DecoderState::TrailerName if byte == b':' => self.count(DecoderState::TrailerValue, ProtocolError::Trailer),
            DecoderState::TrailerName if is_token(byte) => {
                self.count(DecoderState::TrailerName, ProtocolError::Trailer)
            }
            DecoderState::TrailerValue if byte == b'\r' => Ok(DecoderState::TrailerLf),
            DecoderState::TrailerValue if is_text(byte) => {
                self.count(DecoderState::TrailerValue, ProtocolError::Trailer)
            }
            DecoderState::TrailerLf if byte == b'\n' => self.count(DecoderState::Trailer, ProtocolError::Trailer),
            DecoderState::EndLf if byte == b'\n' => Ok(DecoderState::Done),
            // `decode` handles the data and stops at the end: only trailers are left.
            _ => Err(ProtocolError::Trailer),
        }
    }

    /// The bytes after the digits: white space (some servers pad), an extension, the end of the line.
    fn after_size(&mut self, byte: u8) -> Result<DecoderState, ProtocolError> {
        match byte {
            b'\r' => Ok(DecoderState::SizeLf),
            b' ' | b'\t' => self.count(DecoderState::Padding, ProtocolError::ChunkSize),
            b';' => self.count(DecoderState::Extension, ProtocolError::ChunkSize),
            _ => Err(ProtocolError::ChunkSize),
        }
    }

    fn start_chunk(&mut self) -> Result<DecoderState, ProtocolError> {
        self.line = 0;
        if self.remaining == 0 {
            return Ok(DecoderState::Trailer);
        }
        if i64::try_from(self.remaining).is_err() {
            return Err(ProtocolError::ChunkSize);
        }
        self.surplus = self.surplus.saturating_sub(self.remaining.saturating_mul(2));
        if self.surplus > MOST_EXTENSION_SURPLUS { Err(ProtocolError::ChunkSize) } else { Ok(DecoderState::Data) }
    }

    /// Counts a byte of a line that is thrown away.
    fn count(&mut self, next: DecoderState, too_long: ProtocolError) -> Result<DecoderState, ProtocolError> {
        self.line += 1;
        if self.line > MAX_CHUNK_LINE_BYTES { Err(too_long) } else { Ok(next) }
    }
}

/// The bytes of a field value or an extension: visible characters, white space, obs-text.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// tchar of RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The line before a chunk of `len` bytes: the size in hex and CRLF. The data and another CRLF must follow. A `len`
/// of 0 would end the body, which is for [`LAST_CHUNK`] to do.
pub fn chunk_size_line(len: usize, out: &mut [u8; 18]) -> &[u8] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut at = out.len() - 2;
    out[at..].copy_from_slice(b"\r\n");
    let mut rest = len as u64;
    loop {
        at -= 1; // 16 digits at most, so this ends at 0
        out[at] = HEX[(rest & 15) as usize];
        rest >>= 4;
        if rest == 0 {
            return &out[at..];
        }
    }
}

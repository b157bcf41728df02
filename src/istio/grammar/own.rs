//! Values that a proxy at the edge writes itself, whatever the client sends.

use super::Grammar;

/// The headers that the proxy writes into requests of a Gateway's plain HTTP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Own {
    /// `x-forwarded-proto`, and the scheme: `http`.
    Scheme,
    /// `x-request-id`: a UUID.
    RequestId,
    /// `x-forwarded-for`: the client's own value, a comma, and the client's address; or the address alone.
    ForwardedFor,
    /// `x-envoy-external-address`: the client's address.
    Address,
}

/// The client's own value.
const ANYTHING: u32 = 0;
/// Before the address, and within it.
const BEFORE_ADDRESS: u32 = 1;
const ADDRESS: u32 = 2;

const HTTP: &[u8] = b"http";

/// The positions of a UUID's dashes.
const DASHES: [u32; 4] = [8, 13, 18, 23];
const UUID_BYTES: u32 = 36;

impl Own {
    /// The value that is written under this name (in lower case); `None`: the proxy does not write it.
    #[must_use]
    pub fn under(name: &str) -> Option<Self> {
        match name {
            "x-forwarded-proto" => Some(Self::Scheme),
            "x-request-id" => Some(Self::RequestId),
            "x-forwarded-for" => Some(Self::ForwardedFor),
            "x-envoy-external-address" => Some(Self::Address),
            _ => None,
        }
    }
}

impl Grammar for Own {
    fn start(&self, to: &mut Vec<u32>) {
        match self {
            Self::Scheme | Self::RequestId => to.push(0),
            Self::ForwardedFor => to.extend([ANYTHING, BEFORE_ADDRESS]),
            Self::Address => to.push(BEFORE_ADDRESS),
        }
    }

    fn step(&self, state: u32, byte: u8, to: &mut Vec<u32>) {
        match self {
            Self::Scheme => to.extend((HTTP.get(state as usize) == Some(&byte)).then_some(state + 1)),
            Self::RequestId => {
                let is_dash = DASHES.contains(&state);
                let fits = if is_dash { byte == b'-' } else { matches!(byte, b'0'..=b'9' | b'a'..=b'f') };
                to.extend((fits && state < UUID_BYTES).then_some(state + 1));
            }
            Self::ForwardedFor | Self::Address => match (state, byte) {
                (ANYTHING, b',') => to.extend([ANYTHING, BEFORE_ADDRESS]),
                (ANYTHING, b'\t' | 0x20..=0x7e | 0x80..) => to.push(ANYTHING),
                (ANYTHING, _) => {}
                (_, b'0'..=b'9' | b'a'..=b'f' | b'.' | b':') => to.push(ADDRESS),
                _ => {}
            },
        }
    }

    fn ends(&self, state: u32) -> bool {
        match self {
            Self::Scheme => state as usize == HTTP.len(),
            Self::RequestId => state == UUID_BYTES,
            Self::ForwardedFor | Self::Address => state == ADDRESS,
        }
    }
}

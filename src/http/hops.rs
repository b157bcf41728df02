//! `x-ringway-hops`: which ringways a request has passed through, and how often, so that request loops are detected.
//!
//! The value is a list of `id=passes`, one for each process, in the order of their first pass; an id is eight hex digits
//! drawn at the start. A client may forge it: that affects only its own request, and every pass adds one.

use super::field_value::list;
use super::head::{Known, RequestHead};
use crate::base::limits::{MOST_PASSES, MOST_RINGWAYS};

/// The id of a process.
pub type Id = [u8; 8];

/// The request has gone round too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoesRound {
    /// How often it came here, this time included.
    pub passes: u32,
}

/// An id of these bits.
#[must_use]
pub fn id(bits: u32) -> Id {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|at| HEX[(bits >> (28 - 4 * at) & 15) as usize])
}

/// Writes the value that goes upstream to `out`, which is cleared: that of the client with this pass of `own` counted.
///
/// # Errors
/// [`GoesRound`] above [`MOST_PASSES`], or if more than [`MOST_RINGWAYS`] others were passed.
pub fn pass(head: &RequestHead, buf: &[u8], own: &Id, out: &mut Vec<u8>) -> Result<(), GoesRound> {
    out.clear();
    let (mut passes, mut others) = (0_u32, 0);
    if head.has(Known::XRingwayHops) {
        let values = head.all(Known::XRingwayHops).map(|line| line.value.of(buf));
        for (id, count) in values.flat_map(list).filter_map(entry) {
            if id == own {
                passes = passes.max(count);
            } else if others < MOST_RINGWAYS {
                others += 1;
                put(out, id, count);
            } else {
                return Err(GoesRound { passes: passes.saturating_add(1) });
            }
        }
    }
    let passes = passes.saturating_add(1);
    put(out, own, passes);
    if passes > MOST_PASSES { Err(GoesRound { passes }) } else { Ok(()) }
}

/// An element that is not in ringway's format is ignored.
fn entry(element: &[u8]) -> Option<(&[u8], u32)> {
    let at = memchr::memchr(b'=', element)?;
    let (id, count) = (element.get(..at)?, element.get(at + 1..)?);
    let sound = id.len() == size_of::<Id>() && id.iter().all(u8::is_ascii_hexdigit);
    let count = std::str::from_utf8(count).ok()?.parse().ok()?;
    sound.then_some((id, count))
}

fn put(out: &mut Vec<u8>, id: &[u8], count: u32) {
    if !out.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(id);
    out.push(b'=');
    out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
}

//! `x-ringway-hops`: which ringways a request has passed through, and how often, so that one that goes round in circles
//! is found out.
//!
//! The value is a list of `id=passes`, one for each process, in the order of their first pass; an id is eight hex digits
//! drawn at the start. A client may write what it likes: its own request is all that suffers, and every pass adds one.

use super::head::{Known, RequestHead, list};
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

/// What is not of the form that ringways write says nothing.
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

#[cfg(test)]
mod tests {
    use super::super::parse::{self, HeadLimits};
    use super::*;

    /// What becomes of these header lines.
    fn passed(lines: &str) -> Result<String, GoesRound> {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut head = RequestHead::default();
        parse::request(text.as_bytes(), &HeadLimits::default(), &mut head).expect("a request");
        let mut out = b"old".to_vec();
        pass(&head, text.as_bytes(), b"0000000a", &mut out)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn every_pass_is_counted() {
        for (lines, expected) in [
            ("", "0000000a=1"),
            ("x-ringway-hops: 0000000a=1\r\n", "0000000a=2"),
            ("X-Ringway-Hops: 0000000b=3\r\n", "0000000b=3,0000000a=1"),
            ("x-ringway-hops: 0000000b=3, 0000000a=4 ,0000000c=1\r\n", "0000000b=3,0000000c=1,0000000a=5"),
            // Several lines, or several counts, as a rule or a client may make them: the largest counts.
            ("x-ringway-hops: 0000000a=1\r\nx-ringway-hops: 0000000a=7, 0000000a=2\r\n", "0000000a=8"),
            // What nobody of ours wrote.
            ("x-ringway-hops: \r\n", "0000000a=1"),
            ("x-ringway-hops: 17\r\n", "0000000a=1"),
            ("x-ringway-hops: 0000000a=-1, 0000000a=, =4, 0000000a=x, a=1, 0000000g=1\r\n", "0000000a=1"),
            ("x-ringway-hops: 0000000a=99999999999\r\n", "0000000a=1"),
        ] {
            assert_eq!(passed(lines).as_deref(), Ok(expected), "{lines}");
        }
    }

    #[test]
    fn too_many_end_it() {
        let with = |count: u32| passed(&format!("x-ringway-hops: 0000000a={count}\r\n"));
        assert!(with(MOST_PASSES - 1).is_ok());
        assert_eq!(with(MOST_PASSES), Err(GoesRound { passes: MOST_PASSES + 1 }));
        assert_eq!(with(u32::MAX), Err(GoesRound { passes: u32::MAX }));
        let others = |count: usize| {
            let list: Vec<String> = (0..count).map(|number| format!("{:08x}=1", number + 0x100)).collect();
            passed(&format!("x-ringway-hops: {}\r\n", list.join(",")))
        };
        assert!(others(MOST_RINGWAYS).is_ok());
        assert_eq!(others(MOST_RINGWAYS + 1), Err(GoesRound { passes: 1 }));
    }

    #[test]
    fn ids() {
        assert_eq!((&id(0), &id(0x1234_abcd)), (b"00000000", b"1234abcd"));
    }
}

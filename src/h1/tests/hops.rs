//! `x-ringway-hops` of requests as the codec reads them.

use super::super::parse::{self, HeadLimits};
use crate::base::limits::{MOST_PASSES, MOST_RINGWAYS};
use crate::http::head::RequestHead;
use crate::http::hops::{GoesRound, id, pass};

/// The header that goes on of a request with these lines.
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
        // Values that no ringway has written.
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

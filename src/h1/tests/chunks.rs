use super::super::chunked::{Decoder, LAST_CHUNK, chunk_size_line};
use super::*;
use crate::base::limits::MAX_CHUNK_LINE_BYTES;

/// The payload of a chunked body and how many bytes it took; `None` if it is not whole.
fn decode(message: &[u8]) -> Result<Option<(Vec<u8>, usize)>, ProtocolError> {
    every_way(message.len(), |cuts| {
        let (mut decoder, mut payload, mut from) = (Decoder::default(), Vec::new(), 0);
        for cut in cuts {
            let mut piece = message[from..cut].to_vec();
            let decoded = decoder.decode(&mut piece)?;
            payload.extend_from_slice(&piece[..decoded.payload]);
            assert_eq!(decoded.done, decoder.is_done());
            if decoded.done {
                return Ok(Some((payload, from + decoded.consumed)));
            }
            assert_eq!(decoded.consumed, piece.len(), "all of it belongs to the body");
            from = cut;
        }
        Ok(None)
    })
}

#[test]
fn good_bodies() {
    let table: &[(&[u8], &[u8])] = &[
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"A\r\n0123456789\r\n000\r\n\r\n", b"0123456789"),
        (b"0000000000000003\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"3;a=b;c=\"d e\"\r\nabc\r\n0;z\r\n\r\n", b"abc"),
        (b"3  \r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"3 ;a\r\nabc\r\n0 \r\n\r\n", b"abc"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"3\r\nabc\r\n0\r\nA: b\r\nC:\r\nD:\te f\r\n\r\n", b"abc"),
    ];
    for (message, payload) in table {
        assert_eq!(decode(message), Ok(Some((payload.to_vec(), message.len()))), "{}", text(message));
        let followed = [message, &b"GET /next HTTP/1.1\r\n"[..]].concat();
        assert_eq!(decode(&followed), Ok(Some((payload.to_vec(), message.len()))), "{}", text(message));
    }
}

#[test]
fn bad_bodies() {
    use ProtocolError as B;
    let long = "x".repeat(MAX_CHUNK_LINE_BYTES + 1);
    let owned = [
        (format!("1;{long}\r\na\r\n0\r\n\r\n"), B::ChunkSize),
        (format!("1{}\r\na\r\n0\r\n\r\n", " ".repeat(MAX_CHUNK_LINE_BYTES + 1)), B::ChunkSize),
        (format!("0\r\nA: {long}\r\n\r\n"), B::Trailer),
        (format!("0\r\n{}\r\n", "A: b\r\n".repeat(1000)), B::Trailer),
        (format!("{}0\r\n\r\n", "1;eeeeeeeeeeeeeeeeeeee\r\na\r\n".repeat(1000)), B::ChunkSize),
    ];
    let table: &[(&[u8], ProtocolError)] = &[
        (b"\r\n", B::ChunkSize),
        (b"g\r\n", B::ChunkSize),
        (b"-1\r\n", B::ChunkSize),
        (b"+1\r\n", B::ChunkSize),
        (b"0x1\r\n", B::ChunkSize),
        (b" 1\r\na\r\n0\r\n\r\n", B::ChunkSize),
        (b"1 1\r\na\r\n0\r\n\r\n", B::ChunkSize),
        (b";a\r\n", B::ChunkSize),
        (b"1\na\r\n0\r\n\r\n", B::ChunkSize),
        (b"1\r\ra\r\n0\r\n\r\n", B::ChunkSize),
        (b"1;a\nb\r\na\r\n0\r\n\r\n", B::ChunkSize),
        (b"1;a\x00\r\na\r\n0\r\n\r\n", B::ChunkSize),
        (b"1;a\rb\r\n", B::ChunkSize),
        (b"00000000000000001\r\na\r\n0\r\n\r\n", B::ChunkSize),
        (b"8000000000000000\r\na", B::ChunkSize),
        (b"ffffffffffffffff\r\na", B::ChunkSize),
        (b"1\r\nab\r\n0\r\n\r\n", B::ChunkEnd),
        (b"1\r\na\n0\r\n\r\n", B::ChunkEnd),
        (b"1\r\na\r\r0\r\n\r\n", B::ChunkEnd),
        (b"2\r\na\r\n0\r\n\r\n", B::ChunkEnd),
        (b"0\r\n\n", B::Trailer),
        (b"0\r\n\r\r", B::Trailer),
        (b"0\r\nbad trailer\r\n\r\n", B::Trailer),
        (b"0\r\nbad\r\n\r\n", B::Trailer),
        (b"0\r\n: b\r\n\r\n", B::Trailer),
        (b"0\r\n A: b\r\n\r\n", B::Trailer),
        (b"0\r\nA: b\x01\r\n\r\n", B::Trailer),
        (b"0\r\nA: b\n\r\n", B::Trailer),
        (b"0\r\nA: b\r\n c\r\n\r\n", B::Trailer),
    ];
    let owned = owned.iter().map(|(message, bad)| (message.as_bytes(), *bad));
    for (message, expected) in table.iter().copied().chain(owned) {
        assert_eq!(decode(message), Err(expected), "{}", text(&message[..message.len().min(60)]));
    }
}

#[test]
fn an_unfinished_body_needs_more() {
    for message in
        ["", "3", "3\r\n", "3\r\nab", "3\r\nabc\r\n", "0\r\n", "0\r\n\r", "0\r\nA: b\r\n", "7fffffffffffffff\r\na"]
    {
        assert_eq!(decode(message.as_bytes()), Ok(None), "{message:?}");
    }
}

#[test]
fn extensions_of_real_chunks_are_no_attack() {
    let body =
        format!("{}0\r\n\r\n", format!("400;signature={}\r\n{}\r\n", "s".repeat(80), "x".repeat(1024)).repeat(400));
    let mut bytes = body.into_bytes();
    let decoded = Decoder::default().decode(&mut bytes).expect("a good body");
    assert_eq!((decoded.payload, decoded.done), (400 * 1024, true));
}

#[test]
fn a_finished_decoder_takes_nothing() {
    let mut decoder = Decoder::default();
    assert!(decoder.decode(&mut LAST_CHUNK.to_vec()).is_ok_and(|decoded| decoded.done));
    let again = decoder.decode(&mut b"GET".to_vec()).expect("done");
    assert_eq!((again.consumed, again.payload, again.done), (0, 0, true));
}

#[test]
fn size_lines() {
    for (len, line) in
        [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (16384, "4000\r\n"), (usize::MAX, "ffffffffffffffff\r\n")]
    {
        assert_eq!(chunk_size_line(len, &mut [0; 18]), line.as_bytes());
    }
}

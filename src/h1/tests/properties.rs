use proptest::collection::vec;
use proptest::prelude::*;

use super::super::chunked::{Decoder, LAST_CHUNK, chunk_size_line};
use super::super::encode::{self, Connection};
use super::super::framing::{self, Body};
use super::written::out;
use super::*;
use crate::http::forward::{Completion, Downstream, View};
use crate::http::head::Known;
use crate::http::header_ops;
use crate::http::outgoing::{BodyLen, RequestOut, ResponseOut, Server};
use crate::http::target::{self, Normal, PathForm};

/// Names that the writer has no opinion on.
fn name() -> impl Strategy<Value = String> {
    "z-[a-zA-Z0-9!#$%&'*+.^_`|~-]{0,12}"
}

fn value() -> impl Strategy<Value = String> {
    "([!-~]([ -~]{0,20}[!-~])?)?"
}

/// What separates the parts of a line: mostly canonical, so that both ways of writing are met.
fn line_style() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop_oneof![8 => Just((": ", "\r\n")), 1 => Just((":", "\r\n")), 1 => Just((": \t", " \r\n")), 1 => Just((": ", "\n"))]
}

fn lines() -> impl Strategy<Value = Vec<(String, String, (&'static str, &'static str))>> {
    vec((name(), value(), line_style()), 0..12)
}

fn render(lines: &[(String, String, (&str, &str))]) -> String {
    lines.iter().map(|(name, value, (colon, end))| format!("{name}{colon}{value}{end}")).collect()
}

pub(super) fn downstream() -> impl Strategy<Value = Downstream> {
    prop_oneof![Just(Downstream::Edge), Just(Downstream::Outbound), Just(Downstream::Inbound)]
}

/// A good head, read in one go: `heads` has the cutting.
fn request_at_once(buf: &[u8]) -> RequestHead {
    let mut head = RequestHead::default();
    assert_eq!(parse::request(buf, &HeadLimits::default(), &mut head), Ok(Parsed::Complete), "{}", text(buf));
    head
}

fn response_at_once(buf: &[u8]) -> ResponseHead {
    let mut head = ResponseHead::default();
    assert_eq!(parse::response(buf, &HeadLimits::default(), &mut head), Ok(Parsed::Complete), "{}", text(buf));
    head
}

/// Names and values of the lines that are not ours.
fn others(rendered: &[crate::http::head::HeaderLine], buf: &[u8]) -> Vec<(String, String)> {
    let own = rendered.iter().filter(|line| line.name.of(buf).starts_with(b"z-"));
    own.map(|line| (text(line.name.of(buf)), text(line.value.of(buf)))).collect()
}

/// Bytes that are likely to mean something to a parser.
fn hostile(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => proptest::sample::select(pieces).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..4),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// How a hostile head may begin, so that what follows is looked at.
const STARTS: &[&str] = &[
    "",
    "GET /a/../b?c HTTP/1.1\r\nHost: h\r\n",
    "POST http://h HTTP/1.1\r\n",
    "GET /{} HTTP/1.0\r\nX: ",
    "HTTP/1.1 200 OK\r\nX: ",
];

const HEAD_PIECES: &[&str] = &[
    "GET ",
    "POST ",
    "/",
    "/a",
    "*",
    " HTTP/1.1",
    " HTTP/1.0",
    "HTTP/1.1 200 OK",
    " HTTP/2.0",
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    ": ",
    "Host: h\r\n",
    "Host",
    "Connection: ",
    "close",
    ",",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "\r\n\r\n",
    "\0",
    "Upgrade: websocket\r\n",
    "x-forwarded-for: 1\r\n",
    "A: b\r\n",
    "X:y\n",
    "c\r\n",
];

const CHUNK_PIECES: &[&str] = &[
    "0",
    "1",
    "2",
    "5",
    "a",
    "F",
    "\r\n",
    "\n",
    "\r",
    ";",
    "a=b",
    " ",
    "0\r\n",
    "2\r\nab\r\n",
    "\r\n\r\n",
    "A: b",
    ":",
    "\0",
    "ffff",
];

proptest! {
    #[test]
    fn what_is_written_parses_back(lines in lines(), at in any::<prop::sample::Index>(), path in "/[!-~]{0,30}", body in 0..3usize) {
        let split = at.index(lines.len() + 1);
        let framing = ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"][body];
        let message = format!(
            "POST {path} HTTP/1.1\r\n{}Host: h\r\n{framing}Connection: keep-alive\r\n{}\r\n",
            render(&lines[..split]), render(&lines[split..]),
        );
        let buf = message.as_bytes();
        let head = request_at_once(buf);
        let out_body = BodyLen::from(framing::request_body(&head, buf).expect("a good body"));
        let mut completion = Completion::default();
        completion.complete(&head, buf, Downstream::Edge, b"1.2.3.4", || b"id");
        let view = View {
            head: &head, buf, completion: &completion, downstream: Downstream::Edge, external_address: b"", tunnel: false,
        };
        let what = RequestOut { path: path.as_bytes(), ..out("", out_body) };
        let mut written = Vec::new();
        encode::request(&mut written, &view, &what);

        let again = request_at_once(&written);
        prop_assert_eq!(again.len, written.len());
        prop_assert_eq!(again.target.of(&written), path.as_bytes());
        prop_assert_eq!(others(&again.headers, &written), others(&head.headers, buf));
        prop_assert!(!again.has(Known::Connection));
        prop_assert!(again.facts.canonical);
        let body = framing::request_body(&again, &written).expect("a good body");
        // A POST without a body says so.
        prop_assert_eq!(BodyLen::from(body), if out_body == BodyLen::None { BodyLen::Known(0) } else { out_body });
    }

    #[test]
    fn responses_too(lines in lines(), status in 200u16..600, body in 0..3usize, old in any::<bool>(), close in any::<bool>()) {
        let framing = ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"][body];
        let message = format!("HTTP/1.1 {status} X\r\n{framing}Connection: close\r\n{}\r\n", render(&lines));
        let buf = message.as_bytes();
        let head = response_at_once(buf);
        let Ok(body) = framing::response_body(&head, buf, Default::default()) else { return Ok(()) };
        let client = if old { Version::Http10 } else { Version::Http11 };
        let what = ResponseOut {
            server: Server::Overwrite(b"ringway"), date: b"NOW", service_time_ms: Some(3),
            body: body.into(), switches: false, ops: &header_ops::NONE,
        };
        let mut written = Vec::new();
        let close = close || old && what.body == BodyLen::Unknown;
        let connection = if close { Connection::Close } else { Connection::KeepAlive };
        encode::response(&mut written, (&head, buf), &what, (client, connection));

        let again = response_at_once(&written);
        prop_assert_eq!((again.len, again.status), (written.len(), status));
        prop_assert_eq!(others(&again.headers, &written), others(&head.headers, buf));
        let expected = match (body, old) {
            (Body::Chunked | Body::UntilClose, true) => Body::UntilClose,
            (Body::UntilClose, false) => Body::Chunked,
            (body, _) => body,
        };
        prop_assert_eq!(framing::response_body(&again, &written, Default::default()), Ok(expected));
        prop_assert_eq!(framing::response_keep_alive(&again, &written), !close && expected != Body::UntilClose);
    }

    #[test]
    fn any_cutting_of_a_chunked_body_gives_its_payload(
        chunks in vec(vec(any::<u8>(), 1..80), 0..8),
        extension in "(;[a-z]{0,5}(=[!-~]{0,5})?){0,2}",
        trailer in "([A-Z]{1,5}: [ -~]{0,9}\r\n){0,2}",
        cuts in vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let mut body = Vec::new();
        for chunk in &chunks {
            let mut line = [0; 18];
            let line = chunk_size_line(chunk.len(), &mut line);
            body.extend_from_slice(&line[..line.len() - 2]);
            body.extend_from_slice(extension.as_bytes());
            body.extend_from_slice(b"\r\n");
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(&LAST_CHUNK[..3]);
        body.extend_from_slice(trailer.as_bytes());
        body.extend_from_slice(&LAST_CHUNK[3..]);
        let end = body.len();
        body.extend_from_slice(b"next");

        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).chain([body.len()]).collect();
        cuts.sort_unstable();
        let (mut decoder, mut payload, mut consumed) = (Decoder::default(), Vec::new(), 0);
        for cut in cuts {
            let mut piece = body[consumed.min(cut)..cut].to_vec();
            let decoded = decoder.decode(&mut piece).expect("a good body");
            payload.extend_from_slice(&piece[..decoded.payload]);
            consumed += decoded.consumed;
        }
        prop_assert!(decoder.is_done());
        prop_assert_eq!(consumed, end);
        prop_assert_eq!(payload, chunks.concat());
    }

    #[test]
    fn no_bytes_panic_and_no_cut_changes_the_verdict(start in proptest::sample::select(STARTS), rest in hostile(HEAD_PIECES), end in any::<bool>(), downstream in downstream()) {
        let message = [start.as_bytes(), &rest, if end { b"\r\n\r\n" } else { b"" }].concat();
        if let Ok(Some(head)) = request_of(&message, &HeadLimits { max_bytes: 200, max_headers: 5 }) {
            let body = framing::request_body(&head, &message);
            let parts = target::split(&head, &message);
            let _ = framing::upgrade(&head, &message);
            if let (Ok(body), Ok(parts)) = (body, parts) {
                let mut path = Vec::new();
                let _ = target::normalize(parts.path.of(&message), PathForm::Base, &mut path);
                let what = RequestOut {
                    path: &path, authority: Some(parts.host.of(&message)), ..out("", BodyLen::from(body))
                };
                let completion = &mut Completion::default();
                completion.complete(&head, &message, downstream, b"1.2.3.4", || b"id");
                let (head, buf, external_address) = (&head, &message[..], &b""[..]);
                let mut written = Vec::new();
                let view = View { head, buf, completion, downstream, external_address, tunnel: false };
                encode::request(&mut written, &view, &what);
                prop_assert_eq!(request_at_once(&written).len, written.len());
            }
        }
        let _ = response_of(&message);
    }

    #[test]
    fn no_bytes_panic_the_decoder(message in hostile(CHUNK_PIECES)) {
        every_way(message.len(), |cuts| {
            let (mut decoder, mut payload, mut from) = (Decoder::default(), Vec::new(), 0);
            for cut in cuts {
                let mut piece = message[from..cut].to_vec();
                let decoded = decoder.decode(&mut piece)?;
                payload.extend_from_slice(&piece[..decoded.payload]);
                if decoded.done {
                    return Ok(Some((payload, from + decoded.consumed)));
                }
                from = cut;
            }
            Ok::<_, ProtocolError>(None)
        }).ok();
    }

    #[test]
    fn a_normal_path_stays_and_means_the_same(path in "/[a-e/%.\\\\2-5\"EF]{0,24}") {
        let mut out = Vec::new();
        let normal = match target::normalize(path.as_bytes(), PathForm::Base, &mut out).expect("no NUL can be written so") {
            Normal::AsIs => path.clone().into_bytes(),
            Normal::Rewritten => out.clone(),
        };
        prop_assert_eq!(target::normalize(&normal, PathForm::Base, &mut out), Ok(Normal::AsIs));
        prop_assert!(normal.starts_with(b"/"));
        prop_assert!(!normal.split(|byte| *byte == b'/').any(|segment| segment == b"." || segment == b".."));
        // Where no segment is resolved, an upstream that decodes once must see what it would have seen without us.
        let before = decode_once(path.replace('\\', "/").as_bytes());
        if !before.split(|byte| *byte == b'/').any(|segment| segment == b"." || segment == b"..") {
            prop_assert_eq!(decode_once(&normal), before);
        }
    }
}

fn decode_once(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let code = after.get(..2).filter(|_| byte == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits)
                .ok()
                .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
            u8::from_str_radix(digits, 16).ok()
        });
        decoded.push(code.unwrap_or(byte));
        rest = if code.is_some() { &after[2..] } else { rest };
    }
    decoded
}

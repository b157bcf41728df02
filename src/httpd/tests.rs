use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use super::*;

fn settings() -> Settings {
    Settings {
        server: "test".to_owned(),
        thread_name: "test",
        connections: 8,
        answers: 4,
        at_once: |request| request.path.starts_with("/at-once"),
        body_bytes: 100,
        patience: Duration::from_secs(20),
        response: Duration::from_secs(20),
        idle: Duration::from_secs(20),
    }
}

/// A server that answers with what it was sent.
fn mirror(settings: Settings) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Server::start(listener, settings, |request| match request.path.as_str() {
        "/pieces" => Response {
            content: Content::Pieces(Box::new((0..3).map(|n| vec![b'a' + n; usize::from(n)]))),
            ..Response::text(200, "")
        },
        "/none" => Response::text(204, ""),
        "/panic" => panic!("a handler's bug"),
        path => {
            let body = String::from_utf8_lossy(&request.body);
            Response::text(200, format!("{} {path} {}", request.method_text, body))
                .with("x-host", request.host.as_str())
        }
    })
    .unwrap()
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn rest(mut stream: &TcpStream) -> String {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

/// Sends all of `requests`, says that no more will come, and reads all that comes back.
fn talk(server: &Server, requests: &str) -> String {
    let mut stream = connect(server);
    stream.write_all(requests.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    rest(&stream)
}

/// Reads until the text ends with `end`, from a connection that stays open.
fn read_to(mut stream: &TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0].into());
    }
    text
}

#[test]
fn a_response_has_a_length_a_date_and_a_server() {
    let text = talk(&mirror(settings()), "GET /a?b=c HTTP/1.1\r\nHost: h:1\r\n\r\n");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines[0], "HTTP/1.1 200 OK");
    assert_eq!(lines[1], "server: test");
    assert!(lines[2].starts_with("date: ") && lines[2].ends_with(" GMT"));
    assert_eq!(lines[3..], ["x-host: h:1", "content-type: text/plain; charset=UTF-8", "content-length: 7"]);
    assert_eq!(body, "GET /a ");
}

#[test]
fn requests_sent_at_once_are_answered_in_order() {
    let requests: String = (0..5).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: h\r\n\r\n")).collect();
    let text = talk(&mirror(settings()), &requests);
    let bodies: Vec<&str> = text.split("\r\n\r\n").skip(1).map(|part| &part[..7]).collect();
    assert_eq!(bodies, ["GET /0 ", "GET /1 ", "GET /2 ", "GET /3 ", "GET /4 "]);
}

#[test]
fn a_connection_serves_request_after_request() {
    let server = mirror(settings());
    let mut stream = connect(&server);
    for n in 0..3 {
        write!(stream, "GET /{n} HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert!(read_to(&stream, &format!("GET /{n} ")).starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[test]
fn bodies_with_length_and_in_chunks() {
    let server = mirror(settings());
    for request in [
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ] {
        let twice = format!("{request}{request}");
        assert_eq!(talk(&server, &twice).matches("\r\n\r\nPOST / hello").count(), 2, "{request}");
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let server = mirror(settings());
    let mut stream = connect(&server);
    stream.set_nodelay(true).unwrap();
    for byte in b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    read_to(&stream, "POST / he");
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let server = mirror(settings());
    let mut stream = connect(&server);
    stream.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert_eq!(read_to(&stream, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"ok").unwrap();
    read_to(&stream, "POST / ok");
}

#[test]
fn head_has_the_head_alone() {
    for (path, line) in [("/a", "content-length: 8\r\n"), ("/pieces", "transfer-encoding: chunked\r\n")] {
        let text = talk(&mirror(settings()), &format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(text.contains(line) && text.ends_with("\r\n\r\n"), "{text}");
    }
}

#[test]
fn pieces_are_chunked_or_end_with_the_connection() {
    let server = mirror(settings());
    let text = talk(&server, "GET /pieces HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(text.contains("transfer-encoding: chunked\r\n"));
    assert!(text.ends_with("\r\n\r\n1\r\nb\r\n2\r\ncc\r\n0\r\n\r\n"), "{text}");
    let text = talk(&server, "GET /pieces HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
    assert!(text.contains("connection: close\r\n") && text.ends_with("\r\n\r\nbcc"), "{text}");
}

#[test]
fn no_content_has_no_length() {
    let text = talk(&mirror(settings()), "GET /none HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 204 No Content\r\n") && !text.contains("content-"), "{text}");
}

#[test]
fn connections_end_as_the_client_wishes() {
    let server = mirror(settings());
    for request in [
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /not-served HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ] {
        let mut stream = connect(&server);
        stream.write_all(request.as_bytes()).unwrap();
        let text = rest(&stream); // to its end, though we did not close
        assert!(text.contains("connection: close\r\n") && text.ends_with("GET / "), "{text}");
    }
}

#[test]
fn bad_requests_are_refused_and_the_connection_ends() {
    let server = mirror(settings());
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(100_000));
    let large = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n{}", "x".repeat(101));
    let large_chunk =
        format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n{}", "x".repeat(101));
    for (request, status) in [
        ("NONSENSE\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (&long, 431),
        (&large, 413),
        (&large_chunk, 413),
    ] {
        let mut stream = connect(&server);
        stream.write_all(request.as_bytes()).unwrap();
        let text = rest(&stream);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {text}");
        assert!(text.contains("connection: close\r\n"));
    }
}

#[test]
fn a_slow_head_is_cut_off() {
    let server = mirror(Settings { patience: Duration::from_millis(50), ..settings() });
    let mut stream = connect(&server);
    stream.write_all(b"GET / HT").unwrap();
    assert_eq!(rest(&stream), "");
}

#[test]
fn an_idle_connection_is_closed() {
    let server = mirror(Settings { idle: Duration::from_millis(50), ..settings() });
    let mut stream = connect(&server);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert!(rest(&stream).ends_with("GET / "));
}

/// Connections that have sent no complete request, each in a way of its own.
const INCOMPLETE: [&str; 4] = [
    "",
    "GET / HT",
    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nbegun",
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
];

#[test]
fn when_full_the_oldest_without_a_request_makes_room() {
    for begun in INCOMPLETE {
        let server = mirror(Settings { connections: 4, answers: 2, ..settings() });
        let mut others = Vec::new();
        for number in 0..20 {
            let mut stream = connect(&server);
            stream.write_all(begun.as_bytes()).unwrap();
            others.push(stream);
            let mut asks = connect(&server);
            asks.write_all(format!("GET /{number} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes())
                .unwrap();
            assert!(rest(&asks).ends_with(&format!("GET /{number} ")), "{begun:?}");
        }
        // The first has been closed long ago, with its answer if it had asked.
        let mut said = Vec::new();
        let _ = others[0].read_to_end(&mut said); // closed with something unread it may be reset
        assert_eq!(said.ends_with(b"GET / "), begun.ends_with("\r\n\r\n"), "{begun:?}");
    }
}

#[test]
fn when_all_threads_answer_what_is_at_once_does_not_wait() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start(listener, Settings { connections: 6, answers: 2, ..settings() }, move |request| {
        if request.path == "/slow" {
            let _ = wait.lock().unwrap().recv();
        }
        Response::text(200, request.path.as_str())
    })
    .unwrap();
    let slow = || {
        let mut stream = connect(&server);
        stream.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        stream
    };
    let asked: Vec<TcpStream> = (0..9).map(|_| slow()).collect();
    for _ in 0..3 {
        let text = talk(&server, "GET /at-once HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(text.ends_with("/at-once"), "{text}");
    }
    // Those for which there is no room have an answer, too.
    drop(go);
    let mut ends: Vec<String> = asked.iter().map(|stream| rest(stream)[9..12].to_owned()).collect();
    ends.sort();
    ends.dedup();
    assert_eq!(ends, ["200", "503"]);
}

#[test]
fn nobody_goes_where_nobody_comes() {
    let server = mirror(Settings { connections: 2, answers: 1, ..settings() });
    let mut silent = connect(&server);
    std::thread::sleep(Duration::from_millis(30)); // past the time for which it is kept in any case
    for _ in 0..5 {
        let text = talk(&server, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        assert!(text.ends_with("GET / "), "{text}");
        while server.shared.open.load(Ordering::Relaxed) > 1 {
            std::thread::yield_now();
        }
    }
    silent.write_all(b"GET /silent HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    read_to(&silent, "GET /silent ");
}

#[test]
fn a_response_that_is_not_read_makes_room() {
    let large = 64 * 1024 * 1024;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start(listener, Settings { connections: 8, answers: 2, ..settings() }, move |request| {
        Response::text(200, if request.path == "/large" { "x".repeat(large) } else { "small".to_owned() })
    })
    .unwrap();
    let unread: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = connect(&server);
            stream.write_all(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            stream
        })
        .collect();
    assert!(talk(&server, "GET /small HTTP/1.1\r\nHost: h\r\n\r\n").ends_with("small"));
    drop(unread);
    // While nobody waits a client has its time.
    assert!(talk(&server, "GET /large HTTP/1.1\r\nHost: h\r\n\r\n").len() > large);
}

#[test]
fn a_response_that_is_not_read_ends() {
    let settings = Settings { patience: Duration::from_millis(50), ..settings() };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start(listener, settings, |_| Response::text(200, "x".repeat(64 * 1024 * 1024))).unwrap();
    let mut stream = connect(&server);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    while server.shared.open.load(Ordering::Relaxed) == 0 {
        std::thread::yield_now();
    }
    while server.shared.open.load(Ordering::Relaxed) > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn a_silent_connection_is_closed() {
    let server = mirror(Settings { patience: Duration::from_millis(50), ..settings() });
    assert_eq!(rest(&connect(&server)), "");
}

#[test]
fn a_slow_body_is_cut_off() {
    let server = mirror(Settings { patience: Duration::from_millis(50), ..settings() });
    let mut stream = connect(&server);
    stream.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nbegun").unwrap();
    assert_eq!(rest(&stream), "");
}

#[test]
fn when_places_are_scarce_connections_end_after_a_response() {
    for path in ["/", "/at-once"] {
        let server = mirror(Settings { connections: 2, answers: 1, ..settings() });
        let _other = connect(&server);
        let mut stream = connect(&server);
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).unwrap();
        let text = rest(&stream);
        assert!(text.contains("connection: close\r\n") && text.ends_with(&format!("GET {path} ")), "{text}");
    }
}

#[test]
fn a_panic_ends_its_connection_only() {
    let settings = Settings { at_once: |request| request.path == "/panic" && request.query == "at-once", ..settings() };
    let server = mirror(Settings { connections: 2, answers: 1, ..settings });
    for path in ["/panic", "/panic?at-once", "/panic"] {
        let mut stream = connect(&server);
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(rest(&stream), "");
    }
    assert!(talk(&server, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").ends_with("GET / "));
}

#[test]
fn a_dropped_server_closes_what_it_holds() {
    let server = mirror(settings());
    let mut stream = connect(&server);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    read_to(&stream, "GET / ");
    let (done, dropped) = channel();
    std::thread::spawn(move || {
        drop(server);
        done.send(()).unwrap();
    });
    assert!(dropped.recv_timeout(Duration::from_secs(20)).is_ok());
    assert_eq!(rest(&stream), "");
}

#[test]
fn pairs_are_decoded() {
    for (text, expected) in [
        ("", vec![]),
        ("a=b", vec![("a", "b")]),
        ("a=1&a=2&b", vec![("a", "1"), ("a", "2"), ("b", "")]),
        ("x=a+b%20c%2Bd", vec![("x", "a b c+d")]),
        ("x=%", vec![("x", "%")]),
        ("x=%4", vec![("x", "%4")]),
        ("x=%zz%41", vec![("x", "%zzA")]),
        ("x=%ff", vec![("x", "\u{fffd}")]),
        ("&&=v&", vec![("", "v")]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        assert_eq!(pairs(text, Plus::Space), expected, "{text}");
    }
    assert_eq!(pairs("x=a+%2B", Plus::Itself), [("x".to_owned(), "a++".to_owned())]);
}

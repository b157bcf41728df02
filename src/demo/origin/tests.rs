use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use super::*;

fn v1() -> Origin {
    start("v1", ([127, 0, 0, 1], 0).into()).unwrap()
}

/// Sends a raw request and reads all that comes back: head and body.
fn talk(origin: &Origin, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(origin.addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    (head.to_owned(), body.to_owned())
}

fn get(origin: &Origin, path: &str) -> (String, String) {
    talk(origin, &format!("GET {path} HTTP/1.1\r\nHost: httpbin.example.com\r\nuser-agent: curl/8\r\n\r\n"))
}

fn json_of(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

#[test]
fn every_answer_says_its_version() {
    let origin = v1();
    for path in ["/", "/get", "/status/503", "/no-such-path", "/post", "/bytes/3", "/stream/1"] {
        let (head, _) = get(&origin, path);
        assert!(head.contains("\r\nx-origin-version: v1"), "{head}");
        assert!(head.contains("\r\nserver: ringway-demo/v1"), "{head}");
    }
}

#[test]
fn get_echoes_the_request() {
    let origin = v1();
    let (head, body) = get(&origin, "/get?a=1&b=x%20y&a=2");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("content-type: application/json"));
    assert!(body.ends_with("}\n"));
    let expected = json!({
        "args": {"a": ["1", "2"], "b": "x y"},
        "headers": {"Host": "httpbin.example.com", "User-Agent": "curl/8"},
        "origin": "127.0.0.1",
        "url": "http://httpbin.example.com/get?a=1&b=x%20y&a=2",
        "version": "v1",
    });
    assert_eq!(json_of(&body), expected);
}

#[test]
fn what_a_proxy_says_of_the_client_is_believed() {
    let (_, body) = talk(
        &v1(),
        "GET /get HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 10.0.0.9\r\nx-forwarded-proto: https\r\nx-a: 1\r\nX-A: 2\r\n\r\n",
    );
    let body = json_of(&body);
    assert_eq!((&body["origin"], &body["url"]), (&"10.0.0.9".into(), &"https://h/get".into()));
    assert_eq!(body["headers"]["X-A"], "1,2");
}

#[test]
fn post_echoes_json_and_text() {
    let origin = v1();
    for (body, json) in [("{\"a\": [1]}", json!({"a": [1]})), ("not json", Value::Null), ("", Value::Null)] {
        let request = format!("POST /post HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = json_of(&talk(&origin, &request).1);
        assert_eq!((&answer["data"], &answer["json"], &answer["form"]), (&body.into(), &json, &json!({})));
    }
}

#[test]
fn a_chunked_form_is_read() {
    let (_, body) = talk(
        &v1(),
        "POST /post HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Transfer-Encoding: chunked\r\n\r\n4\r\na=1&\r\n3\r\nb=2\r\n0\r\n\r\n",
    );
    let body = json_of(&body);
    assert_eq!((&body["form"], &body["data"]), (&json!({"a": "1", "b": "2"}), &"".into()));
}

#[test]
fn anything_takes_any_method_and_path() {
    let request = "PUT /anything/else?x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";
    let body = json_of(&talk(&v1(), request).1);
    assert_eq!((&body["method"], &body["data"], &body["args"]), (&"PUT".into(), &"hi".into(), &json!({"x": ""})));
    assert_eq!(body["url"], "http://h/anything/else?x");
}

#[test]
fn small_ones() {
    let origin = v1();
    for (path, expected) in [
        ("/ip", json!({"origin": "127.0.0.1", "version": "v1"})),
        ("/user-agent", json!({"user-agent": "curl/8", "version": "v1"})),
        ("/headers", json!({"headers": {"Host": "httpbin.example.com", "User-Agent": "curl/8"}, "version": "v1"})),
    ] {
        assert_eq!(json_of(&get(&origin, path).1), expected);
    }
}

#[test]
fn statuses() {
    let origin = v1();
    for (path, line) in [
        ("/status/200", "HTTP/1.1 200 OK"),
        ("/status/204", "HTTP/1.1 204 No Content"),
        ("/status/418", "HTTP/1.1 418 Unknown"),
        ("/status/503", "HTTP/1.1 503 Service Unavailable"),
        ("/status/101", "HTTP/1.1 400 Bad Request"),
        ("/status/600", "HTTP/1.1 400 Bad Request"),
        ("/status/x", "HTTP/1.1 400 Bad Request"),
        ("/status", "HTTP/1.1 404 Not Found"),
        ("/nowhere", "HTTP/1.1 404 Not Found"),
    ] {
        assert_eq!(get(&origin, path).0.lines().next(), Some(line), "{path}");
    }
    assert!(get(&origin, "/status/200").0.contains("\r\ncontent-length: 0"));
}

#[test]
fn methods_that_a_path_does_not_take() {
    let origin = v1();
    let (head, _) = get(&origin, "/post");
    assert!(head.starts_with("HTTP/1.1 405 ") && head.contains("\r\nallow: POST, OPTIONS"), "{head}");
    let (head, _) = talk(&origin, "DELETE /get HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
    let (head, body) = talk(&origin, "OPTIONS /get HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(head.contains("\r\nallow: GET, HEAD, OPTIONS") && body.is_empty(), "{head}");
}

#[test]
fn head_has_the_length_of_get_and_no_body() {
    let origin = v1();
    let length = get(&origin, "/bytes/77").0.lines().find(|line| line.starts_with("content-length")).map(str::to_owned);
    let (head, body) = talk(&origin, "HEAD /bytes/77 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((length.as_deref(), body.as_str()), (Some("content-length: 77"), ""));
    assert!(head.contains("\r\ncontent-length: 77"));
}

#[test]
fn bytes_are_the_same_each_time() {
    let origin = v1();
    let (first, again, other) =
        (get(&origin, "/bytes/64"), get(&origin, "/bytes/64"), get(&origin, "/bytes/64?seed=7"));
    assert_eq!(first.1, again.1);
    assert_ne!(first.1, other.1);
    assert!(get(&origin, "/bytes/999999").0.contains("\r\ncontent-length: 102400"));
    assert!(get(&origin, "/bytes/-1").0.starts_with("HTTP/1.1 400 "));
}

#[test]
fn streams_come_in_chunks_one_a_line() {
    let (head, body) = get(&v1(), "/stream/3?a=b");
    assert!(head.contains("\r\ntransfer-encoding: chunked"));
    let lines: Vec<Value> = body.lines().filter(|line| line.starts_with('{')).map(json_of).collect();
    assert_eq!(lines.iter().map(|line| line["id"].as_u64()).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    assert!(lines.iter().all(|line| line["args"] == json!({"a": "b"}) && line["version"] == "v1"));
    assert!(body.ends_with("\r\n0\r\n\r\n"));
}

#[test]
fn delays_are_read_and_bounded() {
    for (text, expected) in [
        ("0", Some(0.0)),
        ("1.5", Some(1.5)),
        ("99", Some(10.0)),
        ("inf", Some(10.0)),
        ("-1", None),
        ("NaN", None),
        ("x", None),
    ] {
        assert_eq!(delay(text), expected.map(Duration::from_secs_f64), "{text}");
    }
    let (head, body) = get(&v1(), "/delay/0");
    assert!(head.starts_with("HTTP/1.1 200 OK"));
    assert_eq!(json_of(&body)["method"], "GET");
}

#[test]
fn requests_sent_at_once_are_answered_in_order() {
    let requests: String =
        [201, 202, 203].iter().map(|code| format!("GET /status/{code} HTTP/1.1\r\nHost: h\r\n\r\n")).collect();
    let (head, rest) = talk(&v1(), &requests);
    let text = head + "\r\n\r\n" + &rest;
    let codes: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")).map(|line| &line[..3]).collect();
    assert_eq!(codes, ["201", "202", "203"]);
}

#[test]
fn a_bad_request_is_refused() {
    let (head, body) = talk(&v1(), "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 400 Bad Request") && head.contains("connection: close"), "{head}");
    assert_eq!(body, "Bad Request");
}

#[test]
fn it_listens_on_loopback_alone() {
    let error = start("v1", ([0, 0, 0, 0], 0).into()).err().unwrap();
    assert_eq!(error.to_string(), "0.0.0.0:0 is not a loopback address; a demo origin listens nowhere else");
}

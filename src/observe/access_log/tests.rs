use std::collections::HashMap;
use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct Table {
    request: HashMap<&'static str, Vec<u8>>,
    response: HashMap<&'static str, Vec<u8>>,
}

impl Headers for Table {
    fn request(&self, name: &str) -> Option<&[u8]> {
        self.request.get(name).map(Vec::as_slice)
    }

    fn response(&self, name: &str) -> Option<&[u8]> {
        self.response.get(name).map(Vec::as_slice)
    }
}

fn empty(headers: &dyn Headers) -> Record<'_> {
    Record {
        start: UNIX_EPOCH + Duration::from_millis(1_608_618_742_057),
        method: b"",
        path: b"",
        authority: b"",
        protocol: "",
        status: 0,
        flags: Flags::NONE,
        details: "",
        termination_details: "",
        transport_failure: "",
        bytes_received: 0,
        bytes_sent: 0,
        duration: Duration::ZERO,
        upstream_service_time: None,
        upstream_host: None,
        upstream_cluster: "",
        upstream_local: None,
        downstream_local: ([127, 0, 0, 1], 8080).into(),
        downstream_remote: ([10, 1, 2, 3], 40_000).into(),
        server_name: "",
        route_name: "",
        headers,
    }
}

fn line(format: &str, record: &Record<'_>) -> String {
    let mut out = Vec::new();
    AccessLog::compile(format).unwrap().line(&mut out, record);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_full_line_in_istios_form() {
    let headers = Table {
        request: HashMap::from([
            ("x-forwarded-for", b"172.22.152.252".to_vec()),
            ("user-agent", b"curl/7.64.0".to_vec()),
            ("x-request-id", b"5d0b1a52-0c6f-9d9c-a7a9-9c1e5ba7a2a5".to_vec()),
        ]),
        ..Table::default()
    };
    let record = Record {
        method: b"GET",
        path: b"/ip?a=b",
        authority: b"httpbin.org",
        protocol: "HTTP/1.1",
        status: 200,
        details: "via_upstream",
        bytes_sent: 47,
        duration: Duration::from_micros(835_900),
        upstream_service_time: Some(Duration::from_millis(834)),
        upstream_host: Some(([54, 164, 234, 192], 80).into()),
        upstream_cluster: "outbound|80||httpbin.org",
        upstream_local: Some(([172, 22, 78, 138], 55_966).into()),
        downstream_local: ([172, 22, 78, 138], 8080).into(),
        downstream_remote: ([172, 22, 152, 252], 35_658).into(),
        ..empty(&headers)
    };
    assert_eq!(
        line(ISTIO_DEFAULT, &record),
        "[2020-12-22T06:32:22.057Z] \"GET /ip?a=b HTTP/1.1\" 200 - via_upstream - \"-\" 0 47 835 834 \
         \"172.22.152.252\" \"curl/7.64.0\" \"5d0b1a52-0c6f-9d9c-a7a9-9c1e5ba7a2a5\" \"httpbin.org\" \
         \"54.164.234.192:80\" outbound|80||httpbin.org 172.22.78.138:55966 172.22.78.138:8080 \
         172.22.152.252:35658 - -\n"
    );
}

#[test]
fn what_is_missing_is_a_dash() {
    assert_eq!(
        line(ISTIO_DEFAULT, &empty(&NoHeaders)),
        "[2020-12-22T06:32:22.057Z] \"- - -\" 0 - - - \"-\" 0 0 0 - \"-\" \"-\" \"-\" \"-\" \"-\" - - \
         127.0.0.1:8080 10.1.2.3:40000 - -\n"
    );
}

#[test]
fn reasons_are_one_word() {
    let record = Record {
        flags: Flags::URX | Flags::UF,
        details: "upstream_reset_before_response_started{remote connection failure}",
        transport_failure: "delayed connect error: Connection refused",
        ..empty(&NoHeaders)
    };
    assert_eq!(
        line("%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON%", &record),
        "URX,UF upstream_reset_before_response_started{remote_connection_failure} \
         delayed_connect_error:_Connection_refused"
    );
}

#[test]
fn a_client_cannot_forge_fields_or_lines() {
    let agent = b"x\" 200 - \"\r\n[2020-01-01] \\ \x1b[2J \xc3\xa9\t\x7f".to_vec();
    let headers = Table { request: HashMap::from([("user-agent", agent)]), ..Table::default() };
    assert_eq!(
        line("\"%REQ(USER-AGENT)%\"", &empty(&headers)),
        r#""x\x22 200 - \x22\x0D\x0A[2020-01-01] \x5C \x1B[2J \xC3\xA9\x09\x7F""#
    );
}

#[test]
fn formats_compile_to_what_they_say() {
    let headers = Table {
        request: HashMap::from([("x-b", b"second".to_vec()), ("x-empty", Vec::new())]),
        response: HashMap::from([("content-type", b"text/plain".to_vec())]),
    };
    let record = Record { path: b"/p", authority: b"h", ..empty(&headers) };
    for (format, expected) in [
        ("", ""),
        ("plain", "plain"),
        ("100%%", "100%"),
        ("%REQ(X-A?X-B)%", "second"),
        ("%REQ(X-A)%", "-"),
        ("%REQ(X-EMPTY)%", ""),
        ("%RESP(Content-Type)%;", "text/plain;"),
        ("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%%REQ(:authority)%", "/ph"),
        ("%REQ(X-A?:PATH)%", "/p"),
        ("%REQ(X-B):3%|%REQ(X-B):99%|%REQ(:PATH):1%", "sec|second|/"),
        ("%RESP(:PATH)%", "-"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.1.2.3"),
    ] {
        assert_eq!(line(format, &record), expected, "{format}");
    }
}

#[test]
fn wrong_formats_are_named() {
    for (format, message) in [
        ("a %REQ(:METHOD)", "`%` without a closing `%` in \"%REQ(:METHOD)\" (write `%%` for a percent sign)"),
        ("%RESPONSE_FLAG%", "unknown command `%RESPONSE_FLAG%`, did you mean `%RESPONSE_FLAGS%`?"),
        ("%NO_SUCH_THING_AT_ALL%", "unknown command `%NO_SUCH_THING_AT_ALL%`"),
        ("%REQ%", "unknown command `%REQ%`"),
        ("%REQ()%", "unknown command `%REQ()%`"),
        ("%REQ(A):x%", "unknown command `%REQ(A):x%`"),
    ] {
        assert_eq!(AccessLog::compile(format).unwrap_err().to_string(), message);
    }
}

#[test]
fn addresses_of_both_families() {
    let record = Record { upstream_host: Some("[::1]:80".parse().unwrap()), ..empty(&NoHeaders) };
    assert_eq!(line("%UPSTREAM_HOST%", &record), "[::1]:80");
    let record = Record { downstream_remote: "[::1]:80".parse().unwrap(), ..empty(&NoHeaders) };
    assert_eq!(line("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", &record), "::1");
}

#[test]
fn mesh_config_means_the_default_or_a_line() {
    assert_eq!(AccessLog::of_mesh_config(""), Ok(AccessLog::istio_default()));
    assert_eq!(AccessLog::of_mesh_config("a"), AccessLog::compile("a\n"));
    assert_eq!(AccessLog::of_mesh_config("a\n"), AccessLog::compile("a\n"));
}

proptest! {
    /// Whatever the bytes: one line, printable, and as many quotes as the format has.
    #[test]
    fn a_line_is_a_line(path: Vec<u8>, agent: Vec<u8>) {
        let headers = Table { request: HashMap::from([("user-agent", agent)]), ..Table::default() };
        let record = Record { path: &path, ..empty(&headers) };
        let line = line(ISTIO_DEFAULT, &record);
        prop_assert!(line.ends_with('\n'));
        prop_assert!(line.trim_end_matches('\n').bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        prop_assert_eq!(line.matches('"').count(), ISTIO_DEFAULT.matches('"').count());
    }

    #[test]
    fn no_format_panics(format: String) {
        let _ = AccessLog::compile(&format);
    }
}

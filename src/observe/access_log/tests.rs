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
        transport_failure: "",
        bytes_received: 0,
        bytes_sent: 0,
        duration: Duration::ZERO,
        upstream_service_time: None,
        upstream_host: None,
        upstream_connected: false,
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
        upstream_connected: true,
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
        request: HashMap::from([("x-b", b"second".to_vec()), ("x-empty", Vec::new()), ("x-url", b"/u?q".to_vec())]),
        response: HashMap::from([("content-type", b"text/plain".to_vec())]),
    };
    let record = Record {
        path: b"/p?a=1&bc=2&b=%20&b=3&n&e=",
        authority: b"h",
        method: b"GET",
        status: 204,
        flags: Flags::DI | Flags::UT,
        duration: Duration::from_millis(1943),
        upstream_service_time: Some(Duration::from_millis(7)),
        upstream_host: Some(([10, 0, 0, 1], 80).into()),
        ..empty(&headers)
    };
    for (format, expected) in [
        ("", ""),
        ("plain", "plain"),
        ("100%%", "100%"),
        ("%%%PROTOCOL%%%", "%-%"),
        ("%REQ(X-A?X-B)%", "second"),
        ("%REQ(X-A)%", "-"),
        ("%REQ(X-EMPTY)%", ""),
        ("%RESP(Content-Type)%;", "text/plain;"),
        ("%RESP(X-A?CONTENT-TYPE):4%", "text"),
        ("%RESP(:STATUS)% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "204 7"),
        ("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):2%%REQ(:authority)%%REQ(Host)%", "/phh"),
        ("%REQ(X-ENVOY-ORIGINAL-PATH)%", "-"),
        ("%REQ(X-A?:METHOD)%", "GET"),
        ("%REQ(X-B):3%|%REQ(X-B):99%|%REQ(:PATH):1%", "sec|second|/"),
        ("%REQ_WITHOUT_QUERY(X-URL)% %REQ_WITHOUT_QUERY(:PATH)% %REQ_WITHOUT_QUERY(X-A)%", "/u /p -"),
        ("%PATH(NQ)% %PATH(NQ:PATH)% %PATH(NQ:ORIG)% %PATH(WQ):4% %PATH():1%", "/p /p - /p?a /"),
        ("%QUERY_PARAM(a)% %QUERY_PARAM(b)% %QUERY_PARAM(e)% %QUERY_PARAM(n)% %QUERY_PARAM(c)%", "1 %20   -"),
        ("%QUERY_PARAM(b):2%", "%2"),
        ("%START_TIME(%Y %3f)% %EMIT_TIME()% %EMIT_TIME(%S)%", "2020 057 2020-12-22T06:32:24.000Z 24"),
        ("%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%", "DI,UT DelayInjected,UpstreamRequestTimeout"),
        ("%UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_PROTOCOL%", "10.0.0.1:80 - -"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%:%DOWNSTREAM_DIRECT_REMOTE_PORT%", "10.1.2.3:40000"),
        ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_PORT%", "127.0.0.1 8080"),
        ("%ACCESS_LOG_TYPE%", "DownstreamEnd"),
    ] {
        assert_eq!(line(format, &record), expected, "{format}");
    }
}

#[test]
fn a_connected_upstream_has_an_address() {
    let record = Record {
        upstream_host: Some(([10, 0, 0, 1], 80).into()),
        upstream_connected: true,
        upstream_local: Some(([10, 0, 0, 9], 4000).into()),
        ..empty(&NoHeaders)
    };
    assert_eq!(
        line(
            "%UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT% \
             %UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %UPSTREAM_LOCAL_PORT% %UPSTREAM_PROTOCOL%",
            &record
        ),
        "10.0.0.1:80 10.0.0.1 80 10.0.0.9:4000 10.0.0.9 4000 HTTP/1.1"
    );
}

/// The right sides are what Envoy 1.40 wrote for these formats.
#[test]
fn a_unix_domain_socket_is_its_path() {
    let host = Some(EndpointAddress::Unix("/run/app.sock".into()));
    let connected = Record { upstream_host: host.clone(), upstream_connected: true, ..empty(&NoHeaders) };
    let refused = Record { upstream_host: host, ..empty(&NoHeaders) };
    let format = "%UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% \
                  [%UPSTREAM_REMOTE_PORT%] %UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_LOCAL_PORT% %UPSTREAM_PROTOCOL%";
    let path = "/run/app.sock";
    assert_eq!(line(format, &connected), format!("{path} {path} {path} [] - - HTTP/1.1"));
    assert_eq!(line(format, &refused), format!("{path} - - [-] - - -"));
    let format = r#"{"h": "%UPSTREAM_HOST%", "p": "%UPSTREAM_REMOTE_PORT%", "m": "x%UPSTREAM_REMOTE_PORT%y"}"#;
    assert_eq!(json(format, &connected), "{\"h\":\"/run/app.sock\",\"m\":\"xy\",\"p\":null}\n");
    assert_eq!(json(format, &refused), "{\"h\":\"/run/app.sock\",\"m\":\"x-y\",\"p\":null}\n");
}

#[test]
fn a_rewrite_shows_both_paths() {
    let headers = Table {
        request: HashMap::from([("x-envoy-original-path", b"/old?q=2".to_vec()), (":scheme", b"http".to_vec())]),
        ..Table::default()
    };
    let record = Record { path: b"/new?q=1", ..empty(&headers) };
    assert_eq!(
        line(
            "%REQ(:PATH)% %REQ(X-ENVOY-ORIGINAL-PATH)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PATH(NQ)% %QUERY_PARAM(q)% \
             %REQ(:SCHEME)%",
            &record
        ),
        "/new?q=1 /old?q=2 /old?q=2 /old 1 http"
    );
}

#[test]
fn the_host_name_is_the_systems() {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(line("%HOSTNAME%", &empty(&NoHeaders)), name.trim());
}

#[test]
fn wrong_formats_are_named() {
    for (format, message) in [
        (
            "a %REQ(:METHOD)",
            "`%` without an operator and a closing `%` in \"%REQ(:METHOD)\" (write `%%` for a percent sign)",
        ),
        ("5% of", "`%` without an operator and a closing `%` in \"% of\" (write `%%` for a percent sign)"),
        ("%REQ(A):x%", "`%` without an operator and a closing `%` in \"%REQ(A):x%\" (write `%%` for a percent sign)"),
        ("%RESPONSE_FLAG%", "unknown operator `%RESPONSE_FLAG%`, did you mean `RESPONSE_FLAGS`?"),
        ("%NO_SUCH_THING_AT_ALL%", "unknown operator `%NO_SUCH_THING_AT_ALL%`"),
        ("%TRACE_ID%", "`%TRACE_ID%` is an operator of Envoy's that is not enforced"),
        ("%DYNAMIC_METADATA(a:b)%", "`%DYNAMIC_METADATA(a:b)%` is an operator of Envoy's that is not enforced"),
        ("%DOWNSTREAM_TLS_VERSION%", "`%DOWNSTREAM_TLS_VERSION%` is an operator of Envoy's that is not enforced"),
        ("%REQ%", "`%REQ%`: write `%REQ(NAME?OTHER):LENGTH%`"),
        ("%REQ()%", "`%REQ()%`: `` is no header name"),
        ("%REQ(A?B?C)%", "`%REQ(A?B?C)%`: there can be one other name only"),
        ("%REQ(:NOPE)%", "`%REQ(:NOPE)%`: `:nope` is no header name"),
        ("%RESP(:STATUS?A)%", "`%RESP(:STATUS?A)%`: write `%RESPONSE_CODE%`"),
        ("%PATH(XX)%", "`%PATH(XX)%`: write `%PATH(WQ|NQ:ORIG|PATH|ORIG_OR_PATH):LENGTH%`"),
        ("%PROTOCOL(A)%", "`%PROTOCOL(A)%`: it takes no argument and no length"),
        ("%PROTOCOL:3%", "`%PROTOCOL:3%`: it takes no argument and no length"),
        ("%START_TIME(%Q)%", "`%START_TIME(%Q)%`: `%Q` is not known"),
    ] {
        assert_eq!(AccessLog::compile(format).unwrap_err().to_string(), message);
    }
}

#[test]
fn only_the_response_headers_that_are_shown_are_wanted() {
    let wanted = |format: &str| {
        AccessLog::compile(format).unwrap().response_headers().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(wanted(ISTIO_DEFAULT).is_empty());
    assert!(AccessLog::json_of_mesh_config("").unwrap().response_headers().is_empty());
    assert_eq!(
        wanted("%RESP(X-B?X-A)% %RESP(Content-Type):3% %RESP(x-a)% %RESP(:STATUS)% %REQ(X-C)%"),
        ["content-type", "x-a", "x-b"]
    );
}

fn json(format: &str, record: &Record<'_>) -> String {
    let mut out = Vec::new();
    AccessLog::json_of_mesh_config(format).unwrap().line(&mut out, record);
    String::from_utf8(out).unwrap()
}

#[test]
fn istios_json() {
    let headers = Table { request: HashMap::from([("user-agent", b"curl".to_vec())]), ..Table::default() };
    let record = Record {
        method: b"GET",
        path: b"/ip",
        authority: b"httpbin.org",
        protocol: "HTTP/1.1",
        status: 200,
        details: "via_upstream",
        bytes_sent: 47,
        duration: Duration::from_millis(835),
        upstream_service_time: Some(Duration::from_millis(834)),
        upstream_cluster: "outbound|80||httpbin.org",
        ..empty(&headers)
    };
    assert_eq!(
        json("", &record),
        concat!(
            r#"{"authority":"httpbin.org","bytes_received":0,"bytes_sent":47,"connection_termination_details":null,"#,
            r#""downstream_local_address":"127.0.0.1:8080","downstream_remote_address":"10.1.2.3:40000","#,
            r#""duration":835,"method":"GET","path":"/ip","protocol":"HTTP/1.1","request_id":null,"#,
            r#""requested_server_name":null,"response_code":200,"response_code_details":"via_upstream","#,
            r#""response_flags":"-","route_name":null,"start_time":"2020-12-22T06:32:22.057Z","#,
            r#""upstream_cluster":"outbound|80||httpbin.org","upstream_host":null,"upstream_local_address":null,"#,
            r#""upstream_service_time":"834","upstream_transport_failure_reason":null,"user_agent":"curl","#,
            r#""x_forwarded_for":null}"#,
            "\n"
        )
    );
}

/// The right sides are what Envoy 1.40 wrote for these formats.
#[test]
fn json_of_every_shape() {
    let headers = Table { request: HashMap::from([("ua", b"ag\"e\\nt".to_vec())]), ..Table::default() };
    let record = Record { status: 200, bytes_sent: 3000, protocol: "HTTP/1.1", ..empty(&headers) };
    for (format, expected) in [
        ("{}", "{}"),
        (r#"{"z": "%RESPONSE_CODE%", "b": "%BYTES_SENT%"}"#, r#"{"b":3000,"z":200}"#),
        (r#"{"mixed": "x %BYTES_SENT% %REQ(X-NONE)% %REQ(UA)%"}"#, r#"{"mixed":"x 3000 - ag\"e\\nt"}"#),
        (r#"{"a": "%REQ(UA)%", "b": "%REQ(X-NONE)%"}"#, r#"{"a":"ag\"e\\nt","b":null}"#),
        (r#"{"empty": "", "lit": "plain", "pct": "100%%"}"#, r#"{"empty":"","lit":"plain","pct":"100%"}"#),
        (r#"{"num": 7, "no": null, "yes": true}"#, r#"{"no":null,"num":7,"yes":true}"#),
        (
            r#"{"nested": {"b": "%PROTOCOL%", "a": ["%RESPONSE_CODE%", 1, "x"]}}"#,
            r#"{"nested":{"a":[200,1,"x"],"b":"HTTP/1.1"}}"#,
        ),
        (r#"{"key\"q": "v\"\\\né"}"#, r#"{"key\"q":"v\"\\\né"}"#),
        (r#"{"port": "%DOWNSTREAM_LOCAL_PORT%", "st": "%RESP(:STATUS)%"}"#, r#"{"port":8080,"st":"200"}"#),
        (r#"{"t": "%START_TIME(\"%Y\")%"}"#, r#"{"t":"\"2020\""}"#),
    ] {
        assert_eq!(json(format, &record), format!("{expected}\n"), "{format}");
    }
}

#[test]
fn a_client_cannot_break_the_json() {
    for (agent, expected) in [
        // What Envoy does: text stays text, and other bytes are the code points of their numbers.
        ("caf\u{e9} \u{20ac}".as_bytes().to_vec(), "café €"),
        (b"caf\xc3\xa9 \xff\x80".to_vec(), "caf\u{c3}\u{a9} \u{ff}\u{80}"),
        (b"\"},\n{\x1b[2J\x7f".to_vec(), "\"},\n{\u{1b}[2J\u{7f}"),
    ] {
        let headers = Table { request: HashMap::from([("user-agent", agent)]), ..Table::default() };
        let line = json(r#"{"agent": "%REQ(USER-AGENT)%"}"#, &empty(&headers));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["agent"], expected);
        assert!(line.trim_end().chars().all(|c| !c.is_control()), "{line:?}");
    }
}

#[test]
fn wrong_json_formats_are_named() {
    let object = "with accessLogEncoding JSON the format is a JSON object of names and formats: ";
    for (format, message) in [
        ("%PROTOCOL%", format!("{object}expected value at line 1 column 1")),
        ("[]", format!("{object}it is something else")),
        (r#"{"a": ["%NOPE%"]}"#, "unknown operator `%NOPE%`".to_owned()),
    ] {
        assert_eq!(AccessLog::json_of_mesh_config(format).unwrap_err().to_string(), message);
    }
}

#[test]
fn addresses_of_both_families() {
    let record = Record { upstream_host: Some((std::net::Ipv6Addr::LOCALHOST, 80).into()), ..empty(&NoHeaders) };
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

    /// Whatever the bytes: a JSON object on one line.
    #[test]
    fn a_json_line_is_a_json_line(path: Vec<u8>, agent: Vec<u8>, most in 0_usize..20) {
        let headers = Table { request: HashMap::from([("user-agent", agent)]), ..Table::default() };
        let record = Record { path: &path, ..empty(&headers) };
        let format = format!(r#"{{"a": "%REQ(USER-AGENT):{most}%", "b": "x%REQ(:PATH)%"}}"#);
        let line = json(&format, &record);
        prop_assert_eq!(line.matches('\n').count(), 1);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{}", line);
    }

    #[test]
    fn no_format_panics(format: String, inside in "[A-Z_%():0-9?a]{0,24}") {
        let _ = AccessLog::compile(&format);
        let _ = AccessLog::compile(&format!("%REQ({inside})%"));
        let _ = AccessLog::compile(&inside);
        let _ = AccessLog::json_of_mesh_config(&format);
    }
}

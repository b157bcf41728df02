//! Conditions that no request meets, and texts that look like patterns.

use super::*;

/// Rows of a block of conditions, and what is said of it: behind the place of the block, or nothing.
#[track_caller]
fn blocks(rows: &[(&str, &str)]) {
    let mut differences = String::new();
    for (block, expected) in rows {
        let found = lines(&problems(rule(&format!("match: [{{{block}}}]")).as_bytes(), false)).join("\n");
        let found = found.strip_prefix("8: VirtualService/default/v: spec.http[0].match[0].").unwrap_or(&found);
        if found != *expected {
            differences.push_str(&format!("\n{block}\n  expected: {expected}\n  found:    {found}\n"));
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn paths_that_no_request_has() {
    blocks(&[
        ("uri: {prefix: api}", r#"uri.prefix: warning: a path begins with "/": this never matches (write "/api")"#),
        ("uri: {exact: api/x}", r#"uri.exact: warning: a path begins with "/": this never matches (write "/api/x")"#),
        (
            r#"uri: {regex: "api/.*"}"#,
            r#"uri.regex: warning: a path begins with "/": this never matches (write "/api/.*")"#,
        ),
        (
            r#"uri: {regex: "^api/.*"}"#,
            r#"uri.regex: warning: a path begins with "/": this never matches (write "/api/.*")"#,
        ),
        (
            r#"uri: {regex: "a/.*|b/.*"}"#,
            r#"uri.regex: warning: a path begins with "/": this never matches (write "/(a/.*|b/.*)")"#,
        ),
        (r#"uri: {exact: ""}"#, r#"uri.exact: warning: a path is never empty: this never matches (write "/")"#),
        (r#"uri: {exact: "*"}"#, r#"uri.exact: warning: a path begins with "/": this never matches (write "/*")"#),
        (
            r#"uri: {prefix: "https://a.example.com/x"}"#,
            r#"uri.prefix: warning: a path begins with "/": this never matches (write the path alone; the host is matched by "authority")"#,
        ),
        (
            "uri: {prefix: '~ ^/api'}",
            r#"uri.prefix: warning: a path begins with "/": this never matches (it is text, not a pattern: write "regex")"#,
        ),
        (
            r#"uri: {exact: "/a?b=c"}"#,
            r#"uri.exact: warning: the query is no part of the path: this never matches (match it under "queryParams")"#,
        ),
        (
            r"uri: {regex: '/a\?b=.*'}",
            r#"uri.regex: warning: the query is no part of the path: this never matches (match it under "queryParams")"#,
        ),
        (
            r#"uri: {regex: "/a/.*[?].*"}"#,
            r#"uri.regex: warning: the query is no part of the path: this never matches (match it under "queryParams")"#,
        ),
        (
            r#"uri: {exact: "/a#b"}"#,
            r##"uri.exact: warning: no client sends a "#" and what follows it: this never matches (remove it)"##,
        ),
        (
            r#"uri: {regex: "/a#.*"}"#,
            r##"uri.regex: warning: no client sends a "#" and what follows it: this never matches (remove it)"##,
        ),
        (
            r#"uri: {prefix: "/route(/|$)(.*)"}"#,
            r#"uri.prefix: warning: "|" arrives as %7C: this never matches (for a pattern write regex: "/route(/|$)(.*)"; for the text "/route(/%7C$)(.*)")"#,
        ),
        (
            r#"uri: {prefix: "/users/{id}"}"#,
            r#"uri.prefix: warning: "{" arrives as %7B: this never matches (for a pattern write regex: "/users/[^/]+.*"; for the text "/users/%7Bid%7D")"#,
        ),
        (
            r#"uri: {exact: "/users/<id>/x"}"#,
            r#"uri.exact: warning: "<" arrives as %3C: this never matches (for a pattern write regex: "/users/[^/]+/x"; for the text "/users/%3Cid%3E/x")"#,
        ),
        (
            r#"uri: {exact: "^/a$"}"#,
            r#"uri.exact: warning: a path begins with "/": this never matches (it is text, not a pattern: write "regex")"#,
        ),
        (
            r#"uri: {prefix: "/a^b"}"#,
            r#"uri.prefix: warning: "^" arrives as %5E: this never matches (for a pattern write regex: "/a^b.*"; for the text "/a%5Eb")"#,
        ),
        (r#"uri: {regex: "/users/{id}"}"#, r#"uri.regex: warning: "{" arrives as %7B: this never matches (write %7B)"#),
        (
            r"uri: {prefix: '/a\d+'}",
            r#"uri.prefix: warning: "\" arrives as "/": this never matches (for a pattern write "regex")"#,
        ),
        (r"uri: {regex: '/a\\b'}", r#"uri.regex: warning: "\" arrives as "/": this never matches (write "/")"#),
        (
            r#"uri: {prefix: "/api\n"}"#,
            r#"uri.prefix: warning: no line end is ever in a path: this never matches (write a block of YAML with "|-" or ">-", which leave out its last line end)"#,
        ),
        (
            r#"uri: {regex: "/api/.*\n"}"#,
            r#"uri.regex: warning: no line end is ever in a path: this never matches (write a block of YAML with "|-" or ">-", which leave out its last line end)"#,
        ),
        (r#"uri: {exact: "/a b"}"#, r#"uri.exact: warning: " " arrives as %20: this never matches (write "/a%20b")"#),
        (r#"uri: {exact: "/é"}"#, r#"uri.exact: warning: "é" arrives as %C3%A9: this never matches (write "/%C3%A9")"#),
        (r#"uri: {exact: "/%41"}"#, r#"uri.exact: warning: %41 arrives as "A": this never matches (write "/A")"#),
        (r#"uri: {regex: "/%7[eE]x"}"#, r#"uri.regex: warning: %7E arrives as "~": this never matches (write "~")"#),
        (
            r#"uri: {exact: "/a/../b"}"#,
            r#"uri.exact: warning: "." and ".." are resolved before rules are tried: this never matches (write the path that they lead to)"#,
        ),
        (
            r#"uri: {exact: "/a/."}"#,
            r#"uri.exact: warning: "." and ".." are resolved before rules are tried: this never matches (write the path that they lead to)"#,
        ),
        (
            r#"uri: {exact: "/a%00"}"#,
            "uri.exact: warning: a request with %00 in its path is refused: this never matches (remove it)",
        ),
        (
            r#"uri: {prefix: "/A{"}, ignoreUriCase: true"#,
            r#"uri.prefix: warning: "{" arrives as %7B: this never matches (for a pattern write regex: "/A{.*"; for the text "/A%7B")"#,
        ),
        (
            "uri: {prefix: API}, ignoreUriCase: true",
            r#"uri.prefix: warning: a path begins with "/": this never matches (write "/API")"#,
        ),
        (
            r#"uri: {regex: "a$b"}"#,
            "uri.regex: warning: no text at all is matched by it: this never matches (write what is to be matched)",
        ),
        (
            r"uri: {regex: '/a\b\bc'}",
            "uri.regex: warning: no text at all is matched by it: this never matches (write what is to be matched)",
        ),
        (
            r#"headers: {":path": {exact: a}}"#,
            r#"headers[:path].exact: warning: a path begins with "/": this never matches (write "/a")"#,
        ),
        (
            r#"headers: {":path": {prefix: "/a?b#"}}"#,
            r##"headers[:path].prefix: warning: no client sends a "#" and what follows it: this never matches (remove it)"##,
        ),
    ]);
}

#[test]
fn paths_that_some_request_has() {
    blocks(&[
        (r#"uri: {prefix: ""}"#, ""),
        (r#"uri: {prefix: "/a/."}"#, ""),
        (r#"uri: {regex: "api/.*|/api/.*"}"#, ""),
        (r#"uri: {regex: "(?i)/API/.*"}"#, ""),
        (r#"uri: {regex: ".*"}"#, ""),
        (r"uri: {regex: '.*\.(png|js)'}", ""),
        (r#"uri: {regex: "/[^?]*"}"#, ""),
        (r#"uri: {regex: "/a[?]?.*"}"#, ""),
        (r#"uri: {regex: "^/users/[^/]+$"}"#, ""),
        (r#"uri: {exact: "/a%2Fb"}"#, ""),
        (r#"uri: {exact: "/%7Bid%7D"}"#, ""),
        (r#"uri: {exact: "/a//b"}"#, ""),
        (r#"uri: {exact: "/%"}"#, ""),
        (r#"uri: {exact: "/a;v=1"}"#, ""),
        (r#"uri: {exact: "/things:batch"}"#, ""),
        (r#"uri: {prefix: "/a+b"}"#, ""),
        (r#"uri: {regex: "(/a|b)?"}"#, ""),
        (r#"headers: {":path": {exact: "/a?b=c"}}"#, ""),
        (r#"headers: {":path": {regex: "/a.*"}}"#, ""),
        (r#"uri: {regex: "[^a]*"}"#, ""),
    ]);
}

#[test]
fn texts_that_look_like_patterns() {
    blocks(&[
        (
            r#"uri: {prefix: "/api/*"}"#,
            r#"uri.prefix: note: is text, not a pattern: its characters stand for themselves (a prefix needs no "*": write "/api/")"#,
        ),
        (
            r#"uri: {exact: "/api/*"}"#,
            r#"uri.exact: note: is text, not a pattern: its characters stand for themselves (for a pattern write "regex")"#,
        ),
        (
            r#"uri: {prefix: "/api/v[0-9]+/"}"#,
            r#"uri.prefix: note: is text, not a pattern: its characters stand for themselves (for a pattern write "regex")"#,
        ),
        (
            r#"uri: {prefix: "/api/.*"}"#,
            r#"uri.prefix: note: is text, not a pattern: its characters stand for themselves (for a pattern write "regex")"#,
        ),
        (
            r#"uri: {prefix: "/users/:id"}"#,
            r#"uri.prefix: note: is text, not a pattern: its characters stand for themselves (for a pattern write "regex")"#,
        ),
        (
            r#"uri: {exact: "/a$"}"#,
            r#"uri.exact: note: is text, not a pattern: its characters stand for themselves (for a pattern write "regex")"#,
        ),
        (
            r#"authority: {exact: "*.example.com"}"#,
            r#"authority.exact: warning: requests for other hosts than a.example.com do not get here: this never matches (add the host to "hosts")"#,
        ),
        (
            r#"headers: {x: {exact: "a.*"}}"#,
            r#"headers[x].exact: note: is text, not a pattern: its characters stand for themselves (for a pattern write "regex")"#,
        ),
        (
            r#"headers: {x: {prefix: "[a-z]"}}"#,
            r#"headers[x].prefix: note: is text, not a pattern: its characters stand for themselves (for a pattern write "regex")"#,
        ),
        (
            r#"queryParams: {x: {exact: "^a$"}}"#,
            r#"queryParams[x].exact: note: is text, not a pattern: its characters stand for themselves (for a pattern write "regex")"#,
        ),
        (r#"headers: {accept: {exact: "*/*"}}"#, ""),
        (r#"headers: {user-agent: {prefix: "Mozilla/5.0 (X11"}}"#, ""),
        (r#"queryParams: {x: {exact: "a*"}}"#, ""),
    ]);
}

#[test]
fn other_values_that_no_request_has() {
    blocks(&[
        (
            "method: {exact: get}",
            r#"method.exact: warning: a method is one word, and the well-known ones are in upper case: this never matches (write "GET")"#,
        ),
        (
            "method: {exact: Post}",
            r#"method.exact: warning: a method is one word, and the well-known ones are in upper case: this never matches (write "POST")"#,
        ),
        (
            r#"method: {exact: "GET,POST"}"#,
            r#"method.exact: warning: a method is one word, and the well-known ones are in upper case: this never matches (write regex: "GET|POST")"#,
        ),
        (
            r#"method: {exact: "GET, POST"}"#,
            r#"method.exact: warning: a method is one word, and the well-known ones are in upper case: this never matches (write regex: "GET|POST")"#,
        ),
        (
            r#"method: {exact: "GET|POST"}"#,
            r#"method.exact: warning: a method is one word, and the well-known ones are in upper case: this never matches (write regex: "GET|POST")"#,
        ),
        (
            r#"method: {exact: "*"}"#,
            r#"method.exact: warning: a method is one word, and the well-known ones are in upper case: this never matches (write {} for any method)"#,
        ),
        (
            r#"method: {prefix: "GET "}"#,
            r#"method.prefix: warning: a method is one word, and the well-known ones are in upper case: this never matches (write "GET")"#,
        ),
        (
            r#"method: {regex: "get|post"}"#,
            r#"method.regex: warning: a method is one word, and the well-known ones are in upper case: this never matches (write them in upper case, like "GET|POST")"#,
        ),
        (
            r#"method: {exact: ""}"#,
            "method.exact: warning: a method is one word, and the well-known ones are in upper case: this never matches (write {} for any method)",
        ),
        (
            r#"headers: {":method": {exact: get}}"#,
            r#"headers[:method].exact: warning: a method is one word, and the well-known ones are in upper case: this never matches (write "GET")"#,
        ),
        (
            "method: {exact: purge}",
            r#"method.exact: warning: a method is one word, and the well-known ones are in upper case: this never matches (write "PURGE")"#,
        ),
        (
            "method: {exact: FOOBAR}",
            r#"method.exact: warning: requests with the method "FOOBAR" are refused with 400, as in Envoy: this never matches (remove it)"#,
        ),
        (
            "method: {exact: QUERY}",
            r#"method.exact: warning: requests with the method "QUERY" are refused with 400, as in Envoy: this never matches (remove it)"#,
        ),
        (
            "method: {prefix: ge}",
            r#"method.prefix: warning: requests with the method "ge" are refused with 400, as in Envoy: this never matches (remove it)"#,
        ),
        (
            r#"method: {regex: "FOO|BAR"}"#,
            r#"method.regex: warning: requests with the method "FOO" are refused with 400, as in Envoy: this never matches (remove it)"#,
        ),
        (
            r#"headers: {":method": {exact: FOOBAR}}"#,
            r#"headers[:method].exact: warning: requests with the method "FOOBAR" are refused with 400, as in Envoy: this never matches (remove it)"#,
        ),
        (
            "withoutHeaders: {':method': {exact: FOOBAR}}",
            r#"withoutHeaders[:method].exact: warning: requests with the method "FOOBAR" are refused with 400, as in Envoy: this always holds (remove it)"#,
        ),
        (
            "scheme: {exact: HTTP}",
            r#"scheme.exact: warning: requests come in here by plain HTTP, whatever a client says: this never matches (write "http", or remove it)"#,
        ),
        (
            r#"scheme: {prefix: "https://"}"#,
            r#"scheme.prefix: warning: requests come in here by plain HTTP, whatever a client says: this never matches (write "http", or remove it)"#,
        ),
        (
            r#"scheme: {regex: "ws|wss"}"#,
            r#"scheme.regex: warning: requests come in here by plain HTTP, whatever a client says: this never matches (write "http", or remove it)"#,
        ),
        (
            r#"headers: {":scheme": {exact: ftp}}"#,
            r#"headers[:scheme].exact: warning: requests come in here by plain HTTP, whatever a client says: this never matches (write "http", or remove it)"#,
        ),
        (
            "headers: {':scheme': {exact: HTTPS}}",
            r#"headers[:scheme].exact: warning: requests come in here by plain HTTP, whatever a client says: this never matches (write "http", or remove it)"#,
        ),
        (
            "authority: {exact: other.com}",
            r#"authority.exact: warning: requests for other hosts than a.example.com do not get here: this never matches (add the host to "hosts")"#,
        ),
        (
            r#"authority: {exact: "http://a.example.com"}"#,
            "authority.exact: warning: an authority is a host, and perhaps a port: this never matches (write neither scheme nor path)",
        ),
        (
            r#"authority: {exact: "a.example.com/x"}"#,
            "authority.exact: warning: an authority is a host, and perhaps a port: this never matches (write neither scheme nor path)",
        ),
        (
            r"authority: {regex: '.*\.other\.com'}",
            r#"authority.regex: warning: requests for other hosts than a.example.com do not get here: this never matches (add the host to "hosts")"#,
        ),
        (
            r#"authority: {prefix: "b."}"#,
            r#"authority.prefix: warning: requests for other hosts than a.example.com do not get here: this never matches (add the host to "hosts")"#,
        ),
        (
            r#"authority: {exact: "a.example.com:http"}"#,
            "authority.exact: warning: an authority is a host, and perhaps a port: this never matches (write neither scheme nor path)",
        ),
        (
            "headers: {host: {exact: b.example.com}}",
            r#"headers[host].exact: warning: requests for other hosts than a.example.com do not get here: this never matches (add the host to "hosts")"#,
        ),
        (
            r#"headers: {":authority": {exact: b.example.com}}"#,
            r#"headers[:authority].exact: warning: requests for other hosts than a.example.com do not get here: this never matches (add the host to "hosts")"#,
        ),
        (
            r#"headers: {x: {exact: " a"}}"#,
            r#"headers[x].exact: warning: blanks around a header's value are dropped: this never matches (write "a")"#,
        ),
        (
            r#"headers: {x: {exact: "a\t"}}"#,
            r#"headers[x].exact: warning: blanks around a header's value are dropped: this never matches (write "a")"#,
        ),
        (
            r#"headers: {x: {prefix: " "}}"#,
            "headers[x].prefix: warning: blanks around a header's value are dropped: this never matches (leave them out)",
        ),
        (
            r#"headers: {x: {regex: "a "}}"#,
            "headers[x].regex: warning: blanks around a header's value are dropped: this never matches (leave them out)",
        ),
        (
            r#"headers: {x: {exact: "a\n"}}"#,
            r#"headers[x].exact: warning: no line end is ever in a header's value: this never matches (write a block of YAML with "|-" or ">-", which leave out its last line end)"#,
        ),
        (
            r#"headers: {x: {regex: "a.*\n"}}"#,
            r#"headers[x].regex: warning: no line end is ever in a header's value: this never matches (write a block of YAML with "|-" or ">-", which leave out its last line end)"#,
        ),
        (
            r#"headers: {x: {exact: "a\u0001b"}}"#,
            "headers[x].exact: warning: no control character is ever in a header's value: this never matches (remove it)",
        ),
        (
            r#"headers: {":status": {exact: "200"}}"#,
            r#"headers[:status].exact: warning: ":status" is of responses, no request has it: this never matches (remove it)"#,
        ),
        (
            r#"headers: {":status": {}}"#,
            r#"headers[:status]: warning: ":status" is of responses, no request has it: this never matches (remove it)"#,
        ),
        (
            r#"queryParams: {q: {exact: "a b"}}"#,
            r#"queryParams[q].exact: warning: values are compared as they were sent: " " arrives as %20: this never matches (write "a%20b")"#,
        ),
        (
            r#"queryParams: {q: {exact: "a&b"}}"#,
            r#"queryParams[q].exact: warning: "&" ends a parameter: this never matches (write "a%26b")"#,
        ),
        (
            r#"queryParams: {q: {exact: "ä"}}"#,
            r#"queryParams[q].exact: warning: values are compared as they were sent: "\xc3" arrives as %C3: this never matches (write "%C3%A4")"#,
        ),
        (
            r#"queryParams: {q: {regex: "a&b=.*"}}"#,
            r#"queryParams[q].regex: warning: "&" ends a parameter: this never matches (write it as it stands in a request)"#,
        ),
        (
            r#"queryParams: {q: {prefix: "a#"}}"#,
            r##"queryParams[q].prefix: warning: no client sends a "#" and what follows it: this never matches (write it as it stands in a request)"##,
        ),
        (
            r#"queryParams: {"a b": {exact: c}}"#,
            r#"queryParams[a b]: warning: no parameter is called "a b": this never matches (write the name as it stands in a request, percent-encoded)"#,
        ),
        (
            r#"queryParams: {"a=b": {}}"#,
            r#"queryParams[a=b]: warning: no parameter is called "a=b": this never matches (write the name as it stands in a request, percent-encoded)"#,
        ),
        (
            r#"withoutHeaders: {x: {exact: " a"}}"#,
            r#"withoutHeaders[x].exact: warning: blanks around a header's value are dropped: this always holds (write "a")"#,
        ),
        (
            r#"withoutHeaders: {":method": {exact: get}}"#,
            r#"withoutHeaders[:method].exact: warning: a method is one word, and the well-known ones are in upper case: this always holds (write "GET")"#,
        ),
        (
            r#"withoutHeaders: {":status": {exact: "200"}}"#,
            r#"withoutHeaders[:status].exact: warning: ":status" is of responses, no request has it: this always holds (remove it)"#,
        ),
        (
            r#"withoutHeaders: {x: {regex: ".*"}}"#,
            "withoutHeaders[x].regex: warning: takes every value, and that of an absent header, which counts as empty: this never holds (to ask for the header's absence write {})",
        ),
        (
            "headers: {x: {exact: a}}, withoutHeaders: {X: {}}",
            r#"withoutHeaders[X]: warning: "X" is asked for under "headers", too: the block never matches (keep one of them)"#,
        ),
        (
            "headers: {x: {exact: a}}, withoutHeaders: {x: {exact: a}}",
            r#"withoutHeaders[x]: warning: "x" is asked for under "headers", too: the block never matches (keep one of them)"#,
        ),
    ]);
}

#[test]
fn other_values_that_some_request_has() {
    blocks(&[
        ("method: {exact: PURGE}", ""),
        ("method: {prefix: PROP}", ""),
        (r#"method: {regex: "FOOBAR|M-SEARCH"}"#, ""),
        (r#"method: {regex: "(?i)get"}"#, ""),
        (r#"method: {regex: "get|GET"}"#, ""),
        ("scheme: {exact: http}", ""),
        ("scheme: {prefix: h}", ""),
        ("authority: {exact: A.Example.com}", ""),
        (r#"authority: {exact: "a.example.com:8080"}"#, ""),
        (r#"authority: {prefix: "a."}"#, ""),
        (r"authority: {regex: '.*\.com(:\d+)?'}", ""),
        (r#"headers: {x: {exact: ""}}"#, ""),
        (r#"headers: {x: {prefix: "a "}}"#, ""),
        (r#"headers: {x: {regex: "a b"}}"#, ""),
        (r#"headers: {x: {exact: "é"}}"#, ""),
        ("headers: {x: {}}", ""),
        (r#"queryParams: {q: {exact: "a=b"}}"#, ""),
        (r#"queryParams: {q: {exact: "a+b"}}"#, ""),
        (r#"queryParams: {q: {exact: ""}}"#, ""),
        ("withoutHeaders: {x: {}}", ""),
        (r#"withoutHeaders: {x: {exact: ""}}"#, ""),
        ("headers: {x: {exact: a}}, withoutHeaders: {x: {exact: b}}", ""),
    ]);
}

/// The headers that every request at a Gateway has, whatever its client says.
#[test]
fn headers_that_every_request_has() {
    let never = |name: &str| {
        format!(
            r#"withoutHeaders[{name}]: warning: every request has "{}" here: this never holds (remove it, or ask for a value)"#,
            name.to_ascii_lowercase()
        )
    };
    for name in [
        "host",
        "Host",
        ":authority",
        ":path",
        ":method",
        ":scheme",
        "x-request-id",
        "X-Request-Id",
        "x-forwarded-proto",
        "x-forwarded-for",
    ] {
        blocks(&[(&format!("withoutHeaders: {{\"{name}\": {{}}}}"), &never(name))]);
    }
    let all = "warning: takes every value that requests have here: this never holds (remove it)";
    for (name, condition) in [
        ("x-request-id", "regex: \".+\""),
        ("x-request-id", "regex: \"[0-9a-f-]{36}\""),
        ("x-forwarded-proto", "exact: http"),
        ("x-forwarded-proto", "prefix: h"),
        ("x-forwarded-proto", "regex: \"https?\""),
        (":scheme", "exact: http"),
        (":path", "prefix: /"),
        (":path", "regex: \"/.*\""),
        (":method", "regex: \"[A-Z-]+\""),
        ("host", "regex: \".*\""),
    ] {
        let form = condition.split(':').next().unwrap_or_default();
        let block = format!("withoutHeaders: {{\"{name}\": {{{condition}}}}}");
        let found = lines(&problems(rule(&format!("match: [{{{block}}}]")).as_bytes(), false)).join("\n");
        let expected = format!("withoutHeaders[{name}].{form}: {all}");
        assert_eq!(found.split_once("match[0].").map(|(_, rest)| rest), Some(&*expected), "{block}");
    }
    blocks(&[
        ("withoutHeaders: {x-other: {}}", ""),
        ("withoutHeaders: {origin: {}, user-agent: {}, x-forwarded-host: {}}", ""),
        (r#"withoutHeaders: {x-other: {regex: ".+"}}"#, ""),
        (
            r#"withoutHeaders: {x-other: {regex: "a*|[^a].*|a+[^a].*"}}"#,
            "withoutHeaders[x-other].regex: warning: takes every value, and that of an absent header, which counts as empty: this never holds (to ask for the header's absence write {})",
        ),
        (r#"withoutHeaders: {":path": {prefix: "/a"}}"#, ""),
        ("withoutHeaders: {host: {exact: a.example.com}}", ""),
        ("withoutHeaders: {x-forwarded-for: {exact: 10.0.0.1}}", ""),
        (r#"withoutHeaders: {x-request-id: {regex: "a.*"}}"#, ""),
    ]);
}

/// Values that the proxy itself writes at a Gateway.
#[test]
fn values_that_a_gateway_writes() {
    const PLAIN: &str = r#"requests come in here by plain HTTP, whatever a client says: this never matches (write "http", or remove it)"#;
    for (block, path) in [
        ("scheme: {exact: https}", "scheme.exact"),
        ("scheme: {regex: https}", "scheme.regex"),
        ("headers: {':scheme': {exact: https}}", "headers[:scheme].exact"),
        ("headers: {x-forwarded-proto: {exact: https}}", "headers[x-forwarded-proto].exact"),
        ("headers: {X-Forwarded-Proto: {prefix: https}}", "headers[X-Forwarded-Proto].prefix"),
        ("headers: {x-forwarded-proto: {exact: HTTP}}", "headers[x-forwarded-proto].exact"),
    ] {
        blocks(&[(block, &format!("{path}: warning: {PLAIN}"))]);
    }
    blocks(&[
        ("headers: {x-forwarded-proto: {regex: 'https?'}}", ""),
        (
            "withoutHeaders: {x-forwarded-proto: {exact: https}}",
            r#"withoutHeaders[x-forwarded-proto].exact: warning: requests come in here by plain HTTP, whatever a client says: this always holds (write "http", or remove it)"#,
        ),
        (
            "headers: {x-request-id: {exact: mine}}",
            "headers[x-request-id].exact: warning: at a Gateway every request gets an id of the proxy's, a UUID, whatever a client says: this never matches (use a header of another name)",
        ),
        ("headers: {x-request-id: {prefix: a}}", ""),
        (
            "headers: {x-forwarded-for: {exact: 10.0.0.0/8}}",
            "headers[x-forwarded-for].exact: warning: at a Gateway it ends with the client's address, as the proxy writes it: this never matches (write a regex that ends with an address; a range is only text)",
        ),
        (
            "headers: {x-forwarded-for: {regex: '10[.].*, proxy'}}",
            "headers[x-forwarded-for].regex: warning: at a Gateway it ends with the client's address, as the proxy writes it: this never matches (write a regex that ends with an address; a range is only text)",
        ),
        ("headers: {x-forwarded-for: {exact: 10.1.2.3}}", ""),
        (r"headers: {x-forwarded-for: {regex: '(.*,)?10\.\d+\.\d+\.\d+'}}", ""),
        ("headers: {x-forwarded-for: {prefix: unknown}}", ""),
        (
            "headers: {x-envoy-external-address: {exact: 10.0.0.0/8}}",
            "headers[x-envoy-external-address].exact: warning: at a Gateway it is the client's address, as the proxy writes it: this never matches (write an address)",
        ),
        ("headers: {x-envoy-external-address: {exact: '2001:db8::1'}}", ""),
    ]);
}

/// In the mesh the word of the application stands, and a Gateway that is not among the documents may end TLS.
#[test]
fn elsewhere_clients_may_say_what_they_like() {
    let rows = [
        "scheme: {exact: https}",
        "headers: {x-forwarded-proto: {exact: https}}",
        "headers: {x-request-id: {exact: mine}}",
        "headers: {x-forwarded-for: {exact: unknown}}",
        "withoutHeaders: {x-forwarded-for: {}}",
        "sourceLabels: {app: caller}",
        "sourceNamespace: elsewhere",
    ];
    let in_mesh = proxy("{mesh: {listen: '127.0.0.1:15001'}}").replace("edge}", "edge, labels: {app: gateway}}");
    for gateways in ["[mesh]", "[g, mesh]"] {
        for row in rows {
            let spec = format!(
                "\n  hosts: [a.example.com]\n  gateways: {gateways}\n  http: [{{match: [{{{row}}}], route: [{{destination: {{host: web, port: {{number: 80}}}}}}]}}]"
            );
            let found = lines(&problems((in_mesh.clone() + "---\n" + &virtual_service_spec(&spec)).as_bytes(), false));
            assert!(!found.iter().any(|line| line.contains("http[0].match")), "{row} at {gateways}: {found:#?}");
        }
    }
    let elsewhere = "{hosts: [a.example.com], gateways: [other], http: [{match: [{scheme: {exact: https}}], directResponse: {status: 200}}]}";
    let found = lines(&problems(istio("VirtualService", "v", elsewhere).as_bytes(), false));
    assert!(!found.iter().any(|line| line.contains("scheme")), "{found:#?}");
    let both = "{hosts: [a.example.com], gateways: [g, mesh], http: [{match: [{gateways: [g], scheme: {exact: https}}], directResponse: {status: 200}}]}";
    let found = lines(&problems((istio("VirtualService", "v", both) + REST).as_bytes(), false));
    assert!(found.iter().any(|line| line.contains("match[0].scheme.exact: warning: requests come in")), "{found:#?}");
}

/// Istio compares them with the proxy, which at a Gateway is not what calls it.
#[test]
fn sources_at_a_gateway() {
    let of = |block: &str| {
        let spec = format!(
            "\n  hosts: [a.example.com]\n  gateways: [g]\n  http: [{{match: [{{{block}}}], directResponse: {{status: 200}}}}]"
        );
        let proxy =
            "apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: edge, labels: {app: gateway}}\nspec: {}\n---\n";
        lines(&problems((proxy.to_owned() + &virtual_service_spec(&spec)).as_bytes(), false))
            .iter()
            .filter_map(|line| Some(line.split_once("spec.http[0].match[0].")?.1.to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("sourceLabels: {app: caller}"),
        [
            "sourceLabels: warning: are looked for among the labels of the proxy, which at a Gateway is not the caller's: this never matches (remove it: what calls a Gateway has no labels)"
        ]
    );
    assert_eq!(
        of("sourceNamespace: shop"),
        [
            r#"sourceNamespace: warning: is compared with the namespace of the proxy, "default", which at a Gateway is not the caller's: this never matches (remove it: what calls a Gateway has no namespace)"#
        ]
    );
    assert_eq!(of("sourceLabels: {app: gateway}, sourceNamespace: default"), [""; 0]);
}

/// Envoy matches bytes, and a class is one of them.
#[test]
fn classes_of_characters_of_several_bytes() {
    let note = "Envoy matches bytes: [éü] is one byte of these characters, not one of them (write them as alternatives, like (é|ü))";
    blocks(&[
        ("headers: {x: {regex: '[éü]+'}}", &format!("headers[x].regex: note: {note}")),
        ("withoutHeaders: {x: {regex: 'a[éü]'}}", &format!("withoutHeaders[x].regex: note: {note}")),
        ("headers: {x: {regex: '(é|ü)+'}}", ""),
        ("headers: {x: {regex: 'é'}}", ""),
    ]);
}

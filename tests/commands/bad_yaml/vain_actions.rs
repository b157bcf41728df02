//! Actions of which something else is made than they say.

use super::*;

/// Rows of a rule, and the lines about it, which are on line 8 unless they say another.
#[track_caller]
fn rules(rows: &[(&str, &[&str])]) {
    let mut differences = String::new();
    for (rule, expected) in rows {
        let found: Vec<_> = lines(&problems(virtual_service(rule).as_bytes(), false))
            .iter()
            .map(|line| line.replacen("8: VirtualService/default/v: spec.http[0].", "", 1))
            .collect();
        if found != *expected {
            differences.push_str(&format!("\n{rule}\n  expected: {expected:#?}\n  found: {found:#?}\n"));
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn new_paths_hosts_and_answers() {
    rules(&[
        (
            r#"match: [{uri: {prefix: /x}}]
    redirect: {uri: "https://b.com/x"}"#,
            &[
                "9: VirtualService/default/v: spec.http[0].redirect.uri: warning: is a path alone: clients are sent to http://a.example.com/https://b.com/x (write scheme: https, authority: b.com, uri: /x)",
            ],
        ),
        (
            r#"redirect: {uri: "//b.com"}"#,
            &[
                "redirect.uri: warning: is a path alone: clients are sent to http://a.example.com//b.com (write authority: b.com, uri: /)",
            ],
        ),
        (
            r#"redirect: {uri: "https://b.com/x", authority: b.com, scheme: https}"#,
            &[
                "redirect.uri: warning: is a path alone: clients are sent to https://b.com/https://b.com/x (write scheme: https, authority: b.com, uri: /x)",
            ],
        ),
        (
            "redirect: {uri: '/new/$1'}",
            &[
                r#"redirect.uri: warning: "$1" is text here: clients are sent there as it is (a redirect knows no groups of a regex; "prefixRewrite" keeps the rest)"#,
            ],
        ),
        (
            r#"redirect: {authority: "https://b.com"}"#,
            &[
                r#"redirect.authority: warning: is a host, and perhaps a port: clients are sent to http://https://b.com (write "b.com")"#,
            ],
        ),
        (
            r#"redirect: {authority: "b.com/x", scheme: https}"#,
            &[
                "redirect.authority: warning: is a host, and perhaps a port: clients are sent to https://b.com/x (write neither scheme nor path, nor a pattern)",
            ],
        ),
        (
            r#"redirect: {authority: "*.b.com"}"#,
            &[
                "redirect.authority: warning: is a host, and perhaps a port: clients are sent to http://*.b.com (write neither scheme nor path, nor a pattern)",
            ],
        ),
        (
            r#"redirect: {authority: "u@b.com"}"#,
            &[
                "redirect.authority: warning: is a host, and perhaps a port: clients are sent to http://u@b.com (write neither scheme nor path, nor a pattern)",
            ],
        ),
        (
            r#"redirect: {authority: "b.com:81", port: 82}"#,
            &[
                "redirect.authority: warning: has a port, and another one is put behind it (write the port in one place)",
            ],
        ),
        (r#"redirect: {authority: "b.com:81"}"#, &[]),
        (r#"redirect: {authority: "[::1]", port: 82}"#, &[]),
        (
            "match: [{uri: {prefix: /x}}]
    redirect: {prefixRewrite: new}",
            &[
                r#"9: VirtualService/default/v: spec.http[0].redirect.prefixRewrite: warning: is put right behind the host: clients are sent to http://a.example.comnew... (write "/new")"#,
            ],
        ),
        (
            r#"match: [{uri: {prefix: /x}}]
    redirect: {prefixRewrite: "https://b.com/"}"#,
            &[
                r#"9: VirtualService/default/v: spec.http[0].redirect.prefixRewrite: warning: prefix "/x" is replaced as text: /x/a becomes https://b.com//a (let both end with "/", or neither)"#,
                "9: VirtualService/default/v: spec.http[0].redirect.prefixRewrite: warning: is put right behind the host: clients are sent to http://a.example.comhttps://b.com/... (write scheme: https, authority: b.com, uri: /)",
            ],
        ),
        (
            "redirect: {scheme: https, port: 80}",
            &["redirect.port: warning: 80 is the port of plain HTTP (leave it out for the scheme's own port)"],
        ),
        (
            "redirect: {scheme: http, port: 443}",
            &["redirect.port: warning: 443 is the port of HTTPS (leave it out for the scheme's own port)"],
        ),
        (
            "redirect: {scheme: https, derivePort: FROM_REQUEST_PORT}",
            &[
                "redirect.derivePort: warning: the request's port speaks plain HTTP, to which clients are sent by https (leave it out for the scheme's own port)",
            ],
        ),
        ("redirect: {scheme: https, derivePort: FROM_PROTOCOL_DEFAULT}", &[]),
        (r#"redirect: {uri: "/x?y=https://b.com"}"#, &[]),
        (
            "redirect: {uri: new/x}",
            &[
                r#"redirect.uri: note: a "/" is put before it: clients are sent to http://a.example.com/new/x (write "/new/x")"#,
            ],
        ),
        (
            "redirect: {uri: '/a b'}",
            &[
                r#"redirect.uri: warning: " " has no place in a URL: clients may take what is before it for the whole (write "/a%20b")"#,
            ],
        ),
        (
            "redirect: {uri: ' '}",
            &[
                r#"redirect.uri: warning: " " has no place in a URL: clients may take what is before it for the whole (leave it out)"#,
            ],
        ),
        (
            r#"redirect: {uri: "/a\tb "}"#,
            &[
                r#"redirect.uri: warning: "\t" has no place in a URL: clients may take what is before it for the whole (write "/a%09b")"#,
            ],
        ),
        (
            "match: [{uri: {prefix: /x}}]
    redirect: {prefixRewrite: '/a b'}",
            &[
                r#"9: VirtualService/default/v: spec.http[0].redirect.prefixRewrite: warning: " " has no place in a URL: clients may take what is before it for the whole (write "/a%20b")"#,
            ],
        ),
        (
            "match: [{uri: {prefix: /x}}]
    rewrite: {uri: '/a b'}
    route: [{destination: {host: web, port: {number: 80}}}]",
            &[
                r#"9: VirtualService/default/v: spec.http[0].rewrite.uri: warning: " " has no place in a URL: it goes on percent-encoded, and as it is from Envoy, where it splits the request line (write "/a%20b")"#,
            ],
        ),
        (
            r"rewrite: {uriRegexRewrite: {match: '^/api(/.*)', rewrite: '/a b\1'}}
    route: [{destination: {host: web, port: {number: 80}}}]",
            &[
                r#"rewrite.uriRegexRewrite.rewrite: warning: " " has no place in a URL: it goes on percent-encoded, and as it is from Envoy, where it splits the request line (write "/a%20b\1")"#,
            ],
        ),
        (
            r"match: [{uri: {regex: '/api/(.*)'}}]
    rewrite: {uri: '/\1'}
    route: [{destination: {host: web, port: {number: 80}}}]",
            &[
                r#"9: VirtualService/default/v: spec.http[0].rewrite.uri: warning: "\1" is text here: the upstream gets it as it is (write "uriRegexRewrite", whose "rewrite" has \1 for the first group)"#,
            ],
        ),
        (
            "match: [{uri: {regex: '/api/(.*)'}}]
    rewrite: {uri: '/$1'}
    route: [{destination: {host: web, port: {number: 80}}}]",
            &[
                r#"9: VirtualService/default/v: spec.http[0].rewrite.uri: warning: "$1" is text here: the upstream gets it as it is (write "uriRegexRewrite", whose "rewrite" has \1 for the first group)"#,
            ],
        ),
        (
            "match: [{uri: {regex: '/api/(.*)'}}]
    rewrite: {uri: '/${1}'}
    route: [{destination: {host: web, port: {number: 80}}}]",
            &[
                r#"9: VirtualService/default/v: spec.http[0].rewrite.uri: warning: "${1}" is text here: the upstream gets it as it is (write "uriRegexRewrite", whose "rewrite" has \1 for the first group)"#,
            ],
        ),
        (
            "match: [{uri: {prefix: /api/}}]
    rewrite: {uri: '/$1/'}
    route: [{destination: {host: web, port: {number: 80}}}]",
            &[
                r#"9: VirtualService/default/v: spec.http[0].rewrite.uri: note: "$1" is text here: the upstream gets it as it is (write "uriRegexRewrite", whose "rewrite" has \1 for the first group)"#,
            ],
        ),
        (
            "match: [{uri: {prefix: /api/}}]
    rewrite: {uri: '/a$/'}
    route: [{destination: {host: web, port: {number: 80}}}]",
            &[],
        ),
        (
            "match: [{uri: {regex: '/api/(.*)'}}]
    rewrite: {uri: /}
    route: [{destination: {host: web, port: {number: 80}}}]",
            &[
                r#"9: VirtualService/default/v: spec.http[0].rewrite.uri: note: stands for the whole path that a regex matched: it becomes "/", whatever it was (to replace a part of it write "uriRegexRewrite")"#,
            ],
        ),
        (
            "match: [{uri: {exact: /api}}]
    rewrite: {uri: /}
    route: [{destination: {host: web, port: {number: 80}}}]",
            &[],
        ),
        (
            r#"match: [{uri: {prefix: /api}}]
    rewrite: {uri: " "}
    route: [{destination: {host: web, port: {number: 80}}}]"#,
            &[
                "9: VirtualService/default/v: spec.http[0].rewrite.uri: note: a blank stands for nothing: what was matched is taken out of the path (Envoy puts the blank into the request line, which strict servers refuse)",
            ],
        ),
        (
            "match: [{uri: {prefix: /api/}}]
    rewrite: {uri: v2/}
    route: [{destination: {host: web, port: {number: 80}}}]",
            &[
                r#"9: VirtualService/default/v: spec.http[0].rewrite.uri: warning: a path begins with "/", and "v2/" does not: many servers refuse it (write "/v2/")"#,
            ],
        ),
        (
            r#"match: [{uri: {exact: /api}}]
    rewrite: {uri: "http://b.com/x"}
    route: [{destination: {host: web, port: {number: 80}}}]"#,
            &[
                r#"9: VirtualService/default/v: spec.http[0].rewrite.uri: warning: a path begins with "/", and "http://b.com/x" does not: many servers refuse it (write the path alone; the host is written by "authority")"#,
            ],
        ),
        (
            r#"match: [{uri: {exact: /api}}]
    rewrite: {uri: "/x?y=1"}
    route: [{destination: {host: web, port: {number: 80}}}]"#,
            &[
                r#"9: VirtualService/default/v: spec.http[0].rewrite.uri: note: a request's own query is put behind this one, with a "?" of its own (write the path alone)"#,
            ],
        ),
        (
            r"rewrite: {uriRegexRewrite: {match: '^/api/(.*)', rewrite: '\1'}}
    route: [{destination: {host: web, port: {number: 80}}}]",
            &[
                r#"rewrite.uriRegexRewrite.rewrite: warning: a path begins with "/": "/api/a" becomes "a" (write "/\1")"#,
            ],
        ),
        (
            "rewrite: {uriRegexRewrite: {match: '^/api/(.*)', rewrite: '/$1'}}
    route: [{destination: {host: web, port: {number: 80}}}]",
            &[r#"rewrite.uriRegexRewrite.rewrite: warning: "$1" is text: the upstream gets it as it is (write "\1")"#],
        ),
        (
            r"rewrite: {uriRegexRewrite: {match: '^/api(/.*)', rewrite: '\1'}}
    route: [{destination: {host: web, port: {number: 80}}}]",
            &[],
        ),
        (
            r"rewrite: {uriRegexRewrite: {match: '^api/(.*)', rewrite: '/\1'}}
    route: [{destination: {host: web, port: {number: 80}}}]",
            &[
                r#"rewrite.uriRegexRewrite.match: warning: a path begins with "/": nothing is ever replaced (let the expression begin with "/")"#,
            ],
        ),
        (
            r"rewrite: {uriRegexRewrite: {match: '/a\?b=(.*)', rewrite: '/\1'}}
    route: [{destination: {host: web, port: {number: 80}}}]",
            &[
                "rewrite.uriRegexRewrite.match: warning: the query is no part of the path: nothing is ever replaced (leave it out)",
            ],
        ),
        (
            "rewrite: {uriRegexRewrite: {match: 'b', rewrite: c}}
    route: [{destination: {host: web, port: {number: 80}}}]",
            &[],
        ),
        (
            "rewrite: {uriRegexRewrite: {match: '^/a b', rewrite: /c}}
    route: [{destination: {host: web, port: {number: 80}}}]",
            &[r#"rewrite.uriRegexRewrite.match: warning: " " arrives as %20: nothing is ever replaced (write %20)"#],
        ),
        (
            r#"rewrite: {authority: "http://b.com"}
    route: [{destination: {host: web, port: {number: 80}}}]"#,
            &[
                r#"rewrite.authority: warning: is a host, and perhaps a port: the upstream is asked for host http://b.com (write "b.com")"#,
            ],
        ),
        (
            r#"rewrite: {authority: "b.com:8080"}
    route: [{destination: {host: web, port: {number: 80}}}]"#,
            &[],
        ),
        (
            r#"headers: {request: {set: {host: "http://b.com/x"}}}
    route: [{destination: {host: web, port: {number: 80}}}]"#,
            &[
                r#"headers.request.set[host]: warning: is a host, and perhaps a port: the upstream is asked for host http://b.com/x (write "b.com")"#,
            ],
        ),
        (
            r#"headers: {request: {set: {":authority": "b com"}}}
    route: [{destination: {host: web, port: {number: 80}}}]"#,
            &[
                "headers.request.set[:authority]: warning: is a host, and perhaps a port: the upstream is asked for host b com (write neither scheme nor path, nor a pattern)",
            ],
        ),
        (
            r#"headers: {request: {set: {host: "%REQ(x)%"}}}
    route: [{destination: {host: web, port: {number: 80}}}]"#,
            &[],
        ),
        (
            "directResponse: {status: 204, body: {string: x}}",
            &[
                "directResponse.body: warning: an answer with status 204 has no body: this one is not sent (write another status, or no body)",
            ],
        ),
        ("directResponse: {status: 204}", &[]),
        (
            "directResponse: {status: 304, body: {string: x}}",
            &[
                "directResponse.body: warning: an answer with status 304 has no body: this one is not sent (write another status, or no body)",
            ],
        ),
        (
            "directResponse: {status: 302}",
            &[
                r#"directResponse.status: warning: sends clients to where they are already, as its "location" says (write "redirect")"#,
            ],
        ),
        (
            "directResponse: {status: 302}
    headers: {response: {set: {Location: /x}}}",
            &[],
        ),
        ("directResponse: {status: 403, body: {string: x}}", &[]),
    ]);
}

#[test]
fn origins_that_no_page_has() {
    /// How the origin of a page looks.
    const NEVER: &str = r#"warning: a browser's Origin is "scheme://host", in small letters, with ":port" if it is not the scheme's own: this never matches "#;
    const SEVERAL: &str = "warning: an entry is for one Origin, and a request has one: this never matches ";
    let rows = [
        ("{exact: a.com}", r#"never (write "https://a.com")"#),
        (r#"{exact: "https://a.com/"}"#, r#"never (write "https://a.com")"#),
        (r#"{exact: "https://a.com/x"}"#, r#"never (write "https://a.com")"#),
        (r#"{exact: "https://*.a.com"}"#, r#"never (write regex: 'https://.*\.a\.com')"#),
        (r#"{exact: "*.a.com"}"#, r#"never (write regex: 'https://.*\.a\.com')"#),
        (
            "{prefix: a.com}",
            r#"note: is a beginning that no origin of a page has (an Origin begins with its scheme: write "https://a.com")"#,
        ),
        (r#"{prefix: "https://a.com/"}"#, r#"never (write "https://a.com")"#),
        (r"{regex: 'a\.com'}", r#"never (begin with the scheme, like https://)"#),
        (r"{regex: 'https://a\.com/.*'}", r#"never (end behind the host or its port)"#),
        (r#"{exact: "https://A.com"}"#, r#"never (write "https://a.com")"#),
        (r#"{exact: "https://a.com:443"}"#, r#"never (write "https://a.com")"#),
        (r#"{exact: "http://a.com:80"}"#, r#"never (write "http://a.com")"#),
        (r#"{exact: "a.com:8080"}"#, r#"never (write "https://a.com:8080")"#),
        (r#"{exact: "https://b.com "}"#, r#"never (write "https://b.com")"#),
        (r#"{exact: " https://b.com"}"#, r#"never (write "https://b.com")"#),
        (r#"{exact: "b.com\t"}"#, r#"never (write "https://b.com")"#),
        (r#"{exact: "https://B.com:443/ "}"#, r#"never (write "https://b.com")"#),
        (r#"{exact: "*.b.com "}"#, r#"never (write regex: 'https://.*\.b\.com')"#),
        (r#"{exact: " "}"#, r#"never (write an origin, like https://example.com)"#),
        (
            r#"{exact: "https://a.com,https://b.com"}"#,
            r#"several (write two entries: {exact: "https://a.com"}, {exact: "https://b.com"})"#,
        ),
        (
            r#"{exact: "https://a.com, b.com, https://*.c.com"}"#,
            r#"several (write 3 entries: {exact: "https://a.com"}, {exact: "https://b.com"}, {regex: 'https://.*\.c\.com'})"#,
        ),
        (
            r#"{exact: "https://a.com https://b.com"}"#,
            r#"several (write two entries: {exact: "https://a.com"}, {exact: "https://b.com"})"#,
        ),
        (
            r#"{prefix: "https://a.com;https://b.com/"}"#,
            r#"several (write two entries: {exact: "https://a.com"}, {exact: "https://b.com"})"#,
        ),
        (r#"{exact: "https://a.com:8443"}"#, ""),
        (r#"{exact: "https://a.com:80"}"#, ""),
        (r#"{exact: "null"}"#, ""),
        (r#"{prefix: "https://"}"#, ""),
        (r#"{exact: "*"}"#, ""),
        (r#"{exact: "capacitor://localhost"}"#, ""),
        (r#"{exact: "http://[::1]:81"}"#, ""),
        (r"{regex: 'https?://.*\.a\.com(:\d+)?'}", ""),
        (r#"{exact: "https://xn--bcher-kva.example"}"#, ""),
        (r#"{exact: "http://localhost:3000"}"#, ""),
    ];
    for (origin, expected) in rows {
        let policy = format!("corsPolicy: {{unmatchedPreflights: IGNORE, allowOrigins: [{origin}]}}");
        let found = lines(&problems(rule(&policy).as_bytes(), false)).join("\n");
        let found = found.replacen("8: VirtualService/default/v: spec.http[0].corsPolicy.allowOrigins[0]: ", "", 1);
        let found = found.replacen(NEVER, "never ", 1).replacen(SEVERAL, "several ", 1);
        assert_eq!(found, expected, "{origin}");
    }
}

/// Envoy takes none of them, and what is sent in one line has no second one.
#[test]
fn texts_of_several_lines() {
    const BLOCK: &str =
        r#"ends with a line end (write a block of YAML with "|-" or ">-", which leave out its last line end)"#;
    const CONTROL: &str = "has a control character (remove it)";
    let to_web = "route: [{destination: {host: web, port: {number: 80}}}]";
    let found = |yaml: &str| lines(&problems(yaml.as_bytes(), false)).join("\n");
    for (text, what) in
        [("a\\n", BLOCK), ("a\\r\\n", BLOCK), ("a\\nb: c", CONTROL), ("a\\0", CONTROL), ("a\\u007f", CONTROL)]
    {
        for (field, rest) in [
            ("rewrite: {uri: \"/TEXT\"}", to_web),
            ("rewrite: {authority: \"TEXT\"}", to_web),
            ("rewrite: {uriRegexRewrite: {match: a, rewrite: \"/TEXT\"}}", to_web),
            ("redirect: {uri: \"/TEXT\"}", ""),
            ("redirect: {authority: \"TEXT\"}", ""),
            ("redirect: {prefixRewrite: \"/TEXT\"}", ""),
            ("headers: {request: {set: {x: \"TEXT\"}}}", to_web),
            ("headers: {response: {add: {x: \"TEXT\"}}}", to_web),
            ("headers: {request: {set: {host: \"TEXT\"}}}", to_web),
        ] {
            let rule = format!("{}\n    {rest}", field.replace("TEXT", text));
            let found = found(&virtual_service(&rule));
            let (place, said) =
                found.split_once(": ").and_then(|(_, rest)| rest.split_once(": spec.")).unwrap_or_default();
            assert_eq!(place, "VirtualService/default/v", "{rule}: {found}");
            assert_eq!(said.split_once(": ").map(|(_, said)| said), Some(what), "{rule}");
        }
        for key in [
            "httpHeaderName: \"TEXT\"",
            "httpQueryParameterName: \"TEXT\"",
            "httpCookie: {name: \"TEXT\"}",
            "httpCookie: {name: a, ttl: 0s, path: \"/TEXT\"}",
            "httpCookie: {name: a, ttl: 0s, attributes: [{name: \"TEXT\"}]}",
            "httpCookie: {name: a, ttl: 0s, attributes: [{name: b, value: \"TEXT\"}]}",
        ] {
            let key = key.replace("TEXT", text);
            let policy = format!("{{host: web, trafficPolicy: {{loadBalancer: {{consistentHash: {{{key}}}}}}}}}");
            let found = found(&destination_rule(&policy));
            assert!(found.starts_with("4: ") && found.ends_with(what) && !found.contains('\n'), "{key}: {found}");
        }
    }
}

//! `match` blocks: which requests each kind of condition takes. What the rows say of headers and query parameters was
//! tried on Envoy 1.40.

use super::*;

#[test]
fn conditions_of_a_match_block() {
    let row = |condition: &str| {
        let http = format!("[{{match: [{{{condition}}}], route: [{{destination: {{host: a}}}}]}}]");
        plan(&(gateway("g", 80, "['*']") + &virtual_service("v", "['*']", "[g]", &http) + SERVICE_A))
    };
    for (condition, method, authority, target, lines, expected) in [
        ("uri: {exact: /a}", "GET", "h", "/a?x", &[][..], true),
        ("uri: {exact: /a}", "GET", "h", "/A", &[], false),
        ("uri: {exact: /a}, ignoreUriCase: true", "GET", "h", "/A", &[], true),
        ("uri: {prefix: /ab}, ignoreUriCase: true", "GET", "h", "/ABC", &[], true),
        ("uri: {regex: '/a[0-9]+'}", "GET", "h", "/a12", &[], true),
        ("uri: {regex: '/a[0-9]+'}", "GET", "h", "/a12x", &[], false),
        ("method: {exact: POST}", "POST", "h", "/", &[], true),
        ("method: {exact: POST}", "GET", "h", "/", &[], false),
        ("authority: {prefix: h.}", "GET", "h.com:80", "/", &[], true),
        ("authority: {exact: h.com}", "GET", "h.com:80", "/", &[], false),
        ("headers: {End-User: {exact: jason}}", "GET", "h", "/", &["end-user: jason"], true),
        ("headers: {x: {}}", "GET", "h", "/", &["x: anything"], true),
        ("headers: {x: {regex: '*'}}", "GET", "h", "/", &["x:"], true),
        ("headers: {x: {}}", "GET", "h", "/", &[], false),
        ("headers: {':method': {exact: PUT}}", "PUT", "h", "/", &[], true),
        ("headers: {':authority': {exact: h}}", "PUT", "h", "/", &[], true),
        ("headers: {Host: {exact: h}}", "PUT", "h", "/", &[], true),
        // The client's own word on how it came does not count.
        ("headers: {x-forwarded-proto: {exact: https}}", "GET", "h", "/", &["x-forwarded-proto: https"], false),
        ("headers: {x-forwarded-proto: {exact: http}}", "GET", "h", "/", &["x-forwarded-proto: https"], true),
        ("uri: {}, headers: {':path': {exact: '/a?b'}}", "GET", "h", "/a?b", &[], true),
        ("headers: {':path': {exact: /a}}", "GET", "h", "/a?b", &[], false),
        ("scheme: {exact: http}", "GET", "h", "/", &[], true),
        ("scheme: {exact: https}", "GET", "h", "/", &[], false),
        ("withoutHeaders: {x: {exact: a}}", "GET", "h", "/", &[], true),
        ("withoutHeaders: {x: {exact: a}}", "GET", "h", "/", &["x: b"], true),
        ("withoutHeaders: {x: {exact: a}}", "GET", "h", "/", &["X: b", "x: a"], false),
        ("withoutHeaders: {x: {exact: ''}}", "GET", "h", "/", &[], false),
        ("withoutHeaders: {x: {exact: ''}}", "GET", "h", "/", &["x: a"], true),
        ("withoutHeaders: {x: {regex: 'a*'}}", "GET", "h", "/", &[], false),
        ("withoutHeaders: {x: {}}", "GET", "h", "/", &[], true),
        ("withoutHeaders: {x: null}", "GET", "h", "/", &["x:"], false),
        ("withoutHeaders: {':method': {exact: GET}}", "GET", "h", "/", &[], false),
        ("withoutHeaders: {':method': {exact: GET}}", "PUT", "h", "/", &[], true),
        ("queryParams: {a: {exact: b}}", "GET", "h", "/?a=b", &[], true),
        ("queryParams: {a: {exact: b}}", "GET", "h", "/?x&a=b&a=c", &[], true),
        ("queryParams: {a: {exact: b}}", "GET", "h", "/?a=c&a=b", &[], false),
        ("queryParams: {a: {exact: b}}", "GET", "h", "/?a=%62", &[], false),
        ("queryParams: {a: {exact: b}}", "GET", "h", "/?A=b", &[], false),
        ("queryParams: {a: {exact: 'b=c'}}", "GET", "h", "/?a=b=c", &[], true),
        ("queryParams: {a: {exact: ''}}", "GET", "h", "/?a", &[], true),
        ("queryParams: {a: {exact: ''}}", "GET", "h", "/?b", &[], false),
        ("queryParams: {a: {}}", "GET", "h", "/?a=", &[], true),
        ("queryParams: {a: {regex: '*'}}", "GET", "h", "/?a=x", &[], true),
        ("queryParams: {a: {}}", "GET", "h", "/", &[], false),
        ("queryParams: {a: {regex: '[0-9]+$'}}", "GET", "h", "/?a=12", &[], true),
        ("queryParams: {a: {regex: '[0-9]+$'}}", "GET", "h", "/?a=a12", &[], false),
        ("queryParams: {a: {prefix: b}, c: {exact: d}}", "GET", "h", "/?c=d&a=bx", &[], true),
        ("uri: {prefix: /}, headers: {x: {exact: '1'}}, method: {exact: GET}", "GET", "h", "/", &["x: 1"], true),
        ("uri: {prefix: /}, headers: {x: {exact: '1'}}, method: {exact: GET}", "GET", "h", "/", &["x: 2"], false),
    ] {
        let found = goes(&row(condition), method, authority, target, lines) != ["404"];
        assert_eq!(found, expected, "{condition} on {method} {authority} {target} {lines:?}");
    }
}

/// A condition on a header that no request goes on with cannot be met, and `check` says so; none of the others is called
/// so.
#[test]
fn headers_that_are_never_sent_never_match() {
    let removed = [
        "X-Envoy-Internal",
        "x-envoy-retry-on",
        "x-envoy-upstream-service-time",
        "x-envoy-unheard-of",
        "X-Forwarded-Client-Cert",
        "keep-alive",
        "Proxy-Connection",
        "transfer-encoding",
    ];
    let sent = [
        "x-envoy-external-address",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-request-id",
        "connection",
        "upgrade",
        "te",
        "expect",
        "content-length",
        "x-a",
    ];
    let rule = |condition: &str| {
        let http = format!("[{{match: [{{{condition}}}], route: [{{destination: {{host: a}}}}]}}]");
        compiled(&(gateway("g", 80, "['*']") + &virtual_service("v", "['*']", "[g]", &http) + SERVICE_A))
    };
    for name in removed {
        for (condition, so, found) in [
            (format!("headers: {{{name}: {{exact: a}}}}"), "never matches", false),
            (format!("headers: {{{name}: {{}}}}"), "never matches", false),
            (format!("withoutHeaders: {{{name}: {{exact: a}}}}"), "always holds", true),
            (format!("withoutHeaders: {{{name}: {{}}}}"), "always holds", true),
            (format!("withoutHeaders: {{{name}: {{exact: ''}}}}"), "never holds", false),
        ] {
            let (plan, problems) = rule(&condition);
            assert_eq!(goes(&plan, "GET", "h", "/", &[&format!("{name}: a")]) != ["404"], found, "{condition}");
            let what = format!(
                "[{name}]: warning: \"{name}\" is removed from what clients send before rules are tried: this {so}"
            );
            assert!(problems.iter().any(|problem| problem.contains(&what)), "{condition}: {problems:#?}");
        }
    }
    for name in sent {
        let (_, problems) =
            rule(&format!("headers: {{{name}: {{exact: a}}}}, withoutHeaders: {{{name}: {{exact: b}}}}"));
        assert!(!problems.iter().any(|problem| problem.contains("is removed")), "{name}: {problems:#?}");
    }
}

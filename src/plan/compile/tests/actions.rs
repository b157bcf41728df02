//! What rules do: rewrites, redirects, direct responses, header operations, CORS.

use super::*;
use crate::plan::{Action, Destination, Edits, HeaderEdits, PathRewrite, RedirectPath, Route, UnmatchedPreflights};

/// The routes of the only virtual host of the only Gateway, on port 80, for a VirtualService with these rules.
fn routes(http: &str) -> Vec<Route> {
    let yaml = gateway("g", 80, "['*']") + &virtual_service("v", "['*']", "[g]", http) + SERVICE_A;
    tables(&plan(&yaml), 0)[0].virtual_hosts[0].routes().to_vec()
}

fn problems(http: &str) -> Vec<String> {
    compiled(&(gateway("g", 80, "['*']") + &virtual_service("v", "['*']", "[g]", http) + SERVICE_A)).1
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn what_a_rewrite_replaces_depends_on_the_match() {
    let rewrite = |matching: &str| {
        let http = format!("[{{{matching} rewrite: {{uri: /new}}, route: [{{destination: {{host: a}}}}]}}]");
        let of = |route: &Route| match &route.action {
            Action::Forward(forward) => match &forward.rewrite {
                Some(PathRewrite::Prefix { matched, with }) => format!("{matched} -> {}", text(with)),
                Some(PathRewrite::Whole(with)) => format!("all -> {}", text(with)),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        routes(&http).iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(rewrite(""), ["1 -> /new"]);
    assert_eq!(rewrite("match: [{method: {exact: GET}}],"), ["1 -> /new"]);
    assert_eq!(rewrite("match: [{uri: {}}],"), ["1 -> /new"]);
    assert_eq!(
        rewrite("match: [{uri: {prefix: /old}}, {uri: {exact: /old}}, {uri: {regex: '/o.*'}}, {uri: {prefix: ''}}],"),
        ["4 -> /new", "all -> /new", "all -> /new", "0 -> /new"]
    );
    assert_eq!(rewrite("match: [{uri: {prefix: /OLD/}, ignoreUriCase: true}],"), ["5 -> /new"]);
}

#[test]
fn regex_rewrites() {
    let rule = |pattern: &str, with: &str| {
        format!(
            "[{{rewrite: {{uriRegexRewrite: {{match: '{pattern}', rewrite: '{with}'}}}}, \
             route: [{{destination: {{host: a}}}}]}}]"
        )
    };
    let [route] = &routes(&rule("^/rgx/([^/]+)(/.*)$", r"/c\2/\1"))[..] else { panic!("one route") };
    let Action::Forward(forward) = &route.action else { panic!("{:?}", route.action) };
    let Some(PathRewrite::Regex { pattern, with }) = &forward.rewrite else { panic!("{:?}", forward.rewrite) };
    assert!(pattern.is_match(b"/rgx/v1/api") && !pattern.is_match(b"/x/rgx/v1/api"));
    assert_eq!(with.len(), 4);
}

#[test]
fn redirects() {
    let redirect = |redirect: &str, matching: &str| {
        let http = format!("[{{{matching} redirect: {{{redirect}}}}}]");
        match &routes(&http)[0].action {
            Action::Redirect(redirect) => redirect.clone(),
            other => panic!("{other:?}"),
        }
    };
    let whole = redirect("uri: /new, authority: new.example.com", "match: [{uri: {prefix: /old}}],");
    assert_eq!(
        (whole.code, whole.authority.as_deref(), whole.scheme, whole.port),
        (301, Some("new.example.com"), None, None)
    );
    assert_eq!(whole.path, Some(RedirectPath::Whole(b"/new"[..].into())));
    let prefix = redirect("prefixRewrite: /new, redirectCode: 308", "match: [{uri: {prefix: /old}}],");
    assert_eq!(prefix.path, Some(RedirectPath::Prefix { matched: 4, with: b"/new"[..].into() }));
    assert_eq!(prefix.code, 308);
    assert_eq!(redirect("authority: a.com", "").path, None);
    for (ports, scheme, port) in [
        ("port: 8443, scheme: https", Some("https"), Some(8443)),
        ("port: 443, scheme: https", Some("https"), None),
        ("port: 80, scheme: https", Some("https"), Some(80)),
        ("port: 80", None, None),
        ("port: 443", None, Some(443)),
        ("derivePort: FROM_PROTOCOL_DEFAULT, scheme: https", Some("https"), None),
        ("derivePort: FROM_REQUEST_PORT", None, None),
        ("derivePort: FROM_REQUEST_PORT, scheme: https", Some("https"), Some(80)),
    ] {
        let found = redirect(ports, "");
        assert_eq!((found.scheme, found.port), (scheme, port), "{ports}");
    }
}

#[test]
fn direct_responses() {
    let direct = |direct: &str| match &routes(&format!("[{{directResponse: {{{direct}}}}}]"))[0].action {
        Action::Direct(direct) => (direct.status, text(&direct.body).to_owned()),
        other => panic!("{other:?}"),
    };
    assert_eq!(direct("status: 503, body: {string: 'closed'}"), (503, "closed".to_owned()));
    assert_eq!(direct("status: 200, body: {bytes: aGVsbG8=}"), (200, "hello".to_owned()));
    assert_eq!(direct("status: 204"), (204, String::new()));
}

/// `-removed, =set: value, +added: value` in the order in which they are kept.
fn written(edits: &Edits) -> String {
    let value = |sign: &str, (name, value): &(crate::plan::HeaderName, crate::plan::Template)| match value.constant() {
        Some(value) => format!("{sign}{name}: {}", text(value)),
        None => format!("{sign}{name}: ({} parts)", value.operators().len()),
    };
    let remove = edits.remove.iter().map(|name| format!("-{name}"));
    let set = edits.set.iter().map(|pair| value("=", pair));
    remove.chain(set).chain(edits.add.iter().map(|pair| value("+", pair))).collect::<Vec<_>>().join(", ")
}

fn destinations(route: &Route) -> Vec<&Destination> {
    match &route.action {
        Action::Forward(forward) => forward.destinations.iter().collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn header_operations_of_route_and_destinations() {
    let http = "
  - headers:
      request: {set: {X-B: route, x-a: '%REQ(host)% 100%%'}, add: {x-c: c}, remove: [X-Gone, x-also]}
      response: {set: {x-r: r}}
    route:
    - destination: {host: a}
      weight: 1
      headers: {request: {set: {x-b: own, x-c: own}}, response: {remove: [server]}}
    - {destination: {host: a, subset: none}, weight: 1}
    corsPolicy: {}
";
    let [route] = &routes(http)[..] else { panic!("one route") };
    let of_route = "-x-also, -x-gone, =x-b: route, =x-a: (2 parts), +x-c: c";
    assert_eq!(written(&route.headers.request), of_route);
    let [first, second] = destinations(route)[..] else { panic!("two destinations") };
    assert_eq!(written(&first.headers.request), "-x-also, -x-gone, =x-a: (2 parts), =x-b: own, =x-c: own");
    assert_eq!(written(&first.headers.response), "-server, =x-r: r");
    assert_eq!(written(&second.headers.request), of_route);
    assert_eq!(second.headers, route.headers);
}

#[test]
fn the_host_is_rewritten_by_four_fields() {
    let authority = |rule: &str, destination: &str| {
        let http = format!("[{{{rule} route: [{{destination: {{host: a}}, {destination}}}]}}]");
        let routes = routes(&http);
        assert_eq!(written(&routes[0].headers.request), "");
        let destination = destinations(&routes[0])[0];
        assert_eq!(destination.headers, HeaderEdits::default());
        destination.authority.clone()
    };
    let rewrite = "rewrite: {authority: rewrite.com},";
    let rule = "headers: {request: {set: {Host: rule.com}}},";
    let destination = "headers: {request: {add: {':authority': destination.com}}}";
    assert_eq!(authority("", "").as_deref(), None);
    assert_eq!(authority("", destination).as_deref(), Some("destination.com"));
    assert_eq!(authority(rule, destination).as_deref(), Some("rule.com"));
    assert_eq!(authority(rewrite, destination).as_deref(), Some("rewrite.com"));
}

#[test]
fn what_cannot_be_written_to_a_header_is_told() {
    let said = |headers: &str| {
        let http = format!("[{{headers: {{request: {{{headers}}}}}, route: [{{destination: {{host: a}}}}]}}]");
        let problems = problems(&http);
        let place = "t.yaml:16: VirtualService/default/v: spec.http[0].headers.request.";
        problems.iter().map(|problem| problem.replace(place, "")).collect::<Vec<_>>()
    };
    for (headers, expected) in [
        (
            "set: {Content-Length: '3'}",
            "set[Content-Length]: note: \"Content-Length\" is written by ringway itself, since it says where a message ends, so \
             this has no effect (leave it out)",
        ),
        (
            "add: {keep-alive: x}",
            "add[keep-alive]: note: \"keep-alive\" is written by ringway itself, since it says where a message ends, so this has \
             no effect (leave it out)",
        ),
        (
            "remove: [connection]",
            "remove[0]: note: \"connection\" is written by ringway itself, so removing it has no effect (leave it out)",
        ),
        (
            "add: {x: '%TRACE_ID%'}",
            "add[x]: error: \"%TRACE_ID%\" has the command \"%TRACE_ID%\", which is not enforced",
        ),
        (
            "add: {x: '%NONSENSE%'}",
            "add[x]: error: \"%NONSENSE%\" has the command \"%NONSENSE%\", which is none of Envoy's",
        ),
        (
            "set: {x: ''}",
            "set[x]: warning: is empty, and a header without a value is not written (write it under \"remove\" to have \
             none)",
        ),
    ] {
        assert_eq!(said(headers), [expected], "{headers}");
    }
}

#[test]
fn names_that_differ_in_case_are_one() {
    let http = "[{headers: {request: {set: {X-A: upper, x-a: lower}}}, route: [{destination: {host: a}}]}]";
    assert_eq!(written(&routes(http)[0].headers.request), "=x-a: lower");
}

#[test]
fn cors_policies() {
    let http = "
  - corsPolicy:
      allowOrigins: [{exact: 'https://a.com'}, {prefix: 'https://b.'}, {regex: 'https://.*[.]c[.]com'}]
      allowMethods: [GET, POST]
      allowHeaders: [X-A, X-B]
      exposeHeaders: [X-C]
      maxAge: 24h
      allowCredentials: true
      unmatchedPreflights: IGNORE
    route: [{destination: {host: a}}]
";
    let [route] = &routes(http)[..] else { panic!("one route") };
    let cors = route.cors.as_ref().expect("a policy");
    for (origin, allowed) in
        [("https://a.com", true), ("https://b.org", true), ("https://x.c.com", true), ("https://a.com.evil", false)]
    {
        assert_eq!(cors.allow_origins.iter().any(|pattern| pattern.matches(origin.as_bytes())), allowed, "{origin}");
    }
    assert_eq!((&*cors.allow_methods, &*cors.allow_headers, &*cors.expose_headers), ("GET,POST", "X-A,X-B", "X-C"));
    assert_eq!((cors.max_age, cors.allow_credentials), (Some(86400), true));
    assert_eq!(cors.unmatched_preflights, UnmatchedPreflights::Ignore);
    assert!(routes("[{route: [{destination: {host: a}}]}]")[0].cors.is_none());
}

#[test]
fn a_prefix_of_its_own_for_statistics() {
    let http =
        "[{match: [{statPrefix: api, uri: {prefix: /api}}, {uri: {prefix: /x}}], route: [{destination: {host: a}}]}]";
    let prefixes: Vec<_> = routes(http).iter().map(|route| Some(route.stat_prefix.clone()?.name)).collect();
    assert_eq!(prefixes, [Some("api".into()), None]);
}

//! `httpsRedirect` of Gateway servers: which hosts it is for, whoever's rules they have.

use super::{gateway, plan, virtual_service};
use crate::base::id::ListenerId;
use crate::base::rng::Rng;
use crate::plan::tests::Sample;
use crate::plan::{Decision, Plan};

const RULE: &str = "[{directResponse: {status: 204}}]";

fn redirecting(name: &str, port: u16, hosts: &str) -> String {
    gateway(name, port, hosts) + "    tls: {httpsRedirect: true}\n"
}

/// What a request by plain HTTP meets: the server that redirects it, or an answer.
fn meets(plan: &Plan, listener: u32, authority: &str) -> String {
    let sample = Sample::get(authority, "/", &[]);
    match plan.route(ListenerId(listener), &sample.request(), &mut Rng::seeded(1)) {
        Decision::HttpsRedirect { server } => format!("{}: {}[{:?}]", server.resource, server.list, server.rule),
        Decision::Direct { direct, .. } => direct.status.to_string(),
        Decision::NotFound => "404".to_owned(),
        other => panic!("{other:?} was not asked for"),
    }
}

#[test]
fn every_host_of_the_server_and_no_other() {
    let plan = plan(
        &(redirecting("g", 80, "['*.a.com', b.com, 'shop/c.com', 10.0.0.1, '::1']")
            + &gateway("other", 80, "[x.a.com, d.com]")
            + &gateway("elsewhere", 81, "['*']")
            + &virtual_service("v", "[y.a.com, b.com]", "[g]", RULE)
            + &virtual_service("w", "['*']", "[other, elsewhere]", RULE)),
    );
    let server = "Gateway/default/g: servers[Some(0)]";
    for (authority, expected) in [
        ("y.a.com", server),
        ("z.a.com:8080", server),
        ("B.com", server),
        ("c.com", server),
        ("10.0.0.1", server),
        ("[::1]:80", server),
        ("a.com", "404"),
        ("e.com", "404"),
        // Rules of another Gateway's server that does not redirect, for a narrower host.
        ("x.a.com", "204"),
        ("d.com", "204"),
    ] {
        assert_eq!(meets(&plan, 0, authority), expected, "{authority}");
    }
    for authority in ["y.a.com", "b.com"] {
        assert_eq!(meets(&plan, 1, authority), "204", "{authority} on another port");
    }
}

/// Of one host the redirect counts, whichever server was first (Istio's `buildGatewayHTTPRouteConfig`).
#[test]
fn a_host_of_two_servers_is_redirected() {
    let (plain, secure) = (gateway("plain", 80, "[a.com]"), redirecting("secure", 80, "['*.com', a.com]"));
    let rules = virtual_service("v", "[a.com, b.com]", "[plain, secure]", RULE);
    for yaml in [format!("{plain}{secure}{rules}"), format!("{secure}{plain}{rules}")] {
        let plan = plan(&yaml);
        for authority in ["a.com", "b.com", "c.com"] {
            assert_eq!(meets(&plan, 0, authority), "Gateway/default/secure: servers[Some(0)]", "{authority}");
        }
    }
}

/// The redirect is for plain HTTP: what comes by TLS meets the rules.
#[test]
fn https_is_not_redirected() {
    let plan = plan(&(redirecting("g", 80, "[a.com]") + &virtual_service("v", "[a.com]", "[g]", RULE)));
    let sample = Sample::get("a.com", "/", &[]);
    let request = crate::plan::Request { scheme: b"https", ..sample.request() };
    let decision = plan.route(ListenerId(0), &request, &mut Rng::seeded(1));
    assert!(matches!(decision, Decision::Direct { .. }), "{decision:?}");
}

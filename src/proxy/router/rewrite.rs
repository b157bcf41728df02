//! New paths: for the upstream (`rewrite`) and for the client (`redirect`). Pure; it allocates nothing once its buffers
//! have grown. `explain` uses it too, so that it shows what will be sent.

use std::collections::HashMap;

use regex::bytes::CaptureLocations;

use crate::base::re2::Regex;
use crate::plan::{Decision, PathRewrite, Piece, Redirect, RedirectPath};

/// Room for the groups of the rewriting regexes of one core, made once for each.
#[derive(Debug, Default)]
pub struct Captures(HashMap<Box<str>, CaptureLocations, foldhash::fast::RandomState>);

impl Captures {
    /// More regexes than this in use at once are not expected; then room is made anew.
    const MOST: usize = 1024;

    fn with(&mut self, regex: &Regex, search: impl FnOnce(&mut CaptureLocations)) {
        if let Some(groups) = self.0.get_mut(regex.as_str()) {
            return search(groups);
        }
        let mut groups = regex.capture_locations();
        search(&mut groups);
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        self.0.insert(regex.as_str().into(), groups);
    }
}

/// Appends the rewritten `target`, of which the first `path` bytes are the path and the rest is the query with its `?`,
/// or empty. The query is unchanged.
pub fn path(rewrite: &PathRewrite, target: &[u8], path: usize, captures: &mut Captures, out: &mut Vec<u8>) {
    let (path, query) = target.split_at_checked(path).unwrap_or((target, &[]));
    match rewrite {
        PathRewrite::Prefix { matched, with } => {
            let rest = path.get(*matched..).unwrap_or_default();
            if with.is_empty() && !rest.starts_with(b"/") {
                out.push(b'/');
            }
            out.extend_from_slice(with);
            out.extend_from_slice(rest);
        }
        PathRewrite::Whole(with) => out.extend_from_slice(with),
        PathRewrite::Regex { pattern, with } => {
            captures.with(pattern, |groups| replace_all(pattern, with, path, groups, out));
        }
    }
    out.extend_from_slice(query);
}

/// RE2's `GlobalReplace`: every match from left to right; an empty one right behind another does not count.
fn replace_all(pattern: &Regex, with: &[Piece], text: &[u8], groups: &mut CaptureLocations, out: &mut Vec<u8>) {
    let (mut at, mut last) = (0, None);
    while let Some(found) = pattern.captures_read_at(groups, text, at) {
        out.extend_from_slice(text.get(at..found.start()).unwrap_or_default());
        if found.is_empty() && last == Some(found.start()) {
            let Some(byte) = text.get(found.start()) else { return };
            out.push(*byte);
            at = found.start() + 1;
            continue;
        }
        for piece in with {
            match piece {
                Piece::Literal(literal) => out.extend_from_slice(literal),
                Piece::Group(group) => {
                    let (start, end) = groups.get(*group).unwrap_or_default();
                    out.extend_from_slice(text.get(start..end).unwrap_or_default());
                }
            }
        }
        at = found.end();
        last = Some(at);
    }
    out.extend_from_slice(text.get(at..).unwrap_or_default());
}

/// Where a request was going, as far as a redirect goes by it.
#[derive(Debug, Clone, Copy)]
pub struct Destined<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host and port, as sent.
    pub authority: &'a [u8],
    /// Path and query.
    pub target: &'a [u8],
    /// How much of it is the path.
    pub path: usize,
}

/// Appends the `Location` of a Gateway server's `httpsRedirect`: the URL as requested, the port of its authority
/// included, with `https` (Envoy's `createSslRedirectPath`).
pub fn https_location(was: &Destined<'_>, out: &mut Vec<u8>) {
    for part in [b"https://", was.authority, was.target] {
        out.extend_from_slice(part);
    }
}

/// Whether a decision redirects the client at the host of its request: without a host there is no valid location.
#[must_use]
pub fn needs_host(decision: &Decision<'_>) -> bool {
    match decision {
        Decision::HttpsRedirect { .. } => true,
        Decision::Redirect { redirect, .. } => redirect.authority.is_none(),
        Decision::NotFound | Decision::Direct { .. } | Decision::Forward { .. } | Decision::Passthrough { .. } => false,
    }
}

/// Appends the `Location` of a redirect, as Envoy builds it.
pub fn location(redirect: &Redirect, was: &Destined<'_>, out: &mut Vec<u8>) {
    let scheme = redirect.scheme.unwrap_or(was.scheme);
    out.extend_from_slice(scheme.as_bytes());
    out.extend_from_slice(b"://");
    match &redirect.authority {
        Some(authority) => out.extend_from_slice(authority.as_bytes()),
        None => out.extend_from_slice(host(was, scheme, redirect.port.is_some())),
    }
    if let Some(port) = redirect.port {
        out.push(b':');
        out.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
    }
    let (path, query) = was.target.split_at_checked(was.path).unwrap_or((was.target, &[]));
    match &redirect.path {
        None => out.extend_from_slice(was.target),
        Some(RedirectPath::Whole(with)) => {
            if !with.starts_with(b"/") {
                out.push(b'/');
            }
            out.extend_from_slice(with);
            if !with.contains(&b'?') {
                out.extend_from_slice(query);
            }
        }
        Some(RedirectPath::Prefix { matched, with }) => {
            out.extend_from_slice(with);
            out.extend_from_slice(path.get(*matched..).unwrap_or_default());
            out.extend_from_slice(query);
        }
    }
}

/// The request's host. Its port goes if another one is written, or if it was the old scheme's and the scheme changes.
fn host<'a>(was: &Destined<'a>, scheme: &str, other_port: bool) -> &'a [u8] {
    let authority = was.authority;
    let colon = authority.iter().rposition(|byte| matches!(byte, b':' | b']'));
    let Some((host, port)) = colon.and_then(|at| authority.split_at_checked(at)) else { return authority };
    let implied: &[u8] = if was.scheme == "https" { b":443" } else { b":80" };
    let drops = other_port || (scheme != was.scheme && port == implied);
    if port.starts_with(b":") && drops { host } else { authority }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::re2;

    fn rewritten(rewrite: &PathRewrite, target: &str) -> String {
        let (mut captures, mut out) = (Captures::default(), b"|".to_vec());
        let query = target.find('?').unwrap_or(target.len());
        path(rewrite, target.as_bytes(), query, &mut captures, &mut out);
        String::from_utf8(out).expect("text")
    }

    /// The rows of behaviour.md 3.8, as Envoy rewrites them.
    #[test]
    fn paths_for_the_upstream() {
        let prefix = |matched, with: &str| PathRewrite::Prefix { matched, with: with.as_bytes().into() };
        let whole = |with: &str| PathRewrite::Whole(with.as_bytes().into());
        for (rewrite, target, expected) in [
            (prefix(4, "/"), "/rw/a/b?x=1", "|/a/b?x=1"),
            (prefix(3, "/"), "/rw/foo", "|//foo"),
            (prefix(3, "/"), "/rwfoo", "|/foo"),
            (prefix(3, "/"), "/rw", "|/"),
            (prefix(2, "/x/y"), "/abz?q", "|/x/ybz?q"),
            (prefix(1, "/v1"), "/x", "|/v1x"),
            (prefix(9, "/v1"), "/x?", "|/v1?"),
            // An empty prefix, which Istio does not allow, and people write as a blank.
            (prefix(4, ""), "/api/x?a", "|/x?a"),
            (prefix(5, ""), "/api/x", "|/x"),
            (prefix(4, ""), "/api?a", "|/?a"),
            (whole("/repl"), "/rwexact?z=1", "|/repl?z=1"),
            (whole("/repl"), "/rr/abc", "|/repl"),
        ] {
            assert_eq!(rewritten(&rewrite, target), expected, "{rewrite:?} of {target}");
        }
    }

    fn regex(pattern: &str, with: &str) -> PathRewrite {
        let mut pieces = Vec::new();
        let mut rest = with.chars();
        while let Some(c) = rest.next() {
            pieces.push(match c {
                '\\' => Piece::Group(rest.next().and_then(|c| c.to_digit(10)).expect("a group") as usize),
                c => Piece::Literal(c.to_string().into_bytes().into()),
            });
        }
        PathRewrite::Regex { pattern: Box::new(re2::search(pattern).expect("a regex")), with: pieces.into() }
    }

    #[test]
    fn every_match_is_replaced_and_the_query_stays() {
        for (pattern, with, target, expected) in [
            (r"^/rgx/([^/]+)(/.*)$", r"/c\2/\1", "/rgx/v1/api?x=/rgx/9", "|/c/api/v1?x=/rgx/9"),
            ("a", "b", "/aXaa?a", "|/bXbb?a"),
            ("x*", "-", "/abc", "|-/-a-b-c-"),
            ("x*", "-", "/xab", "|-/-a-b-"),
            ("", "-", "/a", "|-/-a-"),
            ("(a)|(b)", r"[\1\2\0]", "/ab", "|/[aa][bb]"),
            ("nothing", "x", "/a?b", "|/a?b"),
            ("(a)", r"\9", "/a", "|/"),
            ("$", "/end", "/a?b", "|/a/end?b"),
        ] {
            assert_eq!(rewritten(&regex(pattern, with), target), expected, "{pattern} to {with} of {target}");
        }
    }

    #[test]
    fn room_for_groups_is_each_regexs_own() {
        let (mut captures, mut out) = (Captures::default(), Vec::new());
        let (few, many) = (regex("(b)", r"\1\1"), regex("(a)(b)(c)", r"\3\2\1"));
        for rewrite in [&few, &many, &few] {
            path(rewrite, b"/abc", 4, &mut captures, &mut out);
        }
        assert_eq!(String::from_utf8_lossy(&out), "/abbc/cba/abbc");
        assert_eq!(captures.0.len(), 2);
    }

    const TO: Redirect = Redirect { scheme: None, authority: None, port: None, path: None, code: 301 };

    fn sent_to(redirect: &Redirect, scheme: &str, authority: &str, target: &str) -> String {
        let path = target.find('?').unwrap_or(target.len());
        let was = Destined { scheme, authority: authority.as_bytes(), target: target.as_bytes(), path };
        let mut out = Vec::new();
        location(redirect, &was, &mut out);
        String::from_utf8(out).expect("text")
    }

    /// Every row was tried on Envoy 1.40.
    #[test]
    fn locations() {
        let whole = |path: &str| Redirect { path: Some(RedirectPath::Whole(path.as_bytes().into())), ..TO };
        let to = |authority: &str| Redirect { authority: Some(authority.into()), ..TO };
        let https = || Redirect { scheme: Some("https"), ..TO };
        let prefix = RedirectPath::Prefix { matched: 4, with: (*b"/n/").into() };
        for (redirect, authority, target, expected) in [
            (whole("/new"), "foo.com:8080", "/p?a=b", "http://foo.com:8080/new?a=b"),
            (whole("/new"), "foo.com:80", "/p", "http://foo.com:80/new"),
            (whole("/new?y=2"), "foo.com", "/p?a=b", "http://foo.com/new?y=2"),
            (whole("rel"), "foo.com", "/p?a=b", "http://foo.com/rel?a=b"),
            (to("h"), "foo.com:8080", "/p?a=b", "http://h/p?a=b"),
            (Redirect { port: Some(8443), ..TO }, "foo.com:8080", "/p", "http://foo.com:8443/p"),
            (Redirect { port: Some(8443), ..TO }, "foo.com", "/p", "http://foo.com:8443/p"),
            (Redirect { port: Some(8443), ..TO }, "[::1]:80", "/p", "http://[::1]:8443/p"),
            (Redirect { port: Some(8443), ..TO }, "[::1]", "/p", "http://[::1]:8443/p"),
            (https(), "foo.com:8080", "/p", "https://foo.com:8080/p"),
            (https(), "foo.com:80", "/p", "https://foo.com/p"),
            (https(), "[::1]:80", "/p", "https://[::1]/p"),
            (https(), "Foo.COM:443", "/p", "https://Foo.COM:443/p"),
            (Redirect { scheme: Some("http"), ..TO }, "foo.com:80", "/p", "http://foo.com:80/p"),
            (Redirect { path: Some(prefix), ..TO }, "foo.com", "/p7/rest?a=b", "http://foo.com/n/rest?a=b"),
            (Redirect { scheme: Some("https"), ..to("h:80") }, "foo.com", "/p", "https://h:80/p"),
            (Redirect { port: Some(77), ..to("h") }, "foo.com", "/p", "http://h:77/p"),
        ] {
            assert_eq!(sent_to(&redirect, "http", authority, target), expected, "{redirect:?} {authority}");
        }
        let http = Redirect { scheme: Some("http"), ..TO };
        assert_eq!(sent_to(&http, "https", "a:443", "/"), "http://a/");
    }

    /// Unlike a rule's redirect to `https` it keeps port 80.
    #[test]
    fn locations_of_https_redirect() {
        for (authority, target, expected) in [
            ("foo.com", "/", "https://foo.com/"),
            ("foo.com:8080", "/p?a=b", "https://foo.com:8080/p?a=b"),
            ("Foo.COM:80", "/p?", "https://Foo.COM:80/p?"),
            ("[::1]:80", "/%41?x=//y", "https://[::1]:80/%41?x=//y"),
        ] {
            let was = Destined { scheme: "http", authority: authority.as_bytes(), target: target.as_bytes(), path: 1 };
            let mut out = Vec::new();
            https_location(&was, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}

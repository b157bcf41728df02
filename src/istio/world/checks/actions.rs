//! Actions that cannot do what they say: new paths, new hosts and responses that do not come out as written.

use crate::base::re2;
use crate::istio::grammar::{Authority, Condition, Intersection, Path, allows};
use crate::istio::model::gateway::Serves;
use crate::istio::model::scalar::StringMatch;
use crate::istio::model::virtual_service::{
    CorsPolicy, DirectResponse, HttpRoute, PathRewrite, RedirectPath, RedirectPort, Rewrite, VirtualService,
};

use super::wording::{Subject, looks_like_a_pattern, shown};
use super::{Checks, rule_path};

/// The advice for a reference to a group where there is none.
const GROUPS: &str = "write \"uriRegexRewrite\", whose \"rewrite\" has \\1 for the first group";

impl<'a> Checks<'a> {
    pub(super) fn actions(&mut self) {
        for service in &self.world.virtual_services {
            for route in &service.http {
                if let Some(rewrite) = &route.rewrite {
                    self.rewrite(service, route, rewrite);
                }
                if let Some(direct) = &route.direct_response {
                    self.direct_response(service, route, direct);
                }
                if let Some(policy) = &route.cors_policy {
                    self.origins(service, route, policy);
                }
                self.redirect(service, route);
                self.hosts_written(service, route);
            }
        }
    }

    /// `rewrite`.
    fn rewrite(&mut self, service: &VirtualService, route: &HttpRoute, rewrite: &'a Rewrite) {
        let path = format!("{}.rewrite", rule_path(route));
        if let Some(authority) = &rewrite.authority {
            self.authority(service, &format!("{path}.authority"), authority, "the upstream is asked for host ");
        }
        match &rewrite.path {
            Some(PathRewrite::Matched(with)) => self.matched(service, route, &format!("{path}.uri"), with),
            Some(PathRewrite::Regex { pattern, substitution }) => {
                self.substituted(service, &format!("{path}.uriRegexRewrite"), pattern, substitution);
            }
            None => {}
        }
    }

    /// `rewrite.uri`: text that replaces the matched part.
    fn matched(&mut self, service: &VirtualService, route: &HttpRoute, path: &str, with: &str) {
        let mut regexes = route.matches.iter().filter_map(|block| match &block.uri {
            Some(StringMatch::Regex(regex)) => Some(regex),
            _ => None,
        });
        let regex = regexes.next();
        if with.trim().is_empty() {
            let what = "a blank stands for nothing: what was matched is taken out of the path".to_owned();
            return self.note(
                service,
                path,
                what,
                "Envoy puts the blank into the request line, which strict servers refuse",
            );
        }
        if let Some(group) = group(with) {
            let what = format!("\"{group}\" is text here: the upstream gets it as it is");
            return match regex {
                Some(_) => self.warn(service, path, what, GROUPS),
                None if group.starts_with('\\') => self.warn(service, path, what, GROUPS),
                None => self.note(service, path, what, GROUPS),
            };
        }
        if !with.starts_with('/') {
            let what = format!(
                "a path begins with \"/\", and \"{}\" does not: many servers refuse it",
                shown(with.as_bytes())
            );
            let instead = match with.contains("://") {
                true => "write the path alone; the host is written by \"authority\"".to_owned(),
                false => format!("write \"/{with}\""),
            };
            return self.warn(service, path, what, instead);
        }
        if let Some((what, instead)) = with_blank(with, SPLITS) {
            return self.warn(service, path, what, instead);
        }
        if with.contains('?') {
            let what = "a request's own query is put behind this one, with a \"?\" of its own".to_owned();
            self.note(service, path, what, "write the path alone");
        }
        if regex.is_some() {
            let what =
                format!("stands for the whole path that a regex matched: it becomes \"{with}\", whatever it was");
            self.note(service, path, what, "to replace a part of it write \"uriRegexRewrite\"");
        }
    }

    /// `rewrite.uriRegexRewrite`.
    fn substituted(&mut self, service: &VirtualService, path: &str, pattern: &'a str, substitution: &str) {
        let with = format!("{path}.rewrite");
        if let Some(group) = group(substitution).filter(|group| group.starts_with('$')) {
            let what = format!("\"{group}\" is text: the upstream gets it as it is");
            let number = group.trim_matches(['$', '{', '}']);
            return self.warn(service, &with, what, format!("write \"\\{number}\""));
        }
        let condition = Condition::Search(pattern);
        if let Some((why, instead)) = self.never_holds(&condition, Subject::Path, 0, None) {
            let what = format!("{why}: nothing is ever replaced");
            let instead = if instead.contains("queryParams") { "leave it out".to_owned() } else { instead };
            return self.warn(service, &format!("{path}.match"), what, instead);
        }
        if let Some((what, instead)) = with_blank(substitution, SPLITS) {
            return self.warn(service, &with, what, instead);
        }
        // A substitution that begins with a slash keeps the path's slash or replaces it.
        if substitution.starts_with('/') {
            return;
        }
        let form = Path(self.world.proxy.mesh_config.path_normalization);
        let Intersection::Value(example) = self.expressions.meets(&condition, Subject::Path, 0, &form) else { return };
        if let Some((from, to)) = without_slash(pattern, substitution, &example) {
            let what = format!("a path begins with \"/\": \"{}\" becomes \"{}\"", shown(&from), shown(&to));
            self.warn(service, &with, what, format!("write \"/{substitution}\""));
        }
    }

    fn direct_response(&mut self, service: &VirtualService, route: &HttpRoute, direct: &DirectResponse) {
        let path = format!("{}.directResponse", rule_path(route));
        if matches!(direct.status, 204 | 205 | 304) && !direct.body.is_empty() {
            let what = format!("an answer with status {} has no body: this one is not sent", direct.status);
            self.warn(service, &format!("{path}.body"), what, "write another status, or no body");
        }
        let edits = route.headers.as_ref().map(|headers| &headers.response);
        let written = edits.is_some_and(|edits| {
            edits.set.iter().chain(&edits.add).any(|(name, _)| name.eq_ignore_ascii_case("location"))
        });
        if matches!(direct.status, 301 | 302 | 303 | 307 | 308) && !written {
            let what = "sends clients to where they are already, as its \"location\" says".to_owned();
            self.warn(service, &format!("{path}.status"), what, "write \"redirect\"");
        }
    }

    /// `authority`, and header operations that write a Host.
    fn authority(&mut self, service: &VirtualService, path: &str, text: &str, so: &str) {
        let anyone = ["*".to_owned()];
        if !text.contains('*') && allows(&Authority(&anyone), text.as_bytes()) {
            return;
        }
        let what = format!("is a host, and perhaps a port: {so}{}", shown(text.as_bytes()));
        let instead = match text.split_once("://") {
            Some((_, rest)) if !rest.is_empty() => {
                format!("write \"{}\"", rest.split('/').next().unwrap_or_default())
            }
            _ => "write neither scheme nor path, nor a pattern".to_owned(),
        };
        self.warn(service, path, what, instead);
    }

    /// Headers that write the Host.
    fn hosts_written(&mut self, service: &VirtualService, route: &HttpRoute) {
        let own = route.headers.iter().map(|headers| (format!("{}.headers", rule_path(route)), headers));
        let theirs = route.route.iter().enumerate().filter_map(|(index, to)| {
            Some((format!("{}.route[{index}].headers", rule_path(route)), to.headers.as_ref()?))
        });
        for (path, headers) in own.chain(theirs) {
            for (kind, pairs) in [("set", &headers.request.set), ("add", &headers.request.add)] {
                let is_host = |name: &str| name.eq_ignore_ascii_case("host") || name == ":authority";
                // The value of an operator is known only at a request.
                for (name, value) in pairs.iter().filter(|(name, value)| is_host(name) && !value.contains('%')) {
                    let path = format!("{path}.request.{kind}[{name}]");
                    self.authority(service, &path, value, "the upstream is asked for host ");
                }
            }
        }
    }

    /// `corsPolicy.allowOrigins`, also together with credentials.
    fn origins(&mut self, service: &VirtualService, route: &HttpRoute, policy: &'a CorsPolicy) {
        let path = format!("{}.corsPolicy", rule_path(route));
        let list = match service.meta.source.has(&format!("{path}.allowOrigins[0]")) {
            true => "allowOrigins",
            false => "allowOrigin",
        };
        for (index, origin) in policy.allow_origins.iter().enumerate() {
            let at = format!("{path}.{list}[{index}]");
            let condition = match origin {
                StringMatch::Present => continue,
                StringMatch::Exact(text) => Condition::Exact(text, false),
                StringMatch::Prefix(text) => Condition::Prefix(text, false),
                StringMatch::Regex(text) if text == ".*" && policy.allow_credentials => {
                    let what = "every site may read what its visitors' credentials open here".to_owned();
                    self.warn(service, &at, what, "with \"allowCredentials\" list the origins that may");
                    continue;
                }
                StringMatch::Regex(text) => Condition::Regex(text),
            };
            if let Some((why, instead)) = self.never_holds(&condition, Subject::Origin, 0, None) {
                self.warn(service, &at, format!("{why}: this never matches"), instead);
            } else if let Some(instead) = looks_like_a_pattern(&condition, Subject::Origin) {
                let what = "is a beginning that no origin of a page has".to_owned();
                self.note(service, &at, what, instead);
            }
        }
        let lists = [
            ("allowMethods", &policy.allow_methods),
            ("allowHeaders", &policy.allow_headers),
            ("exposeHeaders", &policy.expose_headers),
        ];
        let everything = |names: &[String]| policy.allow_credentials && names.iter().any(|name| name == "*");
        for (field, _) in lists.into_iter().filter(|(_, names)| everything(names)) {
            let what = "beside \"allowCredentials\" browsers take \"*\" for a name, not for all".to_owned();
            self.warn(service, &format!("{path}.{field}"), what, "list the names");
        }
    }

    /// `redirect`.
    fn redirect(&mut self, service: &VirtualService, route: &HttpRoute) {
        let Some(redirect) = &route.redirect else { return };
        let path = format!("{}.redirect", rule_path(route));
        let host = service.hosts.iter().find(|host| !host.starts_with('*')).map_or("HOST", String::as_str);
        let scheme = redirect.scheme.as_deref().unwrap_or("http");
        if let Some(authority) = &redirect.authority {
            let at = format!("{path}.authority");
            self.authority(service, &at, authority, &format!("clients are sent to {scheme}://"));
            let has_port = authority.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
            if has_port && matches!(redirect.port, Some(RedirectPort::Number(_) | RedirectPort::FromRequest)) {
                let what = "has a port, and another one is put behind it".to_owned();
                self.warn(service, &at, what, "write the port in one place");
            }
        }
        match &redirect.path {
            Some(RedirectPath::Whole(with)) => {
                let at = format!("{path}.uri");
                let path_alone = with.split('?').next().unwrap_or_default();
                if path_alone.contains("://") || with.starts_with("//") {
                    let slash = if with.starts_with('/') { "" } else { "/" };
                    let host = redirect.authority.as_deref().unwrap_or(host);
                    let what = format!("is a path alone: clients are sent to {scheme}://{host}{slash}{with}");
                    self.warn(service, &at, what, in_parts(with));
                } else if let Some(group) = group(with) {
                    let what = format!("\"{group}\" is text here: clients are sent there as it is");
                    self.warn(
                        service,
                        &at,
                        what,
                        "a redirect knows no groups of a regex; \"prefixRewrite\" keeps the rest",
                    );
                } else if let Some((what, instead)) = with_blank(with, LOCATION_ENDS) {
                    self.warn(service, &at, what, instead);
                } else if !with.starts_with('/') {
                    let host = redirect.authority.as_deref().unwrap_or(host);
                    let what = format!("a \"/\" is put before it: clients are sent to {scheme}://{host}/{with}");
                    self.note(service, &at, what, format!("write \"/{with}\""));
                }
            }
            Some(RedirectPath::Prefix(with)) if !with.starts_with('/') => {
                let what = format!("is put right behind the host: clients are sent to {scheme}://{host}{with}...");
                let instead = if with.contains("://") { in_parts(with) } else { format!("write \"/{with}\"") };
                self.warn(service, &format!("{path}.prefixRewrite"), what, instead);
            }
            Some(RedirectPath::Prefix(with)) => {
                if let Some((what, instead)) = with_blank(with, LOCATION_ENDS) {
                    self.warn(service, &format!("{path}.prefixRewrite"), what, instead);
                }
            }
            _ => {}
        }
        let other = |port: RedirectPort| match (redirect.scheme.as_deref(), port) {
            (Some("https"), RedirectPort::Number(80)) => Some(("port", "80 is the port of plain HTTP")),
            (Some("http"), RedirectPort::Number(443)) => Some(("port", "443 is the port of HTTPS")),
            (Some("https"), RedirectPort::FromRequest) if self.speaks_plainly(service) => {
                Some(("derivePort", "the request's port speaks plain HTTP, to which clients are sent by https"))
            }
            _ => None,
        };
        if let Some((field, what)) = redirect.port.and_then(other) {
            self.warn(service, &format!("{path}.{field}"), what.to_owned(), "leave it out for the scheme's own port");
        }
    }

    /// Whether a VirtualService is for servers of plain HTTP alone.
    fn speaks_plainly(&self, service: &VirtualService) -> bool {
        !service.gateways.is_empty()
            && service.gateways.iter().all(|name| {
                self.gateways
                    .get(name)
                    .is_some_and(|served| served.gateway.servers.iter().all(|server| server.serves == Serves::Http))
            })
    }
}

/// The effect of a blank in the path of a request line.
const SPLITS: &str = "it goes on percent-encoded, and as it is from Envoy, where it splits the request line";

/// The effect of a blank in a `Location`.
const LOCATION_ENDS: &str = "clients may take what is before it for the whole";

/// The problem of a path with a blank, and the advice.
fn with_blank(path: &str, so: &str) -> Option<(String, String)> {
    let blank = path.chars().find(|c| matches!(c, ' ' | '\t'))?;
    let what = format!("\"{}\" has no place in a URL: {so}", shown(&[blank as u8]));
    let bare = path.trim_matches([' ', '\t']);
    let instead = match bare.is_empty() {
        true => "leave it out".to_owned(),
        false => format!("write \"{}\"", bare.replace(' ', "%20").replace('\t', "%09")),
    };
    Some((what, instead))
}

/// A reference to a group, as `\1`, `$1` or `${1}`.
fn group(text: &str) -> Option<&str> {
    text.match_indices(['\\', '$']).find_map(|(at, sign)| {
        let rest = text.get(at + 1..)?;
        let braced = sign == "$" && rest.starts_with('{');
        let digits = rest.trim_start_matches('{');
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let whole = if braced { digits[end..].starts_with('}').then_some(end + 2)? } else { end };
        (end > 0 && (braced || !rest.starts_with('{'))).then(|| text.get(at..at + 1 + whole))?
    })
}

/// A URL as the fields of a redirect.
fn in_parts(url: &str) -> String {
    let (scheme, rest) = url.split_once("//").unwrap_or(("", url));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = scheme.trim_end_matches(':').trim_start_matches('/');
    let scheme = if scheme.is_empty() { String::new() } else { format!("scheme: {scheme}, ") };
    let path = if path.is_empty() { "/" } else { path };
    format!("write {scheme}authority: {host}, uri: {path}")
}

/// An example of a path that loses its slash, and the result.
fn without_slash(pattern: &str, substitution: &str, example: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let regex = re2::search(pattern).ok()?;
    [example.to_vec(), [example, b"a"].concat()].into_iter().find_map(|from| {
        let mut found = regex.capture_locations();
        let whole = regex.captures_read_at(&mut found, &from, 0)?.range();
        let mut to = from.get(..whole.start)?.to_vec();
        let mut rest = substitution.bytes();
        while let Some(byte) = rest.next() {
            match (byte, if byte == b'\\' { rest.next() } else { None }) {
                (_, Some(digit @ b'0'..=b'9')) => {
                    let (start, end) = found.get(usize::from(digit - b'0')).unwrap_or_default();
                    to.extend_from_slice(from.get(start..end)?);
                }
                (_, Some(other)) => to.push(other),
                (byte, None) => to.push(byte),
            }
        }
        // Of several matches the first one says how the path begins.
        to.extend_from_slice(from.get(whole.end..)?);
        (!to.is_empty() && !to.starts_with(b"/")).then_some((from, to))
    })
}

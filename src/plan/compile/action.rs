//! The action of a rule: `route` with `rewrite`, `redirect` or `directResponse`.

use bytes::Bytes;

use crate::base::re2;
use crate::istio::model::scalar::StringMatch;
use crate::istio::model::virtual_service::{self, RedirectPort, RouteDestination};
use crate::plan::{
    Action, Destination, Destinations, DirectResponse, Forward, HeaderEdits, PathRewrite, Piece, Redirect, RedirectPath,
};

use super::headers::authority;
use super::rule::Rule;
use super::{Compiler, Scope};

impl<'w> Compiler<'w> {
    /// The rule's action, as far as its blocks share it; `None` if it has none that can be served, which has then been
    /// reported. `headers` are the rule's.
    pub(super) fn action(&mut self, rule: &Rule<'w>, scope: Scope<'_>, headers: &HeaderEdits) -> Option<Action> {
        if let Some(redirect) = &rule.rule.redirect {
            return Some(Action::Redirect(self.redirect(redirect, scope)));
        }
        if let Some(direct) = &rule.rule.direct_response {
            let body = Bytes::from(direct.body.clone());
            return Some(Action::Direct(DirectResponse { status: direct.status, body }));
        }
        let destinations = self.route(rule, scope, headers)?;
        let rewrite = match rule.rule.rewrite.as_ref().and_then(|rewrite| rewrite.path.as_ref()) {
            Some(virtual_service::PathRewrite::Regex { pattern, substitution }) => {
                Some(self.regex_rewrite(rule, pattern, substitution)?)
            }
            // The replaced part depends on each block.
            Some(virtual_service::PathRewrite::Matched(_)) | None => None,
        };
        let hash_keys = self.hash_keys(&rule.rule.route);
        let forward = Forward { rewrite, hash_keys, ..Forward::to(destinations) };
        Some(Action::Forward(self.resilience(rule, scope, forward)))
    }

    /// `route`.
    fn route(&mut self, rule: &Rule<'w>, scope: Scope<'_>, headers: &HeaderEdits) -> Option<Destinations> {
        let of_rule = rule.rule.rewrite.as_ref().and_then(|rewrite| rewrite.authority.as_deref());
        let of_rule = of_rule.or_else(|| authority(rule.rule.headers.as_ref()));
        let mut list = Vec::with_capacity(rule.rule.route.len());
        for (index, entry) in rule.rule.route.iter().enumerate() {
            let RouteDestination { destination, weight, headers: own } = entry;
            let edits = self.headers(rule, &format!("route[{index}].headers"), own.as_ref());
            list.push(Destination {
                target: self.destination(destination, scope.port),
                weight: *weight,
                headers: headers.and_then(&edits),
                // Here the rule's goes over the destination's, unlike everywhere else: that is how Envoy has it.
                authority: of_rule.or_else(|| authority(own.as_ref())).map(Into::into),
            });
        }
        // That all weights are 0 has been said where they were read.
        Destinations::new(list)
    }

    /// `redirect`, without a path that depends on the match.
    fn redirect(&mut self, redirect: &virtual_service::Redirect, scope: Scope<'_>) -> Redirect {
        let port = match redirect.port {
            None | Some(RedirectPort::ProtocolDefault) => None,
            Some(RedirectPort::Number(number)) => Some(number),
            Some(RedirectPort::FromRequest) => {
                self.depends_on_port = true;
                scope.port
            }
        };
        let scheme = redirect.scheme.as_deref().map(|scheme| if scheme == "https" { "https" } else { "http" });
        // The client came by HTTP.
        let implied = if scheme == Some("https") { 443 } else { 80 };
        Redirect {
            scheme,
            authority: redirect.authority.as_deref().map(Into::into),
            port: port.filter(|port| *port != implied),
            path: match &redirect.path {
                Some(virtual_service::RedirectPath::Whole(path)) => Some(RedirectPath::Whole(path.as_bytes().into())),
                Some(virtual_service::RedirectPath::Prefix(_)) | None => None,
            },
            code: redirect.code.get(),
        }
    }

    /// `uriRegexRewrite`.
    fn regex_rewrite(&mut self, rule: &Rule<'_>, pattern: &str, substitution: &str) -> Option<PathRewrite> {
        let source = &rule.service.meta.source;
        let regex = re2::search(pattern).map_err(|bad| {
            let path = rule.path("rewrite.uriRegexRewrite.match");
            self.problems.push(source.error(&path, format!("`{pattern}` {bad}"), bad.write()));
        });
        Some(PathRewrite::Regex { pattern: Box::new(regex.ok()?), with: pieces(substitution).into() })
    }

    /// The action for a block with this `uri`: how much of the path a rewrite replaces is known only now.
    pub(super) fn fitted(rule: &Rule<'_>, action: &Action, uri: Option<&StringMatch>) -> Action {
        let mut action = action.clone();
        // Without a condition on the path istiod matches the prefix `/`.
        let matched = match uri {
            Some(StringMatch::Prefix(prefix)) => Some(prefix.len()),
            Some(StringMatch::Present) | None => Some(1),
            Some(StringMatch::Exact(_) | StringMatch::Regex(_)) => None,
        };
        match &mut action {
            Action::Forward(forward) => {
                let rewrite = rule.rule.rewrite.as_ref().and_then(|rewrite| rewrite.path.as_ref());
                if let Some(virtual_service::PathRewrite::Matched(with)) = rewrite {
                    // Blanks alone are the usual way to write an empty replacement.
                    let with = if with.trim().is_empty() { b"" } else { with.as_bytes() };
                    forward.rewrite = Some(match matched {
                        Some(matched) => PathRewrite::Prefix { matched, with: with.into() },
                        None if with.is_empty() => PathRewrite::Whole((*b"/").into()),
                        None => PathRewrite::Whole(with.into()),
                    });
                }
            }
            Action::Redirect(redirect) => {
                let path = rule.rule.redirect.as_ref().and_then(|redirect| redirect.path.as_ref());
                if let Some(virtual_service::RedirectPath::Prefix(with)) = path {
                    let with = with.as_bytes().into();
                    redirect.path = Some(match matched {
                        Some(matched) => RedirectPath::Prefix { matched, with },
                        None => RedirectPath::Whole(with),
                    });
                }
            }
            Action::Direct(_) | Action::Passthrough => {}
        }
        action
    }
}

/// RE2's rewrite strings: `\0` to `\9` are groups, `\\` is a backslash, and reading has refused everything else behind
/// one.
fn pieces(text: &str) -> Vec<Piece> {
    let (mut pieces, mut literal) = (Vec::new(), Vec::new());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let escaped = if byte == b'\\' { bytes.next() } else { None };
        if let Some(digit @ b'0'..=b'9') = escaped {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
            }
            pieces.push(Piece::Group(usize::from(digit - b'0')));
        } else {
            literal.push(escaped.unwrap_or(byte));
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal.into()));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrite_strings() {
        let literal = |text: &str| Piece::Literal(text.as_bytes().into());
        for (text, expected) in [
            ("/c\\2/\\1", vec![literal("/c"), Piece::Group(2), literal("/"), Piece::Group(1)]),
            ("\\0", vec![Piece::Group(0)]),
            ("\\\\1", vec![literal("\\1")]),
            ("", vec![]),
        ] {
            assert_eq!(pieces(text), expected, "{text}");
        }
    }
}

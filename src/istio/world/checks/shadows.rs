//! Rules that no request reaches, because an earlier one takes all that they match: the first match wins.

use std::collections::BTreeSet;
use std::ptr::from_ref;

use super::{Checks, rule_path};
use crate::istio::model::scalar::StringMatch;
use crate::istio::model::selects;
use crate::istio::model::virtual_service::{HttpMatch, HttpRoute, VirtualService};

/// What to do about a shadowed rule.
const FIRST: &str = "put the more specific rule first";

/// Comparisons of two blocks that may be spent in all: enough for hundreds of VirtualServices with a hundred rules,
/// or one with two thousand, and a hostile file must not take minutes.
const COMPARISONS: usize = 4_000_000;

impl Checks<'_> {
    pub(super) fn shadows(&mut self) {
        let mut left = COMPARISONS;
        for service in &self.world.virtual_services {
            self.shadowed_rules(service, &mut left);
        }
    }

    fn shadowed_rules(&mut self, service: &VirtualService, left: &mut usize) {
        // A delegating rule passes on the requests that its delegate does not match.
        let mut earlier: Vec<(&HttpRoute, Option<usize>, &HttpMatch)> = Vec::new();
        let everything = HttpMatch::default();
        for route in &service.http {
            // Without a condition that could not be read a block takes more than it is meant to.
            let unknown = self.is_unknown(service, &format!("{}.match", rule_path(route)));
            if unknown && route.matches.is_empty() {
                continue;
            }
            let blocks: Vec<(Option<usize>, &HttpMatch)> = match route.matches.as_slice() {
                [] => vec![(None, &everything)],
                blocks => blocks.iter().enumerate().map(|(index, block)| (Some(index), block)).collect(),
            };
            let mut covered = Vec::new();
            // Blocks that no request meets have been reported.
            let met: Vec<_> = blocks.iter().filter(|(_, block)| !self.never.contains(&from_ref(*block))).collect();
            for (index, block) in &met {
                let before = if unknown { &[] } else { met.as_slice() };
                let mine: Vec<_> =
                    before.iter().take_while(|(at, _)| at < index).map(|(at, b)| (route, *at, *b)).collect();
                *left = left.saturating_sub(earlier.len() + mine.len());
                if *left == 0 {
                    return;
                }
                let before = earlier.iter().chain(&mine).find(|(_, _, other)| covers(other, block, &service.gateways));
                covered
                    .extend(before.map(|(other, at, _)| (*index, block_path(other, *at), other.index, at.is_none())));
            }
            if !met.is_empty()
                && covered.len() == met.len()
                && covered.iter().all(|(_, _, other, _)| *other < route.index)
            {
                self.shadowed.insert(from_ref(route));
                let by: BTreeSet<&str> = covered.iter().map(|(_, path, ..)| path.as_str()).collect();
                let by: Vec<_> = by.into_iter().collect();
                let matchless = covered.iter().find(|(_, _, _, matchless)| *matchless);
                let (what, instead) = match matchless {
                    Some((_, path, ..)) => (format!("{path} takes everything"), "put the rule without \"match\" last"),
                    None => (format!("{} takes everything it matches", by.join(" and ")), FIRST),
                };
                let what = format!("no request gets here: {what} [IST0130]");
                self.sure.push(service.meta.source.warning(&rule_path(route), what, instead));
            } else {
                for (index, path, ..) in &covered {
                    self.shadowed_blocks.extend(index.and_then(|at| route.matches.get(at)).map(from_ref));
                    let what = format!("no request gets here: {path} takes everything it matches [IST0131]");
                    self.sure.push(service.meta.source.warning(&block_path(route, *index), what, FIRST));
                }
            }
            let delegates =
                route.delegate.is_some() || self.is_unknown(service, &format!("{}.delegate", rule_path(route)));
            if !delegates && !unknown {
                earlier.extend(met.into_iter().map(|(index, block)| (route, *index, *block)));
            }
        }
    }
}

fn block_path(route: &HttpRoute, block: Option<usize>) -> String {
    match block {
        Some(index) => format!("{}.match[{index}]", rule_path(route)),
        None => rule_path(route),
    }
}

/// Whether every request that `special` matches is matched by `general`, too. Says no where it cannot tell.
fn covers(general: &HttpMatch, special: &HttpMatch, gateways: &[String]) -> bool {
    covers_path(general, special)
        && covers_source(general, special, gateways)
        && (general.port.is_none() || general.port == special.port)
        && covers_text(general.scheme.as_ref(), special.scheme.as_ref())
        && covers_text(general.method.as_ref(), special.method.as_ref())
        && covers_text(general.authority.as_ref(), special.authority.as_ref())
        && general.headers.iter().all(|(name, wanted)| {
            special.headers.iter().any(|(own, value)| own.eq_ignore_ascii_case(name) && covers_value(wanted, value))
        })
        && general.query_params.iter().all(|(name, wanted)| {
            special.query_params.iter().any(|(own, value)| own == name && covers_value(wanted, value))
        })
        && general.without_headers.iter().all(|(name, unwanted)| {
            special.without_headers.iter().any(|(own, value)| own.eq_ignore_ascii_case(name) && value == unwanted)
        })
}

/// Every path begins with a slash.
fn covers_path(general: &HttpMatch, special: &HttpMatch) -> bool {
    let everything = |uri: &StringMatch| match uri {
        StringMatch::Present => true,
        StringMatch::Prefix(prefix) => prefix.is_empty() || prefix == "/",
        StringMatch::Regex(regex) => matches!(regex.as_str(), ".*" | "/.*"),
        StringMatch::Exact(_) => false,
    };
    let (Some(wide), Some(narrow)) = (&general.uri, &special.uri) else {
        return general.uri.as_ref().is_none_or(everything);
    };
    if everything(wide) {
        return true;
    }
    if !general.ignore_uri_case {
        return !special.ignore_uri_case && covers_value(wide, narrow);
    }
    match (wide, narrow) {
        (StringMatch::Exact(wide), StringMatch::Exact(narrow)) => wide.eq_ignore_ascii_case(narrow),
        (StringMatch::Prefix(wide), StringMatch::Exact(narrow) | StringMatch::Prefix(narrow)) => {
            narrow.to_ascii_lowercase().starts_with(&wide.to_ascii_lowercase())
        }
        // Regexes know no ignoreUriCase.
        (wide, narrow) => covers_value(wide, narrow),
    }
}

/// `gateways`, and without it `sourceLabels` and `sourceNamespace`.
fn covers_source(general: &HttpMatch, special: &HttpMatch, gateways: &[String]) -> bool {
    let of = |block: &HttpMatch| -> BTreeSet<String> {
        let names = if block.gateways.is_empty() { gateways } else { &block.gateways };
        names.iter().cloned().collect()
    };
    let same_gateways = general.gateways == special.gateways || of(general).is_superset(&of(special));
    let asks_source = !general.source_labels.is_empty() || general.source_namespace.is_some();
    let source = !asks_source
        || special.gateways.is_empty()
            && selects(&general.source_labels, &special.source_labels)
            && (general.source_namespace.is_none() || general.source_namespace == special.source_namespace);
    same_gateways && (source || !general.gateways.is_empty())
}

fn covers_text(general: Option<&StringMatch>, special: Option<&StringMatch>) -> bool {
    match (general, special) {
        (None, _) => true,
        (Some(general), Some(special)) => covers_value(general, special),
        (Some(general), None) => *general == StringMatch::Present,
    }
}

/// Whether a value that `special` matches is matched by `general`.
fn covers_value(general: &StringMatch, special: &StringMatch) -> bool {
    match (general, special) {
        (StringMatch::Present, _) => true,
        (StringMatch::Regex(regex), _) if regex == ".*" => true,
        (StringMatch::Exact(one), StringMatch::Exact(other)) | (StringMatch::Regex(one), StringMatch::Regex(other)) => {
            one == other
        }
        (StringMatch::Prefix(prefix), StringMatch::Exact(text) | StringMatch::Prefix(text)) => text.starts_with(prefix),
        _ => false,
    }
}

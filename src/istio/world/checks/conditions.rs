//! Conditions that no request can meet, and texts that look like patterns: [`grammar`] applied to `match` blocks.

use std::collections::BTreeSet;

use foldhash::HashMap;

use super::wording::{self as words, Subject};
use super::{Checks, rule_path};
use crate::istio::grammar::{
    self, Authority, Condition, Grammar, HeaderValue, Intersection, Method, Own, Path, QueryValue, Scheme,
};
use crate::istio::grammar::{Relative, Target};
use crate::istio::model::proxy::PathNormalization;
use crate::istio::model::scalar::StringMatch;
use crate::istio::model::selects;
use crate::istio::model::virtual_service::{HttpMatch, HttpRoute, MESH, VirtualService};

/// The most steps for one expression: thousands of times the need of realistic ones.
const STEPS: usize = 300_000;

/// Steps that may be spent on all of them: a hostile file must not take minutes.
const STEPS_IN_ALL: usize = 20_000_000;

/// Results for expressions, so that equal ones are checked once.
#[derive(Default)]
pub(super) struct Expressions {
    spent: usize,
    known: HashMap<(String, Subject, usize), Intersection>,
}

impl Expressions {
    /// Whether the condition and the grammar have a value in common. `of` tells grammars of one subject apart.
    pub(super) fn meets(
        &mut self,
        condition: &Condition<'_>,
        subject: Subject,
        of: usize,
        grammar: &dyn Grammar,
    ) -> Intersection {
        let text = match condition {
            Condition::Regex(text) => (*text).to_owned(),
            Condition::Search(text) => format!("search {text}"),
            Condition::Exact(..) | Condition::Prefix(..) => {
                return grammar::meets(condition, grammar, &mut STEPS.clone());
            }
        };
        if let Some(found) = self.known.get(&(text.clone(), subject, of)) {
            return found.clone();
        }
        let before = STEPS.min(STEPS_IN_ALL - self.spent);
        let mut left = before;
        let found = grammar::meets(condition, grammar, &mut left);
        self.spent += before - left;
        self.known.insert((text, subject, of), found.clone());
        found
    }

    /// Whether the condition takes every value of the grammar.
    fn covers(&mut self, condition: &Condition<'_>, grammar: &dyn Grammar) -> bool {
        let before = STEPS.min(STEPS_IN_ALL - self.spent);
        let mut left = before;
        let covers = grammar::covers(condition, grammar, &mut left);
        self.spent += before - left;
        covers
    }
}

/// The listeners that a block's requests come in at.
#[derive(Debug, Clone, Copy, Default)]
struct EntryPoint {
    /// At Gateways alone.
    at_gateways: bool,
    /// And those are known to end no TLS.
    plainly: bool,
}

/// One condition of a block.
struct Asked<'r> {
    /// Its path in the block, without `exact`, `prefix` or `regex`.
    field: String,
    /// The header's name in lower case; empty if it is not a header.
    name: String,
    subject: Subject,
    value: &'r StringMatch,
    any_case: bool,
    /// Of `withoutHeaders`.
    negated: bool,
}

impl Asked<'_> {
    /// The subject of its value, for requests that come in there.
    fn subject_at(&self, place: EntryPoint) -> Subject {
        match (self.subject, Own::under(&self.name)) {
            (Subject::Scheme, _) if place.plainly => Subject::Own(Own::Scheme),
            (Subject::Header, Some(Own::Scheme)) if !place.plainly => Subject::Header,
            (Subject::Header, Some(own)) if place.at_gateways => Subject::Own(own),
            (subject, _) => subject,
        }
    }

    /// Whether every request that comes in there has it.
    fn is_always_there(&self, place: EntryPoint) -> bool {
        match self.subject {
            Subject::Path | Subject::Target | Subject::Method | Subject::Scheme | Subject::Authority => true,
            Subject::Header => match self.name.as_str() {
                "x-forwarded-proto" | "x-request-id" => true,
                "x-forwarded-for" => place.at_gateways,
                _ => false,
            },
            Subject::Query | Subject::Origin | Subject::Status | Subject::Own(_) => false,
        }
    }
}

impl<'a> Checks<'a> {
    pub(super) fn conditions(&mut self) {
        for (number, service) in self.world.virtual_services.iter().enumerate() {
            let hosts = self.hosts_at_gateways(service);
            for route in &service.http {
                for (index, block) in route.matches.iter().enumerate() {
                    let path = format!("{}.match[{index}]", rule_path(route));
                    if !self.can_be_met(service, &path, block, (number, hosts.as_deref())) {
                        self.never.insert(std::ptr::from_ref(block));
                    }
                }
            }
        }
    }

    /// Whether some request meets the block, as far as its texts say; reports why not.
    fn can_be_met(
        &mut self,
        service: &VirtualService,
        path: &str,
        block: &'a HttpMatch,
        (number, hosts): (usize, Option<&[String]>),
    ) -> bool {
        let place = self.place(service, block);
        let mut can = self.source(service, path, block, place);
        for asked in asked(block) {
            let path = format!("{path}.{}", asked.field);
            let is_there = asked.is_always_there(place);
            let Some((condition, form)) = condition(&asked) else {
                // Presence.
                if asked.subject == Subject::Status && !asked.negated {
                    can = false;
                    self.warn(service, &path, words::NO_STATUS.to_owned(), "remove it");
                } else if asked.negated && is_there {
                    can = false;
                    let what = format!("every request has \"{}\" here: this never holds", asked.name);
                    self.warn(service, &path, what, "remove it, or ask for a value");
                }
                continue;
            };
            let path = format!("{path}.{form}");
            let subject = asked.subject_at(place);
            let of = if subject == Subject::Authority { number } else { 0 };
            let never = self.never_holds(&condition, subject, of, hosts);
            match (asked.negated, never) {
                (false, Some((why, instead))) => {
                    can = false;
                    self.warn(service, &path, format!("{why}: this never matches"), instead);
                }
                (true, Some((why, instead))) => {
                    self.warn(service, &path, format!("{why}: this always holds"), instead);
                }
                (true, None) if self.takes_every_value(&condition, subject, hosts) => {
                    can = false;
                    let (what, instead) = match is_there {
                        true => ("takes every value that requests have here: this never holds", "remove it"),
                        false => (
                            "takes every value, and that of an absent header, which counts as empty: this never holds",
                            "to ask for the header's absence write {}",
                        ),
                    };
                    self.warn(service, &path, what.to_owned(), instead);
                }
                (_, None) => {
                    if let Some(instead) = words::looks_like_a_pattern(&condition, subject) {
                        let what = "is text, not a pattern: its characters stand for themselves".to_owned();
                        self.note(service, &path, what, instead);
                    }
                }
            }
        }
        self.names(service, path, block) && can
    }

    /// The listeners that the requests of a block come in at; for a delegate, those of the rules that delegate to it.
    fn place(&self, service: &VirtualService, block: &HttpMatch) -> EntryPoint {
        let of_roots = || {
            let roots = self.roots.get(&service.meta.full_name()).map(Vec::as_slice).unwrap_or_default();
            roots.iter().flat_map(|(root, _)| &root.gateways).collect()
        };
        let names: Vec<&String> = match (block.gateways.as_slice(), service.hosts.as_slice()) {
            ([], []) => of_roots(),
            ([], _) => service.gateways.iter().collect(),
            (own, _) => own.iter().collect(),
        };
        let unknown = self.is_unknown(service, "spec.gateways");
        if names.is_empty() || unknown || names.iter().any(|name| *name == MESH) {
            return EntryPoint::default();
        }
        let plain = |name: &&String| {
            let served = self.gateways.get(*name);
            served.is_some_and(|served| !self.damage.touches(&served.gateway.meta.source, "spec.servers"))
        };
        EntryPoint { at_gateways: true, plainly: names.iter().all(plain) }
    }

    /// `sourceLabels` and `sourceNamespace`, which Istio asks of the proxy: at a Gateway that is not the caller's.
    fn source(&mut self, service: &VirtualService, path: &str, block: &HttpMatch, place: EntryPoint) -> bool {
        let proxy = &self.world.proxy;
        let is_ours = |name: &String| {
            let served = self.gateways.get(name);
            served.is_some_and(|served| selects(&served.gateway.selector, &proxy.labels))
        };
        let serves = service.gateways.iter().any(is_ours);
        // Next to "gateways" the source has no effect, which has been reported.
        if !place.at_gateways || !block.gateways.is_empty() || self.is_any_proxy() || !serves {
            return true;
        }
        let mut can = true;
        if !selects(&block.source_labels, &proxy.labels) {
            can = false;
            let what = "are looked for among the labels of the proxy, which at a Gateway is not the caller's: this never \
                        matches";
            let instead = "remove it: what calls a Gateway has no labels";
            self.warn(service, &format!("{path}.sourceLabels"), what.to_owned(), instead);
        }
        if block.source_namespace.as_ref().is_some_and(|own| *own != proxy.namespace) {
            can = false;
            let what = format!(
                "is compared with the namespace of the proxy, \"{}\", which at a Gateway is not the caller's: this never \
                 matches",
                proxy.namespace
            );
            let instead = "remove it: what calls a Gateway has no namespace";
            self.warn(service, &format!("{path}.sourceNamespace"), what, instead);
        }
        can
    }

    /// Names of parameters and headers that cannot be there.
    fn names(&mut self, service: &VirtualService, path: &str, block: &HttpMatch) -> bool {
        let mut can = true;
        for (name, _) in block.query_params.iter().filter(|(name, _)| !QueryValue::is_name(name)) {
            can = false;
            let what = format!("no parameter is called \"{}\": this never matches", words::shown(name.as_bytes()));
            let instead = "write the name as it stands in a request, percent-encoded";
            self.warn(service, &format!("{path}.queryParams[{name}]"), what, instead);
        }
        for (name, unwanted) in &block.without_headers {
            let same = block.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
            if same.into_iter().any(|(_, wanted)| *unwanted == StringMatch::Present || wanted == unwanted) {
                can = false;
                let what = format!("\"{name}\" is asked for under \"headers\", too: the block never matches");
                self.warn(service, &format!("{path}.withoutHeaders[{name}]"), what, "keep one of them");
            }
        }
        can
    }

    /// Why no request meets a condition, and the advice.
    pub(super) fn never_holds(
        &mut self,
        condition: &Condition<'_>,
        subject: Subject,
        of: usize,
        hosts: Option<&[String]>,
    ) -> Option<(String, String)> {
        let form = self.world.proxy.mesh_config.path_normalization;
        let anyone = ["*".to_owned()];
        let Some(grammar) = grammar_of(subject, form, hosts.unwrap_or(&anyone)) else {
            return Some((words::NO_STATUS_AT_ALL.to_owned(), "remove it".to_owned()));
        };
        let Intersection::Nothing(read) = self.expressions.meets(condition, subject, of, &*grammar) else {
            return None;
        };
        let text = match *condition {
            Condition::Exact(text, _) | Condition::Prefix(text, _) => {
                return Some(words::why(subject, text.as_bytes(), read, condition, (form, hosts)));
            }
            Condition::Regex(text) | Condition::Search(text) => text,
        };
        if subject == Subject::Path {
            let meets = |grammar: &dyn Grammar| {
                matches!(grammar::meets(condition, grammar, &mut STEPS.clone()), Intersection::Value(_))
            };
            if meets(&Relative(form)) && matches!(condition, Condition::Regex(_)) {
                return Some(words::without_slash(text));
            }
            if meets(&Target(form)) {
                return Some(words::with_query());
            }
            if meets(&Line(form)) {
                return Some(words::with_line_end());
            }
        }
        // For an example of a value of the expression the reason is given.
        let all: [&dyn Grammar; 2] = [&Slashed, &grammar::Anything];
        let first = if matches!(subject, Subject::Path | Subject::Target) { 0 } else { 1 };
        for loose in &all[first..] {
            match grammar::meets(condition, *loose, &mut STEPS.clone()) {
                Intersection::Value(example) => {
                    let read = grammar::readable(&*grammar, &example);
                    return Some(words::why(subject, &example, read, condition, (form, hosts)));
                }
                Intersection::Unknown => return None,
                Intersection::Nothing(_) => {}
            }
        }
        Some(("no text at all is matched by it".to_owned(), "write what is to be matched".to_owned()))
    }

    /// Whether a condition matches every value of its subject. An absent header counts as an empty value.
    fn takes_every_value(&mut self, condition: &Condition<'_>, subject: Subject, hosts: Option<&[String]>) -> bool {
        let anyone = ["*".to_owned()];
        let form = self.world.proxy.mesh_config.path_normalization;
        let grammar = grammar_of(subject, form, hosts.unwrap_or(&anyone));
        grammar.is_some_and(|grammar| self.expressions.covers(condition, &*grammar))
    }

    /// The hosts of a VirtualService whose requests only come in at Gateways, as in a request; for a delegate those of
    /// the rules that delegate to it. `None`: there may be others.
    fn hosts_at_gateways(&self, service: &VirtualService) -> Option<Vec<String>> {
        let roots: Vec<&VirtualService> = match service.hosts.is_empty() {
            true => self.roots.get(&service.meta.full_name())?.iter().map(|(root, _)| *root).collect(),
            false => vec![service],
        };
        if roots.iter().any(|root| root.gateways.iter().any(|gateway| gateway == MESH)) {
            return None;
        }
        let hosts: BTreeSet<String> = roots.iter().flat_map(|root| &root.hosts).cloned().collect();
        let in_brackets = |host: String| if host.contains(':') { format!("[{host}]") } else { host };
        Some(hosts.into_iter().map(in_brackets).collect())
    }
}

/// The grammar of a subject's values; `None`: no request has any.
fn grammar_of(subject: Subject, form: PathNormalization, hosts: &[String]) -> Option<Box<dyn Grammar + '_>> {
    Some(match subject {
        Subject::Path => Box::new(Path(form)),
        Subject::Target => Box::new(Target(form)),
        Subject::Method => Box::new(Method),
        Subject::Scheme => Box::new(Scheme),
        Subject::Authority => Box::new(Authority(hosts)),
        Subject::Header => Box::new(HeaderValue),
        Subject::Own(own) => Box::new(own),
        Subject::Query => Box::new(QueryValue),
        Subject::Origin => Box::new(grammar::Origin),
        Subject::Status => return None,
    })
}

/// A path with a line end behind it.
struct Line(PathNormalization);

impl Grammar for Line {
    fn start(&self, to: &mut Vec<u32>) {
        Path(self.0).start(to);
    }

    fn step(&self, state: u32, byte: u8, to: &mut Vec<u32>) {
        match byte {
            b'\n' if Path(self.0).ends(state) => to.push(u32::MAX),
            _ if state == u32::MAX => {}
            _ => Path(self.0).step(state, byte, to),
        }
    }

    fn ends(&self, state: u32) -> bool {
        state == u32::MAX
    }
}

/// Any text that begins with a slash.
struct Slashed;

impl Grammar for Slashed {
    fn start(&self, to: &mut Vec<u32>) {
        to.push(0);
    }

    fn step(&self, state: u32, byte: u8, to: &mut Vec<u32>) {
        if state == 1 || byte == b'/' {
            to.push(1);
        }
    }

    fn ends(&self, state: u32) -> bool {
        state == 1
    }
}

/// The conditions of a block on texts.
fn asked(block: &HttpMatch) -> Vec<Asked<'_>> {
    let own = [
        ("uri", Subject::Path, &block.uri),
        ("scheme", Subject::Scheme, &block.scheme),
        ("method", Subject::Method, &block.method),
        ("authority", Subject::Authority, &block.authority),
    ];
    let mut all = Vec::new();
    for (field, subject, value) in own {
        let any_case = subject == Subject::Path && block.ignore_uri_case;
        all.extend(value.iter().map(|value| Asked {
            field: field.to_owned(),
            name: String::new(),
            subject,
            value,
            any_case,
            negated: false,
        }));
    }
    for (field, negated, values) in
        [("headers", false, &block.headers), ("withoutHeaders", true, &block.without_headers)]
    {
        for (name, value) in values {
            let (field, subject) = (format!("{field}[{name}]"), subject(name));
            all.push(Asked { field, name: name.to_ascii_lowercase(), subject, value, any_case: false, negated });
        }
    }
    for (name, value) in &block.query_params {
        let field = format!("queryParams[{name}]");
        let (name, subject) = (String::new(), Subject::Query);
        all.push(Asked { field, name, subject, value, any_case: false, negated: false });
    }
    all
}

/// The subject of a name under `headers`.
fn subject(name: &str) -> Subject {
    match name.to_ascii_lowercase().as_str() {
        ":method" => Subject::Method,
        ":authority" | "host" => Subject::Authority,
        ":path" => Subject::Target,
        ":scheme" => Subject::Scheme,
        ":status" => Subject::Status,
        _ => Subject::Header,
    }
}

/// The condition and the name of its field; `None`: presence.
fn condition<'r>(asked: &Asked<'r>) -> Option<(Condition<'r>, &'static str)> {
    let any_case = asked.any_case;
    match asked.value {
        StringMatch::Present => None,
        StringMatch::Exact(text) => Some((Condition::Exact(text, any_case), "exact")),
        StringMatch::Prefix(text) => Some((Condition::Prefix(text, any_case), "prefix")),
        StringMatch::Regex(text) => Some((Condition::Regex(text), "regex")),
    }
}

/// Whether a rule has blocks, and no request can meet one of them.
pub(super) fn all_never(checks: &Checks<'_>, route: &HttpRoute) -> bool {
    !route.matches.is_empty() && route.matches.iter().all(|block| checks.never.contains(&std::ptr::from_ref(block)))
}

//! Whether a condition and a grammar have a value in common: a walk over both automata side by side.
//!
//! The expression is never made deterministic, so the walk is at most as long as the product of the two; `budget`
//! bounds it all the same.

use foldhash::{HashSet, HashSetExt};
use regex_automata::hybrid::dfa::{Config, DFA};
use regex_automata::nfa::thompson::{self, NFA, State, WhichCaptures};
use regex_automata::util::look::Look;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};

use super::{Grammar, follow};
use crate::base::re2;

/// A condition on a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition<'c> {
    /// The value is this text; with `true` in letters of any case.
    Exact(&'c str, bool),
    /// It begins with this text; with `true` in letters of any case.
    Prefix(&'c str, bool),
    /// It is matched as a whole by this expression, which has been compiled once.
    Regex(&'c str),
    /// The expression matches a part of it.
    Search(&'c str),
}

/// The result of [`meets`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intersection {
    /// This value.
    Value(Vec<u8>),
    /// No value; this many bytes of a text could have been read.
    Nothing(usize),
    /// It could not be told, or not within the budget.
    Unknown,
}

/// A value of the grammar that the condition matches. `budget` is the number of steps left; steps taken are
/// subtracted.
#[must_use]
pub fn meets(condition: &Condition<'_>, grammar: &dyn Grammar, budget: &mut usize) -> Intersection {
    match *condition {
        Condition::Exact(text, any_case) => {
            let (states, read) = follow(grammar, text.as_bytes(), any_case);
            let ends = read == text.len() && states.iter().any(|state| grammar.ends(*state));
            if ends { Intersection::Value(text.into()) } else { Intersection::Nothing(read) }
        }
        Condition::Prefix(text, any_case) => {
            let (_, read) = follow(grammar, text.as_bytes(), any_case);
            if read == text.len() { Intersection::Value(text.into()) } else { Intersection::Nothing(read) }
        }
        Condition::Regex(text) => walked(text, |translated| translated, grammar, budget),
        Condition::Search(text) => {
            walked(text, |translated| format!("(?s-u:.)*(?:{translated})(?s-u:.)*"), grammar, budget)
        }
    }
}

/// Whether the condition takes every value of the grammar, for certain and within the budget.
#[must_use]
pub fn covers(condition: &Condition<'_>, grammar: &dyn Grammar, budget: &mut usize) -> bool {
    match *condition {
        Condition::Exact(text, any_case) => text_covers(text, any_case, true, grammar),
        Condition::Prefix(text, any_case) => text_covers(text, any_case, false, grammar),
        Condition::Regex(text) => {
            let translated = re2::translated(text).ok();
            translated.and_then(|translated| expression_covers(&translated, grammar, budget)).unwrap_or_default()
        }
        // Not used for searches (`uriRegexRewrite`).
        Condition::Search(_) => false,
    }
}

/// Whether every value is this text, or begins with it.
fn text_covers(text: &str, any_case: bool, whole: bool, grammar: &dyn Grammar) -> bool {
    let (mut states, mut next) = (Vec::new(), Vec::new());
    grammar.start(&mut states);
    let mut after = |states: &[u32], byte| {
        next.clear();
        states.iter().for_each(|state| grammar.step(*state, byte, &mut next));
        next.sort_unstable();
        next.dedup();
        next.clone()
    };
    for wanted in text.bytes() {
        let is_wanted = |byte: u8| byte == wanted || any_case && byte.eq_ignore_ascii_case(&wanted);
        let others = (0..=u8::MAX).filter(|byte| !is_wanted(*byte)).any(|byte| !after(&states, byte).is_empty());
        if others || states.iter().any(|state| grammar.ends(*state)) {
            return false;
        }
        states = (0..=u8::MAX).filter(|byte| is_wanted(*byte)).flat_map(|byte| after(&states, byte)).collect();
    }
    !states.is_empty() && (!whole || (0..=u8::MAX).all(|byte| after(&states, byte).is_empty()))
}

/// Memory for the states that are made of an expression's.
const DFA_BYTES: usize = 4 << 20;

/// As [`covers`], for an expression of the engine's language; `None`: it could not be told.
fn expression_covers(translated: &str, grammar: &dyn Grammar, budget: &mut usize) -> Option<bool> {
    let config = Config::new().match_kind(MatchKind::All).cache_capacity(DFA_BYTES).minimum_cache_clear_count(Some(0));
    let dfa = DFA::builder().configure(config).build_from_nfa(nfa(translated)?).ok()?;
    let mut cache = dfa.create_cache();
    let start = dfa.start_state(&mut cache, &start::Config::new().anchored(Anchored::Yes)).ok()?;
    let mut states = Vec::new();
    grammar.start(&mut states);
    let mut open: Vec<_> = states.drain(..).map(|state| (start, state)).collect();
    let mut seen: HashSet<_> = open.iter().copied().collect();
    while let Some((expression, state)) = open.pop() {
        // As many bytes as are looked at in a walk over ranges of them.
        *budget = budget.saturating_sub(256 / 8);
        if *budget == 0 || expression.is_quit() {
            return None;
        }
        if grammar.ends(state) && !dfa.next_eoi_state(&mut cache, expression).ok()?.is_match() {
            return Some(false);
        }
        for byte in 0..=u8::MAX {
            grammar.step(state, byte, &mut states);
            if states.is_empty() {
                continue;
            }
            let expression = dfa.next_state(&mut cache, expression, byte).ok()?;
            open.extend(states.drain(..).map(|state| (expression, state)).filter(|place| seen.insert(*place)));
        }
    }
    Some(true)
}

fn walked(re2: &str, whole: impl Fn(String) -> String, grammar: &dyn Grammar, budget: &mut usize) -> Intersection {
    let Some(nfa) = re2::translated(re2).ok().and_then(|translated| nfa(&whole(translated))) else {
        return Intersection::Unknown;
    };
    Walk { nfa: &nfa, grammar, seen: HashSet::new(), nodes: Vec::new(), open: Vec::new() }.run(budget)
}

/// Largest automaton of an expression.
const NFA_BYTES: usize = 4 << 20;

/// The automaton of an expression in the language of the `regex` crate, which goes by bytes.
fn nfa(translated: &str) -> Option<NFA> {
    let hir = regex_syntax::ParserBuilder::new()
        .utf8(false)
        .unicode(false)
        .nest_limit(re2::NESTING)
        .build()
        .parse(translated)
        .ok()?;
    let config =
        thompson::Config::new().utf8(false).which_captures(WhichCaptures::None).nfa_size_limit(Some(NFA_BYTES));
    thompson::Compiler::new().configure(config).build_from_hir(&hir).ok()
}

/// The kinds of neighbours of a position in a value that assertions (`^`, `$`, `\b`) look at. A bit each.
const EDGE: u8 = 1;
const LINE_FEED: u8 = 2;
const WORD: u8 = 4;
const OTHER: u8 = 8;
const ANYTHING: u8 = EDGE | LINE_FEED | WORD | OTHER;

fn kind(byte: u8) -> u8 {
    match byte {
        b'\n' => LINE_FEED,
        byte if byte.is_ascii_alphanumeric() || byte == b'_' => WORD,
        _ => OTHER,
    }
}

/// A position in both automata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Position {
    expression: StateID,
    grammar: u32,
    /// The kind of the last byte.
    before: u8,
    /// The kinds that may come next.
    after: u8,
}

struct Walk<'a> {
    nfa: &'a NFA,
    grammar: &'a dyn Grammar,
    seen: HashSet<Position>,
    /// Each position with its predecessor, and the byte between them.
    nodes: Vec<(Position, usize, Option<u8>)>,
    open: Vec<usize>,
}

impl Walk<'_> {
    fn run(mut self, budget: &mut usize) -> Intersection {
        let mut states = Vec::new();
        self.grammar.start(&mut states);
        for grammar in states {
            let expression = self.nfa.start_anchored();
            self.visit(Position { expression, grammar, before: EDGE, after: ANYTHING }, usize::MAX, None);
        }
        while let Some(at) = self.open.pop() {
            let place = self.nodes[at].0;
            let nfa = self.nfa;
            *budget = budget.saturating_sub(1);
            if *budget == 0 {
                return Intersection::Unknown;
            }
            match nfa.state(place.expression) {
                State::ByteRange { trans } => self.read(at, trans.start, trans.end, trans.next, budget),
                State::Sparse(ranges) => {
                    for trans in &ranges.transitions {
                        self.read(at, trans.start, trans.end, trans.next, budget);
                    }
                }
                State::Dense(dense) => {
                    let led = dense.transitions.iter().zip(0..=u8::MAX).filter(|(next, _)| **next != StateID::ZERO);
                    for (next, byte) in led {
                        self.read(at, byte, byte, *next, budget);
                    }
                }
                State::Look { look, next } => match asserted(*look, place) {
                    Some(0) => {}
                    Some(after) => self.visit(Position { expression: *next, after, ..place }, at, None),
                    None => return Intersection::Unknown,
                },
                // The last one pushed is walked first: the end of a repetition, so that examples are short.
                State::Union { alternates } => {
                    for next in alternates {
                        self.visit(Position { expression: *next, ..place }, at, None);
                    }
                }
                State::BinaryUnion { alt1, alt2 } => {
                    for next in [alt1, alt2] {
                        self.visit(Position { expression: *next, ..place }, at, None);
                    }
                }
                State::Capture { next, .. } => self.visit(Position { expression: *next, ..place }, at, None),
                State::Fail => {}
                State::Match { .. } => {
                    if place.after & EDGE != 0 && self.grammar.ends(place.grammar) {
                        return Intersection::Value(self.value(at));
                    }
                }
            }
        }
        Intersection::Nothing(0)
    }

    fn visit(&mut self, place: Position, from: usize, byte: Option<u8>) {
        if self.seen.insert(place) {
            self.open.push(self.nodes.len());
            self.nodes.push((place, from, byte));
        }
    }

    fn read(&mut self, at: usize, start: u8, end: u8, expression: StateID, budget: &mut usize) {
        let place = self.nodes[at].0;
        let mut states = Vec::new();
        *budget = budget.saturating_sub(usize::from(end - start) / 8);
        // The last one pushed is walked first: examples consist of letters where they can.
        let plain = b"a/0-".iter().copied().find(|byte| (start..=end).contains(byte));
        for byte in (start..=end).rev().filter(|byte| Some(*byte) != plain).chain(plain) {
            let before = kind(byte);
            if place.after & before == 0 {
                continue;
            }
            self.grammar.step(place.grammar, byte, &mut states);
            for grammar in states.drain(..) {
                self.visit(Position { expression, grammar, before, after: ANYTHING }, at, Some(byte));
            }
        }
    }

    /// The bytes on the path to a position.
    fn value(&self, mut at: usize) -> Vec<u8> {
        let mut value = Vec::new();
        while let Some((_, from, byte)) = self.nodes.get(at) {
            value.extend(*byte);
            at = *from;
        }
        value.reverse();
        value
    }
}

/// The kinds that may come next if the assertion holds; `None`: only whole characters decide it.
fn asserted(look: Look, place: Position) -> Option<u8> {
    let Position { before, after, .. } = place;
    let word = before == WORD;
    let then = |holds: bool, next: u8| if holds { after & next } else { 0 };
    Some(match look {
        Look::Start => then(before == EDGE, ANYTHING),
        Look::End => then(true, EDGE),
        Look::StartLF => then(before & (EDGE | LINE_FEED) != 0, ANYTHING),
        Look::EndLF => then(true, EDGE | LINE_FEED),
        Look::WordAscii => then(true, if word { !WORD } else { WORD }),
        Look::WordAsciiNegate => then(true, if word { WORD } else { !WORD }),
        Look::WordStartAscii => then(!word, WORD),
        Look::WordEndAscii => then(word, !WORD),
        Look::WordStartHalfAscii => then(!word, ANYTHING),
        Look::WordEndHalfAscii => then(true, !WORD),
        _ => return None,
    })
}

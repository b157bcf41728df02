//! The possible values of a request's parts, once the proxy has read it: paths in their normal form, methods,
//! authorities, header values, and the origins that browsers name.
//!
//! [`meets`] decides exactly whether a condition matches some value of a [`Grammar`]. The grammars repeat what the codec
//! and the normaliser do with a request, as tables without sockets or buffers; `tests/commands/bad_yaml/grammar.rs`
//! holds the two together. Called by the checks of a world, never at run time.

mod authority;
mod automaton;
mod origin;
mod own;
mod path;
mod text;

pub use authority::Authority;
pub use automaton::{Condition, Intersection, covers, meets};
pub use origin::Origin;
pub use own::Own;
pub use path::{Path, Relative, Target};
pub use text::{HeaderValue, Method, QueryValue, Scheme};

/// A set of byte strings, as an automaton: states are numbers, and a byte leads from a state to any number of states.
///
/// From every state that can be reached some end can be reached, so that the beginning of a value is a state.
pub trait Grammar {
    /// Adds the states in which no byte has been read.
    fn start(&self, to: &mut Vec<u32>);
    /// Adds the states to which `byte` leads from `state`.
    fn step(&self, state: u32, byte: u8, to: &mut Vec<u32>);
    /// Whether a value may end in `state`.
    fn ends(&self, state: u32) -> bool;
}

/// Whether `value` is one of the grammar's.
#[must_use]
pub fn allows(grammar: &dyn Grammar, value: &[u8]) -> bool {
    let (states, read) = follow(grammar, value, false);
    read == value.len() && states.iter().any(|state| grammar.ends(*state))
}

/// How many bytes of `value` are the beginning of one of the grammar's values.
#[must_use]
pub fn readable(grammar: &dyn Grammar, value: &[u8]) -> usize {
    follow(grammar, value, false).1
}

/// Every string of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anything;

impl Grammar for Anything {
    fn start(&self, to: &mut Vec<u32>) {
        to.push(0);
    }

    fn step(&self, state: u32, _: u8, to: &mut Vec<u32>) {
        to.push(state);
    }

    fn ends(&self, _: u32) -> bool {
        true
    }
}

/// The states after `value`, and how many of its bytes could be read.
fn follow(grammar: &dyn Grammar, value: &[u8], any_case: bool) -> (Vec<u32>, usize) {
    let (mut states, mut next) = (Vec::new(), Vec::new());
    grammar.start(&mut states);
    for (at, byte) in value.iter().enumerate() {
        for state in &states {
            grammar.step(*state, *byte, &mut next);
            if any_case && byte.is_ascii_alphabetic() {
                grammar.step(*state, byte ^ 0x20, &mut next);
            }
        }
        next.sort_unstable();
        next.dedup();
        if next.is_empty() {
            return (states, at);
        }
        std::mem::swap(&mut states, &mut next);
        next.clear();
    }
    (states, value.len())
}

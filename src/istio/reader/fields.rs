//! The tables of fields: the fields of each message type of the model, and what ringway does with them.
//!
//! Plain data. Each kind's file has its own; the reader checks documents against them, and the field reference is made
//! from them.

/// The fields of one message type.
#[derive(Debug)]
pub struct Message {
    /// Its name in Istio's reference, as `HTTPMatchRequest`.
    pub name: &'static str,
    /// Every field that Istio's schema has.
    pub fields: &'static [Field],
}

/// One field of a message.
#[derive(Debug)]
pub struct Field {
    /// lowerCamelCase; documents may also use snake_case.
    pub name: &'static str,
    /// What ringway does with it.
    pub state: State,
}

/// What ringway does with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Read and enforced.
    Enforced,
    /// Istio has it and ringway does not enforce it yet: an error by name. With `--permissive` it is left out, together
    /// with the part that must not be served without it.
    NotYet(Without),
    /// Accepted with a warning: it tunes or reports a function that ringway does not have, and restricts nothing. The
    /// reason goes into the warning and into the field reference.
    NoEffect(&'static str),
    /// Istio had it once and refuses it now: an error that says what to write instead.
    Removed(&'static str),
    /// Enforced, with a warning that says what to write instead.
    Deprecated(&'static str),
    /// Accepted: it has no meaning for a proxy. The reason goes into the field reference.
    Ignored(&'static str),
}

/// The effect of serving without a field that is not enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// It restricts what is served, or may do so: `--permissive` withholds the part of the configuration that it is in. If
    /// that is the whole, as in the Proxy, it stays an error.
    More,
    /// It restricts nothing: `--permissive` leaves out only the field.
    NoMore,
}

/// An enforced field, for tables.
pub(in crate::istio) const fn enforced(name: &'static str) -> Field {
    Field { name, state: State::Enforced }
}

/// A field that is not enforced yet and restricts what is served, for tables.
pub(in crate::istio) const fn not_yet(name: &'static str) -> Field {
    Field { name, state: State::NotYet(Without::More) }
}

/// A field that is not enforced yet and restricts nothing, for tables.
pub(in crate::istio) const fn not_yet_harmless(name: &'static str) -> Field {
    Field { name, state: State::NotYet(Without::NoMore) }
}

/// A field that has no effect, and whose author should know, for tables.
pub(in crate::istio) const fn no_effect(name: &'static str, reason: &'static str) -> Field {
    Field { name, state: State::NoEffect(reason) }
}

/// A removed field, for tables.
pub(in crate::istio) const fn removed(name: &'static str, instead: &'static str) -> Field {
    Field { name, state: State::Removed(instead) }
}

/// A deprecated field that is enforced, for tables.
pub(in crate::istio) const fn deprecated(name: &'static str, instead: &'static str) -> Field {
    Field { name, state: State::Deprecated(instead) }
}

/// A field without meaning here, for tables.
pub(in crate::istio) const fn ignored(name: &'static str, reason: &'static str) -> Field {
    Field { name, state: State::Ignored(reason) }
}

//! `StringMatch`: how a value of a request is compared.

/// Istio's `StringMatch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StringMatch {
    /// No condition on the value (`{}`, and regex `*` for a header): it only has to be there.
    Present,
    /// `exact`.
    Exact(String),
    /// `prefix`.
    Prefix(String),
    /// `regex`: RE2, must match the whole value. It has been compiled once, so it is valid.
    Regex(String),
}

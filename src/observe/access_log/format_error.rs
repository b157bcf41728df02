//! Errors in the format of a log.

/// An error in a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A `%` that begins no operator.
    #[error("`%` without an operator and a closing `%` in {0:?} (write `%%` for a percent sign)")]
    Unclosed(String),
    /// An operator that neither Envoy nor ringway knows.
    #[error("unknown operator `%{0}%`{1}")]
    Unknown(String, String),
    /// An operator of Envoy's that ringway has no value for.
    #[error("`%{0}%` is an operator of Envoy's that is not enforced")]
    NotEnforced(String),
    /// An operator with an argument that it does not take.
    #[error("`%{0}%`: {1}")]
    Argument(String, String),
    /// With `accessLogEncoding: JSON`, a format that is not a JSON object.
    #[error("with accessLogEncoding JSON the format is a JSON object of names and formats: {0}")]
    NotAnObject(String),
}

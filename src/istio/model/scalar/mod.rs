//! The small types that Istio's messages share: durations, string matches, host names, protocols.

mod protocol;
mod string_match;

pub use protocol::Protocol;
pub use string_match::StringMatch;

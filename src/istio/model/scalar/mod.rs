//! The small types that Istio's messages share: durations, string matches, host names, labels, protocols.
//!
//! Each reads a text or returns the problem; the reader adds the place in the document.

mod duration;
pub(in crate::istio) mod host;
pub(in crate::istio) mod labels;
pub(in crate::istio) mod line;
mod protocol;
pub(in crate::istio) mod string_match;

pub(in crate::istio) use duration::parse as parse_duration;
pub use protocol::Protocol;
pub use string_match::StringMatch;

//! Whether a mirror responds like the original.
//!
//! Both sides are summarised as an [`ObservedAnswer`], and the mirror's task compares once it knows both. A match costs a
//! counter; only a difference is formatted, for the admin endpoints.

use std::time::{Duration, SystemTime};

use crate::base::id::ClusterId;
use crate::http::field_list::FieldList;
use crate::observe::flags::Flags;
use crate::observe::stats::Verdict;
use crate::proxy::router::termination::Termination;

/// The response of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObservedAnswer {
    /// A whole answer.
    Whole {
        /// Its status.
        status: u16,
        /// Of its body; 0 where only statuses are compared.
        digest: u64,
    },
    /// None: the side could not be reached, broke off or took too long. The flags tell which.
    None(Flags),
    /// It was not let to answer, through no fault of its own: the client left, or the copy was given up here.
    Unknown,
}

impl ObservedAnswer {
    /// How a request ended, as far as its upstream is concerned.
    pub(crate) fn of(ended: &Termination, status: u16, digest: impl FnOnce() -> u64) -> Self {
        match ended {
            Termination::Answered => Self::Whole { status, digest: digest() },
            Termination::ClientGone | Termination::BodyTimedOut | Termination::BadRequest(_) => Self::Unknown,
            failed => Self::None(failed.local_reply(false).flags),
        }
    }

    fn status(self) -> Option<u16> {
        match self {
            Self::Whole { status, .. } => Some(status),
            Self::None(_) | Self::Unknown => None,
        }
    }

    fn flags(self) -> Flags {
        match self {
            Self::None(flags) => flags,
            Self::Whole { .. } | Self::Unknown => Flags::NONE,
        }
    }
}

/// The response of one side, and its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ObservedResponse {
    pub(crate) answer: ObservedAnswer,
    /// From the moment that the request was sent on to the end of the answer.
    pub(crate) took: Duration,
    /// Where it came from.
    pub(crate) cluster: Option<ClusterId>,
}

/// The verdict on two answers, and the two statuses for the counters (0: no answer).
pub(crate) fn judge(original: ObservedAnswer, mirror: ObservedAnswer) -> (Verdict, u16, u16) {
    let verdict = match (original, mirror) {
        (ObservedAnswer::Unknown, _)
        | (_, ObservedAnswer::Unknown)
        | (ObservedAnswer::None(_), ObservedAnswer::None(_)) => Verdict::Uncompared,
        (original, mirror) if original == mirror => Verdict::Match,
        _ => Verdict::Mismatch,
    };
    (verdict, original.status().unwrap_or(0), mirror.status().unwrap_or(0))
}

/// A request that a mirror answered differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// When that was known.
    pub at: SystemTime,
    /// The request's method, as it went upstream.
    pub method: String,
    /// Its path and query, as they went upstream.
    pub path: String,
    /// The client's response.
    pub original: Side,
    /// The mirror's response.
    pub mirror: Side,
}

/// One side of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// The cluster's name.
    pub cluster: String,
    /// The status of its response; `None`: there was none.
    pub status: Option<u16>,
    /// Why there was none.
    pub flags: Flags,
    /// From the moment that the request was sent on to the end of the answer, or of the wait for it. The retries of the
    /// original are in it.
    pub took: Duration,
}

impl Side {
    pub(crate) fn new(heard: &ObservedResponse, cluster: &str) -> Self {
        let ObservedResponse { answer, took, .. } = *heard;
        Self { cluster: cluster.to_owned(), status: answer.status(), flags: answer.flags(), took }
    }
}

impl Difference {
    /// A difference between the answers to the request with this head.
    pub(crate) fn new(at: SystemTime, head: &FieldList, original: Side, mirror: Side) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { at, method: text(head.method()), path: text(head.target()), original, mirror }
    }

    /// Whether both sides said the same status, so that it is the bodies that differ.
    #[must_use]
    pub fn in_body(&self) -> bool {
        self.original.status == self.mirror.status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::sink::HeadSink;

    #[test]
    fn answers_are_judged() {
        let whole = |status, digest| ObservedAnswer::Whole { status, digest };
        let none = ObservedAnswer::None(Flags::UF);
        for (original, mirror, expected) in [
            (whole(200, 0), whole(200, 0), (Verdict::Match, 200, 200)),
            (whole(200, 1), whole(200, 2), (Verdict::Mismatch, 200, 200)),
            (whole(200, 0), whole(500, 0), (Verdict::Mismatch, 200, 500)),
            (whole(200, 0), none, (Verdict::Mismatch, 200, 0)),
            (none, whole(200, 0), (Verdict::Mismatch, 0, 200)),
            (none, ObservedAnswer::None(Flags::UT), (Verdict::Uncompared, 0, 0)),
            (ObservedAnswer::Unknown, whole(200, 0), (Verdict::Uncompared, 0, 200)),
            (whole(200, 0), ObservedAnswer::Unknown, (Verdict::Uncompared, 200, 0)),
        ] {
            assert_eq!(judge(original, mirror), expected, "{original:?} and {mirror:?}");
        }
    }

    #[test]
    fn only_what_is_the_upstreams_fault_is_no_answer() {
        for (ended, expected) in [
            (Termination::Answered, ObservedAnswer::Whole { status: 204, digest: 7 }),
            (Termination::UpstreamCut, ObservedAnswer::None(Flags::UPE)),
            (Termination::RequestTimedOut, ObservedAnswer::None(Flags::UT)),
            (Termination::NoEndpoint, ObservedAnswer::None(Flags::UH)),
            (Termination::ClientGone, ObservedAnswer::Unknown),
            (Termination::BodyTimedOut, ObservedAnswer::Unknown),
        ] {
            assert_eq!(ObservedAnswer::of(&ended, 204, || 7), expected, "{ended:?}");
        }
    }

    #[test]
    fn a_difference_names_the_request() {
        let side = |status| Side { cluster: "c".to_owned(), status, flags: Flags::NONE, took: Duration::ZERO };
        let mut head = FieldList::default();
        head.sink(b"").request(b"POST", b"/a?b=c");
        let difference = Difference::new(SystemTime::UNIX_EPOCH, &head, side(Some(200)), side(None));
        assert_eq!((difference.method.as_str(), difference.path.as_str()), ("POST", "/a?b=c"));
        assert!(!difference.in_body());
    }
}

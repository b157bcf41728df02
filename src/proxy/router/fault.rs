//! Faults that a route injects: a delay, then an answer in the upstream's stead.
//!
//! They come before all that is done to a request: no timeout runs during a delay, and no abort is retried. A delayed
//! request costs a timer, and its body is held back.

use std::pin::pin;
use std::time::Duration;

use crate::base::limits::BODY_BUFFER_BYTES;
use crate::http::forward::View;
use crate::http::head::Known;
use crate::http::header_ops::HeaderOps;
use crate::io::{self, Either, Size, race};
use crate::observe::flags::Flags;
use crate::policy::fault::{AbortWith, Fault};
use crate::policy::share::FractionalPercent;
use crate::proxy::downstream::connection::ClientConnection;
use crate::proxy::router::relay::{self, UploadEnd};
use crate::proxy::router::replay::Upload;
use crate::proxy::router::stream_info::Injected;
use crate::proxy::router::termination::Termination;
use crate::proxy::stream::Stream;

impl Stream<'_> {
    /// Draws for the faults of a route and lets the request suffer them; how it ends by them, if it does.
    pub(crate) async fn inject(&mut self, fault: &Fault) -> Option<Termination> {
        let hits = |stream: &Self, share: FractionalPercent| stream.conn.core.with_rng(|rng| share.hits(rng));
        if let Some(delay) = fault.delay.filter(|delay| hits(self, delay.share)) {
            let http = &self.conn.http;
            http.fault_delays_injected.inc();
            self.info.fault = Some(Injected::begin(http));
            self.info.flags.insert(Flags::DI);
            if let Err(ended) = self.hold(delay.by).await {
                return Some(ended);
            }
        }
        let abort = fault.abort.filter(|abort| hits(self, abort.share))?;
        let http = &self.conn.http;
        http.fault_aborts_injected.inc();
        self.info.fault.get_or_insert_with(|| Injected::begin(http));
        Some(Termination::FaultAborted(abort.with))
    }

    /// Waits, unless the client leaves.
    async fn hold(&mut self, delay: Duration) -> Result<(), Termination> {
        let until = io::now() + delay.min(LONGEST);
        let ClientConnection { core, reader, behind, input, timer, .. } = &mut *self.conn;
        let gone = {
            let mut sleep = pin!(timer.until(until));
            // The client's bytes are read meanwhile, or its leaving would not be seen; but at most one buffer.
            let mut gone = false;
            while !gone && input.len() + behind.len() < BODY_BUFFER_BYTES {
                let watch = pin!(relay::watch(core, reader, behind, Size::Head));
                match race(sleep.as_mut(), watch).await {
                    Either::Left(()) => break,
                    Either::Right(fed) => gone = matches!(fed, UploadEnd::ClientGone),
                }
            }
            if input.len() + behind.len() >= BODY_BUFFER_BYTES {
                sleep.await;
            }
            gone
        };
        input.extend(behind.bytes());
        behind.clear();
        if gone {
            let there = input.bytes_mut().get_mut(self.scratch.head.len..).unwrap_or_default();
            let upload = Upload::begin(self.parsed.body, false, there);
            self.info.received = upload.map_or(0, |(upload, _)| upload.first() as u64);
            return Err(Termination::ClientGone);
        }
        Ok(())
    }
}

/// Whether a request is one of gRPC's.
pub(crate) fn is_of_grpc(request: &View<'_>) -> bool {
    let kind = request.first(Known::Other, "content-type");
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
}

/// Turns an abort into gRPC's form: a response of headers only.
pub(crate) fn answer_grpc(with: AbortWith, message: &str, ops: &mut HeaderOps) {
    let status = match with {
        AbortWith::Grpc(status) => status,
        // https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
        AbortWith::Status(400) => 13,
        AbortWith::Status(401) => 16,
        AbortWith::Status(403) => 7,
        AbortWith::Status(404) => 12,
        AbortWith::Status(429 | 502..=504) => 14,
        AbortWith::Status(_) => 2,
    };
    let mut set = |name: &[u8], value: &[u8]| ops.set(Known::Other, name, |out| out.extend_from_slice(value));
    set(b"content-type", b"application/grpc");
    set(b"grpc-status", itoa::Buffer::new().format(status).as_bytes());
    set(b"grpc-message", message.as_bytes());
}

/// Delays above a year are a year's.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

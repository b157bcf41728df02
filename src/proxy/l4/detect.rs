//! A connection that a rule of the packet filter redirected to the mesh listener, or that came to a listener for one port:
//! what does it speak, and where does it go?
//!
//! HTTP goes back to `downstream::h1`, with the port that it was sent to; what is no HTTP ends in `tcp`. The table that knows is
//! `plan::Outbound`; here are the bytes and the time.

use std::time::Duration;

use crate::io::{self, Buf, Either, Reader, Timer, race};
use crate::plan::{Detected, DetectedTarget, PortProtocol};
use crate::proxy::core::{Core, Phase};
use crate::proxy::downstream::accept::Accepted;
use crate::proxy::dynamic::passthrough;
use crate::proxy::l4::sni;
use crate::proxy::l4::tcp::{self, To};
use crate::proxy::router::termination::Termination;

/// Serves the connection to its end, unless it is HTTP: then it is given back.
pub(crate) async fn receive(mut accepted: Accepted) -> Option<Accepted> {
    let Some(addressed) = accepted.addressed else { return Some(accepted) };
    let (installed, listener) = accepted.core.installed_at(&accepted.listener_handle);
    let outbound = installed.outbound(listener)?;
    // Who meant the listener itself, and was redirected on the way, would come back here for ever.
    if let Some(original) = accepted.original
        && accepted.core.may_listen_on(original.port())
    {
        let deadline = io::now() + installed.plan.proxy.connect_timeout;
        let found = passthrough::of_original(&accepted.core, &mut Timer::default(), outbound, original, deadline).await;
        if matches!(found, Err(Termination::Circular)) {
            tcp::serve(accepted, (installed, listener), To::Nowhere(Termination::Circular), None).await;
            return None;
        }
    }
    let mut server_name = None;
    let way = match outbound.expect(addressed) {
        PortProtocol::Http => return Some(accepted),
        PortProtocol::Bytes(number) => DetectedTarget::TcpRoute(number),
        PortProtocol::Unsaid => {
            accepted.entered.enter(Phase::Idle, Some(io::now() + installed.plan.proxy.limits.idle_timeout));
            let Accepted { core, reader, seen, .. } = &mut accepted;
            let patience =
                DetectionTimeouts { begin: outbound.detection, end: installed.plan.proxy.limits.headers_timeout };
            let seen = first_bytes(core, reader, seen, patience).await?;
            server_name = seen.server_name().map(|name| String::from_utf8_lossy(name).into_owned());
            outbound.decide(addressed, &seen)
        }
    };
    let to = match way {
        DetectedTarget::Http => return Some(accepted),
        DetectedTarget::TcpRoute(number) => To::TcpRoute(number),
        DetectedTarget::Undeclared => To::Undeclared,
    };
    tcp::serve(accepted, (installed, listener), to, server_name).await;
    None
}

/// How long first bytes are waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DetectionTimeouts {
    /// For all of them, from now on; `None`: for ever.
    pub(crate) begin: Option<Duration>,
    /// For all of them, from the first one on.
    pub(crate) end: Duration,
}

/// What the first bytes are; they are left in `seen`. `None`: the client has left, or was ended, and said nothing.
pub(crate) async fn first_bytes<'b>(
    core: &Core,
    reader: &mut Reader,
    seen: &'b mut Buf,
    patience: DetectionTimeouts,
) -> Option<Detected<'b>> {
    let begin = patience.begin.map(|patience| io::now() + patience);
    let mut end = None;
    let mut timer = Timer::default();
    while sni::look(seen.bytes()).is_none() {
        if !reader.armed() {
            // Not into `seen`: what is there must go on if nothing more comes in time.
            reader.arm(core.buffers.head());
        }
        if end.is_none() && !seen.is_empty() {
            end = Some(io::now() + patience.end);
        }
        let (read, bytes) = match begin.into_iter().chain(end).min() {
            None => reader.done().await,
            Some(deadline) => match race(std::pin::pin!(reader.done()), std::pin::pin!(timer.until(deadline))).await {
                Either::Left(read) => read,
                Either::Right(()) => return Some(Detected::Bytes),
            },
        };
        let more = matches!(read, Ok(1..));
        seen.extend(bytes.bytes());
        core.buffers.put(bytes);
        if !more {
            return if seen.is_empty() { None } else { Some(Detected::Bytes) };
        }
    }
    sni::look(seen.bytes())
}

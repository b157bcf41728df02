//! Waiting on behalf of a request without traffic: for a connection, an answer of the resolver, a retry's back-off. The
//! client may leave and the route's time may pass meanwhile.

use std::future::Future;
use std::pin::{Pin, pin};

use crate::io::{Buf, Either, Reader, Size, race};
use crate::proxy::core::Core;
use crate::proxy::downstream::connection::ClientConnection;
use crate::proxy::router::progress::Progress;
use crate::proxy::router::relay::{self, UploadEnd};
use crate::proxy::router::retry_state::RetryState;
use crate::proxy::router::termination::Termination;
use crate::proxy::stream::Stream;

/// The client of a waiting request, without traffic upstream.
pub(crate) struct Waiting<'a> {
    core: &'a Core,
    reader: &'a mut Reader,
    behind: &'a mut Buf,
    /// Whether its leaving can be seen: its bytes belong to the next request, and there are none yet.
    watched: bool,
}

impl<'a> Waiting<'a> {
    pub(crate) fn of(stream: &'a mut Stream<'_>, progress: &Progress) -> Self {
        let ClientConnection { core, reader, behind, input, rest, .. } = &mut *stream.conn;
        let watched = progress.whole.get() && behind.is_empty() && input.len() == *rest;
        Self { core, reader, behind, watched }
    }

    /// The result of `work`, unless the client leaves first. `work` is dropped then.
    pub(crate) async fn unless_gone<F: Future + Unpin>(&mut self, mut work: F) -> Result<F::Output, Termination> {
        if self.watched {
            let watch = pin!(relay::watch(self.core, self.reader, self.behind, Size::Head));
            match race(Pin::new(&mut work), watch).await {
                Either::Left(done) => return Ok(done),
                Either::Right(UploadEnd::ClientGone) => return Err(Termination::ClientGone),
                Either::Right(_) => {}
            }
        }
        Ok(work.await)
    }
}

/// `work`, unless the client leaves or the route's time passes first.
pub(crate) async fn in_time<F: Future + Unpin>(
    stream: &mut Stream<'_>,
    retry_state: &RetryState<'_>,
    work: F,
) -> Result<F::Output, Termination> {
    let end = retry_state.timeouts.route_end(&retry_state.progress);
    let mut timer = std::mem::take(&mut stream.conn.timer);
    let done = {
        let mut waiting = Waiting::of(stream, &retry_state.progress);
        let work = pin!(waiting.unless_gone(work));
        match end {
            None => work.await,
            Some(end) => match race(work, pin!(timer.until(end))).await {
                Either::Left(done) => done,
                Either::Right(()) => Err(Termination::RequestTimedOut),
            },
        }
    };
    stream.conn.timer = timer;
    done
}

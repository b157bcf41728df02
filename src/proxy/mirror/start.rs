//! Mirroring, from the request's side: which copies are drawn, and the data that the request hands them.
//!
//! A request and each of its copies share a [`MirrorQueue`]. The request puts the pieces of its body there, and goes on at
//! once: it never waits for the mirror. The pieces that the copy has not taken are bounded twice, for the copy and for all of
//! the core; a copy that would pass a bound is given up and counted. The copy itself is a task of its own (`task`). Called by
//! `attempt`, before the first one.

use crate::http::mirror::{self, Mirrored};
use crate::io::{self, Size};
use crate::observe::stats::Verdict;
use crate::plan::{Compare, Forward, Target};
use crate::proxy::mirror::queue::{MirrorPermit, MirrorQueue, Mirrors};
use crate::proxy::mirror::task::{self, MirrorTask};
use crate::proxy::router::retry_state::RetryState;
use crate::proxy::stream::Stream;

/// Draws the copies of a request that is about to be sent for the first time, and sends them. The received part of its body is
/// after the head in the stream's input.
pub(crate) fn start(stream: &mut Stream<'_>, forward: &Forward, retry_state: &RetryState<'_>) {
    let (upload, ended) = (&retry_state.upload, retry_state.progress.ended.get());
    // Bytes that two peers agree on cannot be had from a third: Envoy copies the request for the tunnel, and no more.
    if stream.parsed.tunnel() {
        return;
    }
    let mut sent = std::mem::take(&mut stream.scratch.headers.sent);
    sent.clear();
    let core = &stream.conn.core;
    let behind = stream.conn.input.bytes().get(stream.scratch.head.len..).unwrap_or_default();
    let (mut queues, mut compare, begun) = (Vec::new(), Compare::Nothing, io::now());
    for mirror in &*forward.mirrors {
        if !core.with_rng(|rng| mirror.share.hits(rng)) {
            continue;
        }
        let Target::Known(cluster) = mirror.target else { continue };
        let Some((to, local)) = stream.installed.cluster(cluster) else { continue };
        let Some(permit) = MirrorPermit::take(core) else {
            let mirrored = local.stats.mirrored();
            mirrored.mirror_overflow.inc();
            if mirror.compare != Compare::Nothing {
                mirrored.compared(Verdict::Uncompared, 0, 0);
            }
            continue;
        };
        if sent.is_empty() {
            stream.sent_fields(retry_state.retries.attempt, &mut sent);
        }
        let what = Mirrored {
            host_suffix: stream.installed.plan.proxy.mirror_host_suffix.as_bytes(),
            own_address: core.mirroring.own_address.as_bytes(),
        };
        let mut head = core.mirroring.heads.take();
        mirror::request(&mut head.sink(b""), &sent, &what);
        let mut first = core.buffers.take(Size::holding(upload.first() as u64));
        first.extend(behind.get(..upload.first()).unwrap_or_default());
        let whole = upload.incoming.is_done();
        let queue = MirrorQueue::new(core.clone(), ended, whole);
        queues.push(queue.clone());
        if mirror.compare == Compare::StatusAndBody {
            compare = Compare::StatusAndBody;
        }
        task::spawn(MirrorTask {
            core: core.clone(),
            installed: stream.installed.clone(),
            cluster,
            listener: stream.listener,
            authority: task::authority(&to.discovery, sent.host()),
            queue,
            head,
            first,
            all_in_first: whole,
            method: stream.scratch.head.method,
            begun,
            timeout: forward.timeout,
            compare: mirror.compare,
            permit: Some(permit),
        });
    }
    stream.scratch.headers.sent = sent;
    if !queues.is_empty() {
        stream.scratch.mirrors = Mirrors::new(queues, begun, compare == Compare::StatusAndBody);
    }
}

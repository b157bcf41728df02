//! A mirrored request: a task of its own, on the core of the original.
//!
//! It chooses an endpoint of the mirror's cluster and gets a connection as any request does, sends the pieces in its
//! [`MirrorQueue`], reads the response and discards it. The client and the access log do not see it. It ends with the route's
//! timeout, is never retried, and a failure is counted in the mirror's own statistics only.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::hash::Hasher as _;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use twox_hash::XxHash64;

use crate::base::id::{ClusterId, EndpointId, ListenerId};
use crate::base::limits::HEAD_BUFFER_BYTES;
use crate::h1::body::Incoming;
use crate::h1::encode;
use crate::h1::framing::{self, Body};
use crate::http::field_list::FieldList;
use crate::http::head::{Method, ResponseHead};
use crate::http::sink::Framing;
use crate::io::{self, Buf, Caught, Either, Reader, Size, Timer, Writer, catch_panic, race};
use crate::observe::stats::Verdict;
use crate::plan::{Cluster, Compare, Discovery, OwnAuthority};
use crate::policy::balance::PickContext;
use crate::policy::outlier::Outcome;
use crate::proxy::core::Core;
use crate::proxy::downstream::connection::head_limits;
use crate::proxy::dynamic::forward_proxy;
use crate::proxy::dynamic::passthrough;
use crate::proxy::mirror::compare::{Difference, ObservedAnswer, ObservedResponse, Side, judge};
use crate::proxy::mirror::queue::{MirrorAbort, MirrorPermit, MirrorQueue};
use crate::proxy::router::body::{self, BodyError, BodyReader, BodyWriter, Data};
use crate::proxy::router::termination::Termination;
use crate::proxy::router::upstream_attempt::{self, Active, report_end};
use crate::upstream::{Admitted, Avoid, Closed, Installed, Lease, LocalCluster, LocalEndpoint, Upstream, read_head};

/// A copy, ready to be sent.
pub(crate) struct MirrorTask {
    pub(crate) core: Rc<Core>,
    /// The plan of the copy, kept until it has ended.
    pub(crate) installed: Rc<Installed>,
    /// The mirror.
    pub(crate) cluster: ClusterId,
    /// The listener of the request.
    pub(crate) listener: ListenerId,
    /// Where the request itself goes, of a mirror without endpoints: see [`authority`].
    pub(crate) authority: Option<Box<[u8]>>,
    pub(crate) queue: Rc<MirrorQueue>,
    /// Its head.
    pub(crate) head: FieldList,
    /// The part of the body that came with it.
    pub(crate) first: Buf,
    /// Whether `first` is the whole body.
    pub(crate) all_in_first: bool,
    pub(crate) method: Method,
    /// When the request was sent on.
    pub(crate) begun: Instant,
    /// The route's.
    pub(crate) timeout: Option<Duration>,
    pub(crate) compare: Compare,
    /// Given back when the mirror has answered.
    pub(crate) permit: Option<MirrorPermit>,
}

/// The notes on a running copy.
#[derive(Default)]
struct MirrorNotes {
    /// The status of the response; 0 before it.
    status: Cell<u16>,
    /// Bytes sent and received.
    written: Cell<u64>,
    received: Cell<u64>,
    /// Whether there has been a connection.
    connected: Cell<bool>,
    /// Whether all of the copy was sent.
    sent: Cell<bool>,
    /// Held until all else is counted.
    active: RefCell<Option<Active>>,
    /// Its endpoint; `None` until one is picked.
    endpoint: RefCell<Option<Rc<LocalEndpoint>>>,
    id: Cell<Option<EndpointId>>,
}

/// How a copy ended.
enum MirrorOutcome {
    Finished(Termination),
    /// Not by the mirror's doing, or not by that alone.
    GivenUp(MirrorAbort),
}

/// Starts the copy's task.
pub(crate) fn spawn(shadow: MirrorTask) {
    let core = shadow.core.clone();
    // Boxed, because the guard moves its future.
    io::spawn(async move {
        if catch_panic(Box::pin(shadow.run())).await == Caught::Panicked {
            core.mirroring.panicked();
        }
    });
}

/// The authority of a mirror without endpoints of its own: `host`, the Host of the original. The suffix of mirrored requests
/// (`mirrorHostSuffix`) is not part of it; Envoy includes it, and resolves `a.example.com-shadow`.
pub(crate) fn authority(mirror: &Discovery, host: &[u8]) -> Option<Box<[u8]>> {
    matches!(mirror, Discovery::Authority(_)).then(|| host.into())
}

impl MirrorTask {
    async fn run(mut self) {
        let digest = (self.compare == Compare::StatusAndBody).then(|| RefCell::new(XxHash64::with_seed(0)));
        let outcome = self.send(digest.as_ref()).await;
        self.queue.refuse();
        drop(self.permit.take());
        if self.compare == Compare::Nothing {
            return;
        }
        let answer = match outcome {
            (MirrorOutcome::Finished(ended), status) => {
                ObservedAnswer::of(&ended, status, || digest.map_or(0, |digest| digest.borrow().finish()))
            }
            (MirrorOutcome::GivenUp(_), _) => ObservedAnswer::Unknown,
        };
        let mirror =
            ObservedResponse { answer, took: io::now().duration_since(self.begun), cluster: Some(self.cluster) };
        let original = poll_fn(|cx| self.queue.poll_original(cx)).await;
        self.judge(&original, &mirror);
    }

    /// Compares the two answers, and tells of a difference.
    fn judge(&self, original: &ObservedResponse, mirror: &ObservedResponse) {
        let Some((_, local)) = self.installed.cluster(self.cluster) else { return };
        let (verdict, ours, theirs) = judge(original.answer, mirror.answer);
        local.stats.mirrored().compared(verdict, ours, theirs);
        if verdict == Verdict::Mismatch {
            let name = |heard: &ObservedResponse| {
                let found = heard.cluster.and_then(|id| self.installed.cluster(id));
                found.map_or("", |(cluster, _)| cluster.name.as_str())
            };
            let sides = (Side::new(original, name(original)), Side::new(mirror, name(mirror)));
            let difference = Difference::new(io::unix_time(), &self.head, sides.0, sides.1);
            self.core.mirroring.differs(difference);
        }
    }

    /// Sends the copy and reads its answer. Returns also the status of that.
    async fn send(&self, digest: Option<&RefCell<XxHash64>>) -> (MirrorOutcome, u16) {
        let notes = MirrorNotes::default();
        let Some((cluster, local)) = self.installed.cluster(self.cluster) else {
            return (MirrorOutcome::Finished(Termination::NoCluster), 0);
        };
        local.stats.mirrored();
        let mut timer = Timer::default();
        let outcome = {
            let sent = pin!(self.deliver(cluster, local, &notes, digest));
            let aborted = pin!(poll_fn(|cx| self.queue.poll_abort(self.timeout, &mut timer, cx)));
            match race(sent, aborted).await {
                Either::Left(ended) => MirrorOutcome::Finished(ended),
                Either::Right(MirrorAbort::TimedOut) => MirrorOutcome::Finished(Termination::RequestTimedOut),
                Either::Right(abort) => MirrorOutcome::GivenUp(abort),
            }
        };
        if let MirrorOutcome::Finished(ended) = &outcome {
            report_end(local, notes.id.get(), ended, notes.connected.get() && notes.status.get() == 0);
        }
        match (notes.endpoint.take(), &outcome) {
            (Some(endpoint), _) => self.count(&outcome, &notes, local, &endpoint),
            (None, MirrorOutcome::Finished(ended)) => local.stats.mirrored().response(ended.local_reply(false).status),
            (None, MirrorOutcome::GivenUp(_)) => local.stats.upstream_rq_cancelled.inc(),
        }
        (outcome, notes.status.get())
    }

    /// Sends the copy to an endpoint of the mirror.
    async fn deliver(
        &self,
        cluster: &Cluster,
        local: &LocalCluster,
        notes: &MirrorNotes,
        digest: Option<&RefCell<XxHash64>>,
    ) -> Termination {
        if let Discovery::Authority(own) = &cluster.discovery {
            return Box::pin(self.deliver_to_authority(cluster, own, local, notes, digest)).await;
        }
        // Envoy's copies carry no hash either: which endpoint of a hashing cluster gets one is drawn.
        let ask = PickContext { hash: None, now: self.begun };
        match upstream_attempt::pick(&self.core, local, ask, Avoid::default()) {
            Ok((id, endpoint)) => self.exchange(local, (endpoint, Some(id)), notes, digest).await,
            Err(ended) => ended,
        }
    }

    /// Sends the copy to the first address of the request's host that takes the connection.
    async fn deliver_to_authority(
        &self,
        cluster: &Cluster,
        own: &OwnAuthority,
        local: &LocalCluster,
        notes: &MirrorNotes,
        digest: Option<&RefCell<XxHash64>>,
    ) -> Termination {
        let outbound = self.installed.outbound(self.listener);
        let authority = self.authority.as_deref().unwrap_or_default();
        let found = forward_proxy::find_for_copy(&self.core, cluster, own, authority, outbound.is_some()).await;
        let found = match found.and_then(|found| passthrough::permitted(outbound, found)) {
            Ok(found) => found,
            Err(ended) => {
                if matches!(ended, Termination::NoEndpoint) {
                    local.stats.upstream_cx_none_healthy.inc();
                }
                return ended;
            }
        };
        let mut last = Termination::Unresolved;
        for address in forward_proxy::addresses(&found) {
            if let Some(before) = notes.endpoint.take() {
                before.stats.rq_error.inc();
            }
            let endpoint = local.dynamic_endpoint(*address, io::now());
            last = self.exchange(local, (&endpoint, None), notes, digest).await;
            if !matches!(last, Termination::ConnectFailed(_) | Termination::ConnectTimedOut) {
                break;
            }
        }
        last
    }

    /// Sends the copy, once more if the connection that it reused had just been closed.
    async fn exchange(
        &self,
        local: &LocalCluster,
        (endpoint, id): (&Rc<LocalEndpoint>, Option<EndpointId>),
        notes: &MirrorNotes,
        digest: Option<&RefCell<XxHash64>>,
    ) -> Termination {
        notes.endpoint.replace(Some(endpoint.clone()));
        notes.id.set(id);
        let mut fresh = false;
        loop {
            let mut upstream = match self.connection(local, endpoint, fresh).await {
                Ok(upstream) => upstream,
                Err(ended) => return ended,
            };
            notes.active.replace(Some(Active::begin(local, endpoint, id)));
            notes.connected.set(true);
            let reused = upstream.begin_request();
            let received = notes.received.get();
            let (ended, reusable) = self.carry(&mut upstream, (local, id), notes, digest).await;
            let silent = notes.received.get() == received && upstream.buf.is_empty();
            if matches!(ended, Termination::UpstreamReset | Termination::UpstreamCut) {
                upstream.closed_by(Closed::Remote);
            }
            if reusable {
                upstream.check_in(&self.core.buffers, io::now());
            } else if matches!(ended, Termination::Answered) && notes.sent.get() {
                upstream.end_request(&self.core.buffers);
            }
            let again = matches!(ended, Termination::UpstreamReset) && reused && silent;
            if !(again && self.all_in_first && self.method.is_idempotent()) {
                return ended;
            }
            local.stats.upstream_rq_rx_reset.inc();
            local.stats.upstream_rq_retry_reused.inc();
            notes.active.take();
            fresh = true;
        }
    }

    /// A connection to the endpoint: one that rests, unless it must be `fresh`, or a new one.
    async fn connection(
        &self,
        local: &LocalCluster,
        endpoint: &Rc<LocalEndpoint>,
        fresh: bool,
    ) -> Result<Lease, Termination> {
        let host = self.authority.as_deref().unwrap_or_else(|| self.host());
        Ok(match upstream_attempt::admit(local, endpoint, host, fresh, &self.core.buffers)? {
            Admitted::Now(upstream) => upstream,
            Admitted::Pending(mut pending) => pending.connection().await?,
        })
    }

    /// The Host of the copy.
    fn host(&self) -> &[u8] {
        self.head.host()
    }

    /// Sends the copy on a connection and reads its response. Returns also whether no bytes of either are left on it.
    async fn carry(
        &self,
        upstream: &mut Upstream,
        (local, id): (&LocalCluster, Option<EndpointId>),
        notes: &MirrorNotes,
        digest: Option<&RefCell<XxHash64>>,
    ) -> (Termination, bool) {
        notes.sent.set(false);
        let Upstream { reader, writer, buf, .. } = upstream;
        let mut upload = pin!(self.upload(writer, notes));
        let mut answer = pin!(self.answer((reader, buf), (local, id), notes, digest));
        // If the mirror takes no more of the copy, its response may still come.
        let (ended, clean) = match race(upload.as_mut(), answer.as_mut()).await {
            Either::Left(()) => answer.await,
            Either::Right(answered) => answered,
        };
        (ended, clean && notes.sent.get())
    }

    /// Sends the copy to its end, or as far as the mirror takes it.
    async fn upload(&self, writer: &mut Writer, notes: &MirrorNotes) {
        let before = notes.written.get();
        let buffers = &self.core.buffers;
        let chunked = self.head.framing() == Framing::Unknown;
        let mut writer = BodyWriter::new(writer, chunked);
        let mut out = buffers.take(Size::holding((self.first.len() + HEAD_BUFFER_BYTES / 4) as u64));
        self.head.send(&mut encode::fields(out.cleared_vec()));
        body::put(self.first.bytes(), self.all_in_first, chunked, &mut out);
        let (sent, emptied) = writer.encoded(out).await;
        buffers.put(emptied);
        notes.written.set(before + writer.sent);
        if !sent {
            return self.queue.refuse();
        }
        while let Some(piece) = poll_fn(|cx| self.queue.poll_piece(cx)).await {
            let (sent, piece) = writer.send(Data { buf: piece, end: false }, buffers).await;
            self.queue.sent(piece);
            notes.written.set(before + writer.sent);
            if !sent {
                return self.queue.refuse();
            }
        }
        if !self.all_in_first {
            let (sent, emptied) = writer.send(Data { buf: Buf::default(), end: true }, buffers).await;
            buffers.put(emptied);
            notes.written.set(before + writer.sent);
            if !sent {
                return self.queue.refuse();
            }
        }
        notes.sent.set(true);
    }

    /// Reads the response and discards it. Returns also whether the connection has no bytes of it left and may be reused.
    async fn answer(
        &self,
        (reader, buf): (&mut Reader, &mut Buf),
        (local, id): (&LocalCluster, Option<EndpointId>),
        notes: &MirrorNotes,
        digest: Option<&RefCell<XxHash64>>,
    ) -> (Termination, bool) {
        let mut head = ResponseHead::default();
        let limits = head_limits(&self.installed.plan.proxy.limits);
        loop {
            if let Err(error) = read_head(reader, buf, &limits, &mut head).await {
                return (error.into(), false);
            }
            notes.received.set(notes.received.get() + buf.len() as u64);
            match head.status {
                101 => return (Termination::UpstreamProtocol, false),
                200.. => break,
                interim => local.stats.mirrored().response(interim),
            }
            buf.consume(head.len);
        }
        local.report(id, Outcome::Answered(head.status));
        let Ok(body) = framing::response_body(&head, buf.bytes(), self.method) else {
            return (Termination::UpstreamProtocol, false);
        };
        notes.status.set(head.status);
        let keep_alive = framing::response_keep_alive(&head, buf.bytes()) && body != Body::UntilClose;
        buf.consume(head.len);
        let before = notes.received.get();
        let mut incoming = Incoming::from(body);
        let mut body = BodyReader::new(reader, &mut incoming, buf, &self.core.buffers, Size::Body);
        let Ok(mut data) = body.first() else { return (Termination::UpstreamCorrupt, false) };
        loop {
            if let Some(digest) = digest {
                digest.borrow_mut().write(data.buf.bytes());
            }
            self.core.buffers.put(data.buf);
            if body.is_done() {
                return (Termination::Answered, keep_alive && !body.has_surplus());
            }
            let read = body.next().await;
            notes.received.set(before + body.received);
            data = match read {
                Ok(data) => data,
                Err(BodyError::Cut) => return (Termination::UpstreamCut, false),
                Err(BodyError::Corrupt(_)) => return (Termination::UpstreamCorrupt, false),
            };
        }
    }

    /// Counts how the copy ended, for its cluster and its endpoint.
    fn count(&self, outcome: &MirrorOutcome, notes: &MirrorNotes, local: &LocalCluster, endpoint: &LocalEndpoint) {
        let (stats, mirrored) = (&local.stats, local.stats.mirrored());
        stats.upstream_cx_tx_bytes_total.add(notes.written.get());
        stats.upstream_cx_rx_bytes_total.add(notes.received.get());
        let status = match (outcome, notes.status.get()) {
            (MirrorOutcome::Finished(ended), 0) => ended.local_reply(false).status,
            (MirrorOutcome::GivenUp(_), _) => 0,
            (_, status) => status,
        };
        if status > 0 {
            mirrored.response(status);
        }
        let given_up = if notes.connected.get() { &stats.upstream_rq_tx_reset } else { &stats.upstream_rq_cancelled };
        match outcome {
            MirrorOutcome::Finished(Termination::Answered) => {
                let ended = self.queue.ended().unwrap_or(self.begun);
                let took = io::now().saturating_duration_since(ended).as_millis();
                mirrored.took(u64::try_from(took).unwrap_or(u64::MAX));
                if status < 500 {
                    return endpoint.stats.rq_success.inc();
                }
            }
            MirrorOutcome::Finished(Termination::UpstreamReset) => stats.upstream_rq_rx_reset.inc(),
            MirrorOutcome::Finished(Termination::UpstreamCut) => {
                stats.upstream_rq_rx_reset.inc();
                stats.upstream_cx_protocol_error.inc();
            }
            MirrorOutcome::Finished(Termination::UpstreamProtocol | Termination::UpstreamCorrupt) => {
                stats.upstream_cx_protocol_error.inc()
            }
            MirrorOutcome::Finished(Termination::RequestTimedOut) => {
                stats.upstream_rq_timeout.inc();
                endpoint.stats.rq_timeout.inc();
                given_up.inc();
            }
            MirrorOutcome::Finished(_) => {}
            MirrorOutcome::GivenUp(abort) => {
                if *abort == MirrorAbort::TooSlow {
                    mirrored.mirror_overflow.inc();
                }
                given_up.inc();
            }
        }
        endpoint.stats.rq_error.inc();
    }
}

impl Drop for MirrorTask {
    /// However its task ends, the request must not go on leaving pieces for it.
    fn drop(&mut self) {
        self.queue.refuse();
        self.core.buffers.put(std::mem::take(&mut self.first));
        self.core.mirroring.heads.put(std::mem::take(&mut self.head));
    }
}

//! One attempt: choose an endpoint, get a connection to it, send the request over it, and count the result.
//!
//! The sending and receiving is `exchange`'s; how many attempts a request has is `retry`'s.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use crate::io::{self, Buf, BufPool};
use crate::plan::{Cluster, Discovery, OwnAuthority};
use crate::policy::balance::PickContext;
use crate::policy::hashing::key::{self, Hashed, Key, NewCookie};
use crate::proxy::core::Phase;
use crate::proxy::dynamic::forward_proxy;
use crate::proxy::dynamic::passthrough;
use crate::proxy::l4::tunnel::{self, End, Ending, Meters, Until};
use crate::proxy::mirror::start;
use crate::proxy::router::attempt_result::{AttemptResult, ExchangeResult, RequestResult};
use crate::proxy::router::exchange::ExchangeNotes;
use crate::proxy::router::hash::SentHead;
use crate::proxy::router::local_reply;
use crate::proxy::router::progress::Progress;
use crate::proxy::router::retry_state::RetryState;
use crate::proxy::router::stream_info::StreamInfo;
use crate::proxy::router::termination::Termination;
use crate::proxy::router::upstream_attempt::{self, Active, report_end};
use crate::proxy::router::waiting;
use crate::proxy::stream::Stream;
use crate::upstream::{Admitted, Closed, Lease, LocalCluster, LocalEndpoint, NoConnection, Pending, Upstream};

impl Stream<'_> {
    /// Makes the attempt. Where it fails before a response began, the caller answers.
    pub(crate) async fn attempt(
        &mut self,
        (cluster, local): (&Cluster, &LocalCluster),
        keys: &[Key],
        retry_state: &mut RetryState<'_>,
    ) -> AttemptResult {
        if let Discovery::Authority(own) = &cluster.discovery {
            // Boxed, because it is rare, and another whole attempt would enlarge every connection's task.
            return Box::pin(self.attempt_at_authority((cluster, local), own, retry_state)).await;
        }
        // Written first, because it notes the attempt, whose number and time left may be among the hash keys.
        let head = self.outgoing(retry_state);
        let hashed = match cluster.spread.hashes() {
            true => self.hashed(keys, retry_state.retries.attempt),
            false => Hashed::default(),
        };
        let ask = PickContext { hash: hashed.hash, now: self.info.began };
        let avoid = retry_state.retries.avoid(&self.scratch.tried);
        let picked = upstream_attempt::pick(&self.conn.core, local, ask, avoid);
        retry_state.retries.at = picked.as_ref().ok().map(|(id, _)| *id);
        let endpoint = match picked {
            Ok((_, endpoint)) => endpoint,
            Err(ended) => {
                self.conn.core.buffers.put(head);
                return AttemptResult::Final(RequestResult::failed(ended, retry_state.progress.whole.get()));
            }
        };
        let head = (head, hashed.cookies.as_slice());
        self.attempt_on(local, endpoint, head, retry_state).await
    }

    /// The hash of the request, as it is sent, by the keys of the route.
    fn hashed<'k>(&mut self, keys: &'k [Key], attempt: u32) -> Hashed<'k> {
        let mut fields = std::mem::take(&mut self.scratch.headers.sent);
        self.sent_fields(attempt, &mut fields);
        let hashed = key::hash(keys, &SentHead { fields: &fields, connection: (self.conn.peer, self.conn.local) });
        self.scratch.headers.sent = fields;
        hashed
    }

    /// Makes the attempt at a cluster without endpoints, where the request itself says where it goes.
    async fn attempt_at_authority(
        &mut self,
        (cluster, local): (&Cluster, &LocalCluster),
        own: &OwnAuthority,
        retry_state: &mut RetryState<'_>,
    ) -> AttemptResult {
        let found = forward_proxy::find(self, cluster, own, retry_state).await;
        match found.and_then(|found| passthrough::permitted(self.installed.outbound(self.listener), found)) {
            Ok(found) => {
                let addresses = forward_proxy::addresses(&found);
                self.attempt_on_first_of(local, addresses, retry_state).await
            }
            Err(ended) => {
                match ended {
                    Termination::NoEndpoint => local.stats.upstream_cx_none_healthy.inc(),
                    Termination::RequestTimedOut => time_out(local, &self.info),
                    _ => {}
                }
                AttemptResult::Final(RequestResult::failed(ended, retry_state.progress.whole.get()))
            }
        }
    }

    /// Makes the attempt at the first of the addresses (a few of them) that takes the connection.
    pub(crate) async fn attempt_on_first_of(
        &mut self,
        local: &LocalCluster,
        addresses: &[SocketAddr],
        retry_state: &mut RetryState<'_>,
    ) -> AttemptResult {
        let mut tried =
            AttemptResult::Final(RequestResult::failed(Termination::Unresolved, retry_state.progress.whole.get()));
        for address in addresses {
            let endpoint = local.dynamic_endpoint(*address, self.info.began);
            let head = (self.outgoing(retry_state), &[][..]);
            tried = self.attempt_on(local, &endpoint, head, retry_state).await;
            let unreachable =
                |run: &RequestResult| matches!(run.ended, Termination::ConnectFailed(_) | Termination::ConnectTimedOut);
            if !matches!(&tried, AttemptResult::Final(run) if unreachable(run)) {
                break;
            }
        }
        tried
    }

    /// Makes the attempt at an endpoint.
    #[allow(
        clippy::too_many_arguments,
        reason = "they are what a try is made of, and a struct of them would only hide it"
    )]
    async fn attempt_on(
        &mut self,
        local: &LocalCluster,
        endpoint: &Rc<LocalEndpoint>,
        (mut head, cookies): (Buf, &[NewCookie<'_>]),
        retry_state: &mut RetryState<'_>,
    ) -> AttemptResult {
        let core = self.conn.core.clone();
        let mut fresh = false;
        loop {
            let admitted = self.admit(local, endpoint, fresh, &core.buffers);
            // A request that a circuit breaker refuses at once is not mirrored either.
            if admitted.is_ok()
                && let Some(forward) = retry_state.take_copied()
            {
                start::start(self, forward, retry_state);
            }
            let there = match admitted {
                Ok(Admitted::Now(upstream)) => Ok(upstream),
                Ok(Admitted::Pending(mut pending)) => self.connection(local, endpoint, &mut pending, retry_state).await,
                Err(ended) => Err(ended),
            };
            let upstream = match there {
                Ok(upstream) => upstream,
                Err(ended) => {
                    self.conn.core.buffers.put(head);
                    report_end(local, retry_state.retries.at, &ended, false);
                    return AttemptResult::Final(RequestResult::failed(ended, retry_state.progress.whole.get()));
                }
            };
            let active = Active::begin(local, endpoint, retry_state.retries.at);
            // The single endpoint of a name may have moved since.
            self.info.upstream_host = Some(upstream.peer().clone());
            let behind = self.conn.input.bytes().get(self.scratch.head.len..).unwrap_or_default();
            retry_state.upload.write_first(behind, &mut head);
            let parts = (local, endpoint, active);
            match self.send_on((head, cookies), parts, upstream, retry_state).await {
                ExchangeResult::Attempt(tried) => return tried,
                ExchangeResult::StaleConnection => local.stats.upstream_rq_retry_reused.inc(),
            }
            fresh = true;
            head = self.outgoing(retry_state);
        }
    }

    /// An idle connection to the endpoint, unless it must be `fresh`, or a place in the queue for one.
    fn admit<'l>(
        &mut self,
        local: &'l LocalCluster,
        endpoint: &'l Rc<LocalEndpoint>,
        fresh: bool,
        buffers: &'l BufPool,
    ) -> Result<Admitted<'l>, Termination> {
        self.info.upstream_host = Some(endpoint.address());
        upstream_attempt::admit(local, endpoint, self.sent_host(), fresh, buffers)
            .map_err(|error| refused(endpoint, error))
    }

    /// The connection that a request waits for.
    async fn connection(
        &mut self,
        local: &LocalCluster,
        endpoint: &Rc<LocalEndpoint>,
        pending: &mut Pending<'_>,
        retry_state: &RetryState<'_>,
    ) -> Result<Lease, Termination> {
        match waiting::in_time(self, retry_state, pin!(pending.connection())).await {
            Ok(Ok(upstream)) => Ok(upstream),
            Ok(Err(error)) => Err(refused(endpoint, error)),
            Err(ended) => {
                if matches!(ended, Termination::RequestTimedOut) {
                    time_out(local, &self.info);
                }
                Err(ended)
            }
        }
    }

    /// The Host that is sent.
    fn sent_host(&self) -> &[u8] {
        let of_client = || self.host();
        self.info.authority.map_or_else(of_client, str::as_bytes)
    }

    /// Sends the request on a connection and brings back its response.
    #[allow(clippy::too_many_arguments, reason = "as for `attempt_on`")]
    async fn send_on(
        &mut self,
        head: (Buf, &[NewCookie<'_>]),
        (local, endpoint, active): (&LocalCluster, &Rc<LocalEndpoint>, Active),
        mut upstream: Lease,
        retry_state: &mut RetryState<'_>,
    ) -> ExchangeResult {
        if let Some(route) = self.info.route_stats {
            route.upstream_rq_total.inc();
        }
        (self.info.upstream_connected, self.info.upstream_local) = (true, upstream.local());
        let reused = upstream.begin_request();
        let notes = ExchangeNotes::default();
        retry_state.progress.try_begins();
        let mut exchanged = self.exchange(head, local, &mut upstream, &notes, retry_state).await;
        if notes.tunnel.get() {
            self.run_tunnel(local, &mut upstream, &retry_state.progress).await;
        }
        self.info.sent += notes.sent.payload.get();
        self.conn.http.downstream_cx_tx_bytes_total.add(notes.sent.wire.get());
        local.stats.upstream_cx_tx_bytes_total.add(retry_state.progress.written.get());
        local.stats.upstream_cx_rx_bytes_total.add(notes.received.get() + notes.sent.received.get());
        drop(active);
        if let ExchangeResult::Attempt(AttemptResult::Final(RequestResult {
            ended: Termination::UpstreamReset, ..
        })) = exchanged
            && reused
            && notes.received.get() == 0
            && upstream.buf.is_empty()
            && retry_state.progress.replayable.get()
            && self.scratch.head.method.is_idempotent()
        {
            exchanged = ExchangeResult::StaleConnection;
        }
        if let ExchangeResult::Attempt(AttemptResult::Final(RequestResult {
            ended: ended @ Termination::UpstreamReset,
            ..
        })) = &mut exchanged
            && let Some(failure) = upstream.reader.tls_failure()
        {
            *ended = Termination::TlsBroke(Box::new(failure));
        }
        count(&exchanged, &self.info, &notes, (local, endpoint), &mut upstream);
        if let ExchangeResult::Attempt(AttemptResult::Final(RequestResult { ended, began, .. })) = &exchanged {
            report_end(local, retry_state.retries.at, ended, !began);
        }
        let now = io::now();
        if matches!(
            exchanged,
            ExchangeResult::Attempt(AttemptResult::Final(RequestResult { ended: Termination::Answered, .. }))
        ) && !notes.tunnel.get()
        {
            record_upstream_time(local, &self.info, &retry_state.progress, now);
            if notes.closed.get() {
                upstream.closed_by(Closed::Remote);
            }
            if retry_state.progress.sent.get() && !notes.reusable.get() {
                upstream.end_request(&self.conn.core.buffers);
            }
        }
        if notes.reusable.get() {
            upstream.expect(notes.received.get() + notes.sent.received.get());
            upstream.check_in(&self.conn.core.buffers, now);
        }
        exchanged
    }

    /// Turns the two connections into a tunnel until one of them ends.
    async fn run_tunnel(&mut self, local: &LocalCluster, upstream: &mut Upstream, progress: &Progress) {
        let http = self.conn.http.clone();
        http.downstream_cx_upgrades_total.inc();
        http.downstream_cx_upgrades_active.inc();
        let core = self.conn.core.clone();
        let mut early = core.buffers.head();
        early.extend(self.conn.input.bytes().get(self.conn.rest..).unwrap_or_default());
        early.extend(self.conn.behind.bytes());
        self.conn.input.truncate(self.conn.rest);
        self.conn.behind.clear();
        self.conn.entered.enter(Phase::Busy, None);
        let client =
            End { reader: &mut self.conn.reader, writer: &mut self.conn.writer, handle: self.conn.entered.handle() };
        let upstream = End { reader: &mut upstream.reader, writer: &mut upstream.writer, handle: &upstream.handle };
        let meters = Meters {
            up: [Some(&http.downstream_cx_rx_bytes_total), Some(&local.stats.upstream_cx_tx_bytes_total)],
            down: [Some(&http.downstream_cx_tx_bytes_total), Some(&local.stats.upstream_cx_rx_bytes_total)],
        };
        // Boxed, because tunnels are rare and their state must not weigh on every connection's task.
        let passed = Box::pin(tunnel::run(&core, client, upstream, early, Until::Either, meters)).await;
        http.downstream_cx_upgrades_active.dec();
        progress.received.set(progress.received.get() + passed.up);
        self.info.sent += passed.down;
        if passed.ending == Ending::Client {
            local_reply::note_termination(&mut self.info, &Termination::ClientGone);
        }
    }
}

/// Counts a request that gets no connection, and says how it ends.
fn refused(endpoint: &LocalEndpoint, error: NoConnection) -> Termination {
    // Not an endpoint's error: a circuit breaker has refused it.
    if !matches!(error, NoConnection::Overflow) {
        endpoint.stats.rq_error.inc();
    }
    Termination::from(error)
}

/// Counts how long a whole answer took from the end of its request, if that has ended.
fn record_upstream_time(local: &LocalCluster, info: &StreamInfo<'_>, progress: &Progress, now: Instant) {
    let Some(ended) = progress.ended.get() else { return };
    let took = u64::try_from(now.duration_since(ended).as_millis()).unwrap_or(u64::MAX);
    local.stats.upstream_rq_time.record(took);
    if let Some(route) = info.route_stats {
        route.upstream_rq_time.record(took);
    }
}

/// Counts how an attempt ended, for its cluster and its endpoint.
fn count(
    exchanged: &ExchangeResult,
    info: &StreamInfo<'_>,
    notes: &ExchangeNotes,
    (local, endpoint): (&LocalCluster, &LocalEndpoint),
    upstream: &mut Upstream,
) {
    let stats = &local.stats;
    let ended = match exchanged {
        ExchangeResult::StaleConnection => {
            upstream.closed_by(Closed::Remote);
            return stats.upstream_rq_rx_reset.inc();
        }
        ExchangeResult::Attempt(AttemptResult::Retry) => {
            if !notes.reusable.get() {
                stats.upstream_rq_tx_reset.inc();
            }
            return endpoint.stats.rq_error.inc();
        }
        ExchangeResult::Attempt(AttemptResult::Final(run)) => &run.ended,
    };
    match ended {
        Termination::Answered if info.status < 500 => return endpoint.stats.rq_success.inc(),
        Termination::Answered => {}
        Termination::UpstreamReset | Termination::TlsBroke(_) | Termination::UpstreamCut => {
            upstream.closed_by(Closed::Remote);
            stats.upstream_rq_rx_reset.inc();
            if matches!(ended, Termination::UpstreamCut) {
                stats.upstream_cx_protocol_error.inc();
            }
        }
        Termination::UpstreamProtocol | Termination::UpstreamCorrupt => stats.upstream_cx_protocol_error.inc(),
        Termination::RequestTimedOut | Termination::TryTimedOut => {
            if matches!(ended, Termination::TryTimedOut) {
                stats.upstream_rq_per_try_timeout.inc();
            } else {
                time_out(local, info);
            }
            endpoint.stats.rq_timeout.inc();
            stats.upstream_rq_tx_reset.inc();
        }
        _ => stats.upstream_rq_tx_reset.inc(),
    }
    endpoint.stats.rq_error.inc();
}

/// Counts a request whose route's timeout passed during an attempt.
fn time_out(local: &LocalCluster, info: &StreamInfo<'_>) {
    local.stats.upstream_rq_timeout.inc();
    if let Some(route) = info.route_stats {
        route.upstream_rq_timeout.inc();
    }
}

//! How a request gets its connection: at once, or after a wait that can be given up at any time.
//!
//! Callers outside of `upstream` need nothing else: neither how connections are pooled nor whether a circuit breaker has a
//! say. Requests of clients and their mirrors use the same interface.

use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::time::Instant;

use super::admission::{Admission, QueuedRequest};
use super::cluster::LocalCluster;
use super::connect::{open, open_raw};
use super::connection::Upstream;
use super::endpoint::LocalEndpoint;
use super::error::{NoConnection, Overflow};
use super::permits::Permit;
use crate::io::{BufPool, ServerName};
use crate::observe::stats::ClusterStats;

/// A connection on loan to one request, with the permit of the request where requests are limited.
///
/// It is given back by [`Lease::check_in`]; dropped, the connection is closed.
#[derive(Debug)]
pub struct Lease {
    connection: Box<Upstream>,
    endpoint: Rc<LocalEndpoint>,
    /// In a limited cluster: takes the connection back.
    admission: Option<Rc<Admission>>,
    request: Option<Permit>,
}

impl Deref for Lease {
    type Target = Upstream;

    fn deref(&self) -> &Upstream {
        &self.connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Upstream {
        &mut self.connection
    }
}

impl Lease {
    /// The request on the connection is over, whether or not another can follow it.
    pub fn end_request(&mut self, buffers: &BufPool) {
        self.connection.end_request(buffers);
        self.request = None;
    }

    /// Gives back a connection whose exchange is complete on both sides, with no bytes left over: it becomes idle at its
    /// endpoint, serves a waiting request, or is closed, if it has reached a limit or a reload has removed its endpoint.
    pub fn check_in(mut self, buffers: &BufPool, now: Instant) {
        self.end_request(buffers);
        let Self { connection, endpoint, admission, .. } = self;
        match admission {
            Some(admission) if connection.is_limited() => admission.settle(connection, &endpoint, false),
            // A plan without limits has taken a connection of a later one, which has them: its permit passes on.
            None if connection.is_limited() => {}
            _ if connection.may_go_on(now) && !endpoint.limited.get() => endpoint.put(connection, buffers, now),
            _ => {}
        }
    }
}

/// A request that may go to a cluster.
#[derive(Debug)]
pub enum Admitted<'a> {
    /// On this connection.
    Now(Lease),
    /// On a connection that is awaited.
    Pending(Pending<'a>),
}

/// A request that waits for a connection. Dropped, it has given up.
#[derive(Debug)]
pub struct Pending<'a> {
    local: &'a LocalCluster,
    endpoint: &'a Rc<LocalEndpoint>,
    buffers: &'a BufPool,
    /// Over TLS, the expected server name.
    name: Option<ServerName<'static>>,
    /// Its place in the queue, in a limited cluster.
    turn: Option<QueuedRequest>,
    ended: bool,
}

impl LocalCluster {
    /// A connection to `endpoint` for one request: one that rests, unless it must be `fresh`, or a new one. Over TLS the
    /// server there is to be `name`.
    ///
    /// # Errors
    /// A circuit breaker refuses the request: too many are under way, or wait.
    pub fn admit<'a>(
        &'a self,
        endpoint: &'a Rc<LocalEndpoint>,
        name: Option<ServerName<'_>>,
        fresh: bool,
        buffers: &'a BufPool,
    ) -> Result<Admitted<'a>, Overflow> {
        let ready = if fresh { None } else { endpoint.check_out(name.as_ref(), buffers) };
        if let Some(upstream) = ready {
            let (connection, request) = match self.admission() {
                None => (upstream, None),
                Some(admission) => {
                    let (upstream, request) = admission.attach(upstream, endpoint)?;
                    (upstream, Some(request))
                }
            };
            return Ok(Admitted::Now(self.lease(connection, endpoint, request)));
        }
        let name = name.map(|name| name.to_owned());
        let join = |admission: &Rc<Admission>| admission.join(endpoint, name.clone(), fresh);
        let turn = self.admission().map(join).transpose()?;
        self.stats.upstream_rq_pending_total.inc();
        self.stats.upstream_rq_pending_active.inc();
        endpoint.stats.rq_pending_active.inc();
        Ok(Admitted::Pending(Pending { local: self, endpoint, buffers, name, turn, ended: false }))
    }

    /// A new connection to `endpoint` for traffic that ringway does not decode. Such connections have no foreseeable end,
    /// so there is no waiting for one (Envoy's `TcpProxy`).
    ///
    /// # Errors
    /// See [`NoConnection`].
    pub async fn tunnel(
        &self,
        endpoint: &LocalEndpoint,
        name: Option<ServerName<'static>>,
        buffers: &BufPool,
    ) -> Result<Box<Upstream>, NoConnection> {
        let permit = self.admission().map(|admission| admission.take_or_free_permit()).transpose()?;
        let mut upstream = open_raw(self.settings(), (&self.stats, &*self.shared), endpoint, name).await?;
        if let (Some(admission), Some(permit)) = (self.admission(), permit) {
            admission.enter(&mut upstream, permit);
        }
        upstream.wake(buffers);
        Ok(upstream)
    }

    fn lease(&self, connection: Box<Upstream>, endpoint: &Rc<LocalEndpoint>, request: Option<Permit>) -> Lease {
        Lease { connection, endpoint: endpoint.clone(), admission: self.admission().cloned(), request }
    }

    /// The permit of a retry, to be held from the decision for it until its outcome is known; `None` for a cluster without
    /// limits.
    ///
    /// # Errors
    /// As many retries are under way as there may be.
    pub fn admit_retry(&self) -> Result<Option<Permit>, Overflow> {
        self.admission().map(|admission| admission.take_retry()).transpose()
    }
}

impl Pending<'_> {
    /// The connection, when it is there. May be dropped half-way.
    ///
    /// # Errors
    /// See [`NoConnection`].
    pub async fn connection(&mut self) -> Result<Lease, NoConnection> {
        let come = match &mut self.turn {
            Some(turn) => poll_fn(|cx| turn.poll(cx)).await.map(|(upstream, request)| (upstream, Some(request))),
            None => {
                // Boxed, because it is rare and holds a timer of its own, which would weigh on every connection's task.
                let cluster = (&self.local.stats, &*self.local.shared);
                let opened = Box::pin(open(self.local.settings(), cluster, self.endpoint, self.name.take())).await;
                opened.map_err(NoConnection::from).map(|mut upstream| {
                    upstream.wake(self.buffers);
                    (upstream, None)
                })
            }
        };
        self.ended = true;
        if let Err(NoConnection::Connect(_)) = come {
            self.stats().upstream_rq_pending_failure_eject.inc();
        }
        come.map(|(upstream, request)| self.local.lease(upstream, self.endpoint, request))
    }

    fn stats(&self) -> &ClusterStats {
        &self.local.stats
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.stats().upstream_rq_pending_active.dec();
        self.endpoint.stats.rq_pending_active.dec();
        if !self.ended {
            self.stats().upstream_rq_cancelled.inc();
        }
    }
}

//! How a request comes by its connection: at once, or after a wait that can be given up at any time.
//!
//! Callers outside of `upstream` need nothing else: neither how connections are pooled nor whether a circuit breaker has a
//! say. Requests of clients and shadows of them go the same way.

use std::future::poll_fn;
use std::rc::Rc;

use super::admission::{Admission, NoConnection, Overflow, Permit, Turn};
use super::connect::{open, open_raw};
use super::installed::{LocalCluster, LocalEndpoint};
use super::pool::Upstream;
use crate::io::{BufPool, ServerName};
use crate::observe::stats::ClusterStats;

/// A request that may go to a cluster.
#[derive(Debug)]
pub enum Admitted<'a> {
    /// On this connection. It is given back by [`LocalEndpoint::check_in`], or dropped.
    Now(Box<Upstream>),
    /// On a connection that is awaited.
    Pending(Pending<'a>),
}

/// A request that waits for a connection. Dropped, it has given up.
#[derive(Debug)]
pub struct Pending<'a> {
    local: &'a LocalCluster,
    endpoint: &'a Rc<LocalEndpoint>,
    buffers: &'a BufPool,
    /// Over TLS, who the server is to be.
    name: Option<ServerName<'static>>,
    /// Its place in the line, where connections are shared out.
    turn: Option<Turn>,
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
            let Some(admission) = self.admission() else { return Ok(Admitted::Now(upstream)) };
            return admission.attach(upstream, endpoint).map(Admitted::Now);
        }
        let name = name.map(|name| name.to_owned());
        let join = |admission: &Rc<Admission>| admission.join(endpoint, name.clone(), fresh);
        let turn = self.admission().map(join).transpose()?;
        self.stats.upstream_rq_pending_total.inc();
        self.stats.upstream_rq_pending_active.inc();
        endpoint.stats.rq_pending_active.inc();
        Ok(Admitted::Pending(Pending { local: self, endpoint, buffers, name, turn, ended: false }))
    }

    /// A connection to `endpoint` for bytes that are none of ours to understand: a new one, or none. Nobody can say when a
    /// connection like that ends, so there is no waiting for one (Envoy's `TcpProxy`).
    ///
    /// # Errors
    /// See [`NoConnection`].
    pub async fn tunnel(
        &self,
        endpoint: &LocalEndpoint,
        name: Option<ServerName<'static>>,
        buffers: &BufPool,
    ) -> Result<Box<Upstream>, NoConnection> {
        let place = self.admission().map(|admission| admission.take_or_free_place()).transpose()?;
        let mut upstream = open_raw(self.terms(), (&self.stats, &*self.shared), endpoint, name).await?;
        if let (Some(admission), Some(place)) = (self.admission(), place) {
            admission.enter(&mut upstream, place);
        }
        upstream.wake(buffers);
        Ok(upstream)
    }

    /// The permit of a retry, to be held from the decision for it until its outcome is known; `None` where nothing is
    /// limited.
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
    pub async fn connection(&mut self) -> Result<Box<Upstream>, NoConnection> {
        let come = match &mut self.turn {
            Some(turn) => poll_fn(|cx| turn.poll(cx)).await,
            None => {
                // Boxed, because it is rare and holds a timer of its own, which would weigh on every connection's task.
                let cluster = (&self.local.stats, &*self.local.shared);
                let opened = Box::pin(open(self.local.terms(), cluster, self.endpoint, self.name.take())).await;
                opened.map_err(NoConnection::from).map(|mut upstream| {
                    upstream.wake(self.buffers);
                    upstream
                })
            }
        };
        self.ended = true;
        if let Err(NoConnection::Connect(_)) = come {
            self.stats().upstream_rq_pending_failure_eject.inc();
        }
        come
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

//! Scripted connections in the pool of an endpoint, for tests of what sends requests over them.

use std::rc::Rc;

use super::cluster::LocalCluster;
use super::connection::Upstream;
use super::endpoint::LocalEndpoint;
use crate::io::{self, BufPool, Conn};

impl LocalCluster {
    /// Lays a connection to rest at an endpoint. It has carried no request, so that one whose connection breaks is not taken
    /// for a stale connection's and sent over another.
    pub(crate) fn rest(&self, endpoint: &Rc<LocalEndpoint>, conn: Conn, buffers: &BufPool) {
        let (to, now) = ((endpoint.address(), None), io::now());
        let upstream = Upstream::new(conn, &self.settings(), to, now, self.stats.clone(), endpoint.stats.clone());
        endpoint.put(upstream, buffers, now);
    }
}

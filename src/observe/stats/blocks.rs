//! The blocks: the statistics that exist, under Envoy's names. A field is listed only if something can count it.

use std::sync::OnceLock;

use super::block::{Block, Sample};
use super::cell::{Counter, Gauge};
use super::histogram::Histogram;
use super::mirrored::Mirrored;
use super::responses::Responses;

/// Declares a block: fields, their Envoy names (the field's own unless another is given), and `Block`.
/// The alignment keeps blocks of different cores off each other's cache lines (and the prefetched neighbours).
macro_rules! block {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $kind:ident $(= $text:literal)?,)* }) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct $name {
            $($(#[$doc])* pub $field: $kind,)*
        }

        impl Block for $name {
            fn each<'a>(&'a self, see: &mut dyn FnMut(&str, Sample<'a>)) {
                $(see(block!(@name $field $($text)?), (&self.$field).into());)*
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $text:literal) => { $text };
}
pub(super) use block;

block! {
    /// One core's counters of one upstream cluster; shown as `cluster.<name>.<field>`.
    ClusterCells {
        /// Connections opened or tried.
        upstream_cx_total: Counter,
        /// Connections that are open.
        upstream_cx_active: Gauge,
        /// HTTP/1.1 connections opened or tried.
        upstream_cx_http1_total: Counter,
        /// Connections that could not be established, time-outs included.
        upstream_cx_connect_fail: Counter,
        /// Connections not established within the connect timeout.
        upstream_cx_connect_timeout: Counter,
        /// Connections closed.
        upstream_cx_destroy: Counter,
        /// Connections closed by this side.
        upstream_cx_destroy_local: Counter,
        /// Connections closed by the upstream.
        upstream_cx_destroy_remote: Counter,
        /// Connections closed with a request under way.
        upstream_cx_destroy_with_active_rq: Counter,
        /// Connections closed by this side with a request under way.
        upstream_cx_destroy_local_with_active_rq: Counter,
        /// Connections closed by the upstream with a request under way.
        upstream_cx_destroy_remote_with_active_rq: Counter,
        /// Connections closed because of a protocol error.
        upstream_cx_protocol_error: Counter,
        /// Connections closed because they lay idle for too long.
        upstream_cx_idle_timeout: Counter,
        /// Connections closed because they had served their number of requests.
        upstream_cx_max_requests: Counter,
        /// Connections closed because they had become too old.
        upstream_cx_max_duration_reached: Counter,
        /// Requests that found no connection, and could not open one because of the limit of connections.
        upstream_cx_overflow: Counter,
        /// Times that no healthy endpoint could be chosen.
        upstream_cx_none_healthy: Counter,
        /// Picks among endpoints whatever their health, because too few are healthy.
        lb_healthy_panic: Counter,
        /// Bytes received.
        upstream_cx_rx_bytes_total: Counter,
        /// Bytes sent.
        upstream_cx_tx_bytes_total: Counter,
        /// Requests that got a connection, each attempt counted.
        upstream_rq_total: Counter,
        /// Requests under way.
        upstream_rq_active: Gauge,
        /// Requests that waited for a connection.
        upstream_rq_pending_total: Counter,
        /// Requests waiting for a connection.
        upstream_rq_pending_active: Gauge,
        /// Requests refused because too many waited.
        upstream_rq_pending_overflow: Counter,
        /// Requests refused because too many were under way.
        upstream_rq_active_overflow: Counter,
        /// Requests that failed because the connection they waited for was not established.
        upstream_rq_pending_failure_eject: Counter,
        /// Requests given up before they got a connection.
        upstream_rq_cancelled: Counter,
        /// Requests that the upstream reset.
        upstream_rq_rx_reset: Counter,
        /// Requests that this side reset.
        upstream_rq_tx_reset: Counter,
        /// Requests that took longer than the route's timeout.
        upstream_rq_timeout: Counter,
        /// Attempts that took longer than `perTryTimeout`.
        upstream_rq_per_try_timeout: Counter,
        /// Tries after the first.
        upstream_rq_retry: Counter,
        /// Retries after a back-off that grew.
        upstream_rq_retry_backoff_exponential: Counter,
        /// Requests not retried because their retries were used up.
        upstream_rq_retry_limit_exceeded: Counter,
        /// Requests not retried because of the limit of concurrent retries.
        upstream_rq_retry_overflow: Counter,
        /// Requests that a retry saved.
        upstream_rq_retry_success: Counter,
        /// Requests sent once more on a new connection, because the connection that they reused had just been closed:
        /// ringway's own, whatever the route retries.
        upstream_rq_retry_reused: Counter,
        /// Requests whose body became too large to be kept for another attempt.
        retry_or_shadow_abandoned: Counter,
        /// Milliseconds from the end of a request to the end of its response.
        upstream_rq_time: Histogram,
        /// Milliseconds that connecting took.
        upstream_cx_connect_ms: Histogram,
        /// Milliseconds that connections were open.
        upstream_cx_length_ms: Histogram,
    }
}

block! {
    /// One core's counters of TLS towards one upstream cluster; shown as `cluster.<name>.ssl.<field>`, for clusters
    /// that have it.
    SslStats {
        /// Handshakes that succeeded.
        handshake: Counter = "ssl.handshake",
        /// Of these, the ones that resumed an earlier session.
        session_reused: Counter = "ssl.session_reused",
        /// Handshakes that failed for other reasons than the server's certificate, but a connection that just ended.
        connection_error: Counter = "ssl.connection_error",
        /// Handshakes that failed because no trusted authority vouches for the server's certificate, or not any more.
        fail_verify_error: Counter = "ssl.fail_verify_error",
        /// Handshakes that failed because the server's certificate is for other names.
        fail_verify_san: Counter = "ssl.fail_verify_san",
        /// Handshakes that agreed on TLS 1.2.
        versions_1_2: Counter = "ssl.versions.TLSv1.2",
        /// Handshakes that agreed on TLS 1.3.
        versions_1_3: Counter = "ssl.versions.TLSv1.3",
    }
}

/// One core's counters of one upstream cluster; shown as `cluster.<name>.…`. Its fields are those of
/// [`ClusterCells`]; responses go through [`ClusterStats::response`].
#[derive(Debug, Default)]
pub struct ClusterStats {
    cells: ClusterCells,
    /// Made by the first response, so that ten thousand clusters without traffic cost little.
    responses: OnceLock<Box<Responses>>,
    /// Made by the first response that a retry replaced.
    retried: OnceLock<Box<Responses>>,
    /// Made by the first copy of a request.
    mirrored: OnceLock<Box<Mirrored>>,
    /// Made for clusters with TLS.
    ssl: OnceLock<Box<SslStats>>,
}

impl std::ops::Deref for ClusterStats {
    type Target = ClusterCells;

    fn deref(&self) -> &ClusterCells {
        &self.cells
    }
}

impl ClusterStats {
    /// Counts the response that a request ended with, the proxy's own included: `upstream_rq_completed`,
    /// `upstream_rq_<N>xx` and `upstream_rq_<code>`. Not for responses that a retry replaced.
    pub fn response(&self, status: u16) {
        self.responses.get_or_init(Box::default).count(status);
    }

    /// Counts a response that a retry replaces: `retry.upstream_rq_<code>` and its like.
    pub fn replaced(&self, status: u16) {
        self.retried.get_or_init(Box::default).count(status);
    }

    /// The counters of the cluster as a mirror.
    pub fn mirrored(&self) -> &Mirrored {
        self.mirrored.get_or_init(Box::default)
    }

    /// The numbers of TLS, which are shown from the first call on.
    pub fn ssl(&self) -> &SslStats {
        self.ssl.get_or_init(Box::default)
    }
}

impl Block for ClusterStats {
    fn each<'a>(&'a self, see: &mut dyn FnMut(&str, Sample<'a>)) {
        self.cells.each(see);
        // Envoy counts every response once more: to copies of requests as internal, to others as external.
        see("external.upstream_rq_time", (&self.cells.upstream_rq_time).into());
        if let Some(retried) = self.retried.get() {
            retried.each(|name, counter| see(&format!("retry.{name}"), counter.into()));
        }
        if let Some(ssl) = self.ssl.get() {
            ssl.each(see);
        }
        if let Some(responses) = self.responses.get() {
            responses.each(|name, counter| {
                see(name, counter.into());
                see(&format!("external.{name}"), counter.into());
            });
        }
        if let Some(mirrored) = self.mirrored.get() {
            mirrored.each(see);
        }
    }
}

block! {
    /// One core's counters of the routes with one `statPrefix` in one virtual host; shown as
    /// `vhost.<host>.route.<stat_prefix>.<field>`.
    RouteCells {
        /// Requests that these routes took.
        upstream_rq_total: Counter,
        /// Tries after the first.
        upstream_rq_retry: Counter,
        /// Requests not retried because their retries were used up.
        upstream_rq_retry_limit_exceeded: Counter,
        /// Requests not retried because of the limit of concurrent retries.
        upstream_rq_retry_overflow: Counter,
        /// Requests that a retry saved.
        upstream_rq_retry_success: Counter,
        /// Requests that took longer than the route's timeout.
        upstream_rq_timeout: Counter,
        /// Milliseconds from the end of a request to the end of its response.
        upstream_rq_time: Histogram,
    }
}

/// One core's counters of the routes with one `statPrefix` (`HTTPMatchRequest.statPrefix`) in one virtual host. Its
/// fields are those of [`RouteCells`]; responses go through [`RouteStats::response`].
#[derive(Debug, Default)]
pub struct RouteStats {
    cells: RouteCells,
    responses: OnceLock<Box<Responses>>,
}

impl std::ops::Deref for RouteStats {
    type Target = RouteCells;

    fn deref(&self) -> &RouteCells {
        &self.cells
    }
}

impl RouteStats {
    /// Counts the response that a request ended with, as [`ClusterStats::response`].
    pub fn response(&self, status: u16) {
        self.responses.get_or_init(Box::default).count(status);
    }
}

impl Block for RouteStats {
    fn each<'a>(&'a self, see: &mut dyn FnMut(&str, Sample<'a>)) {
        self.cells.each(see);
        if let Some(responses) = self.responses.get() {
            responses.each(|name, counter| see(name, counter.into()));
        }
    }
}

block! {
    /// One cluster's statistics that belong to no core; shown as `cluster.<name>.<field>`.
    SharedCells {
        /// Endpoints.
        membership_total: Gauge,
        /// Endpoints that may be chosen.
        membership_healthy: Gauge,
        /// Endpoints that say of themselves that they are degraded: to health checks, which Istio never makes.
        membership_degraded: Gauge,
        /// Endpoints that no health check has passed on yet.
        membership_excluded: Gauge,
        /// Times that the endpoints were others than before.
        membership_change: Counter,
        /// DNS resolutions of the endpoints' names that were started.
        update_attempt: Counter,
        /// Answers to that.
        update_success: Counter,
        /// Failures of name servers to answer.
        update_failure: Counter,
        /// Ignored updates without endpoints; as in Envoy, DNS answers do not count as such.
        update_empty: Counter,
        /// Answers without a change.
        update_no_rebuild: Counter,
        /// 1 while no further connection may be opened.
        default_cx_open: Gauge = "circuit_breakers.default.cx_open",
        /// 1 while no further request may wait.
        default_rq_pending_open: Gauge = "circuit_breakers.default.rq_pending_open",
        /// 1 while no further request may be sent.
        default_rq_open: Gauge = "circuit_breakers.default.rq_open",
        /// 1 while no further retry may be made.
        default_rq_retry_open: Gauge = "circuit_breakers.default.rq_retry_open",
        /// As `default_cx_open`, of the high priority, which Istio never uses.
        high_cx_open: Gauge = "circuit_breakers.high.cx_open",
        /// As `default_rq_pending_open`, of the high priority.
        high_rq_pending_open: Gauge = "circuit_breakers.high.rq_pending_open",
        /// As `default_rq_open`, of the high priority.
        high_rq_open: Gauge = "circuit_breakers.high.rq_open",
        /// As `default_rq_retry_open`, of the high priority.
        high_rq_retry_open: Gauge = "circuit_breakers.high.rq_retry_open",
    }
}

block! {
    /// One core's counters of one endpoint of one cluster; shown in `/clusters`.
    EndpointStats {
        /// Connections opened or tried.
        cx_total: Counter,
        /// Connections that are open.
        cx_active: Gauge,
        /// Connections that could not be established.
        cx_connect_fail: Counter,
        /// Requests sent, each attempt counted.
        rq_total: Counter,
        /// Requests under way.
        rq_active: Gauge,
        /// Requests that wait for a connection.
        rq_pending_active: Gauge,
        /// Requests answered with a status below 500.
        rq_success: Counter,
        /// Requests answered with a status of 500 or more, or not at all.
        rq_error: Counter,
        /// Requests that timed out.
        rq_timeout: Counter,
    }
}

block! {
    /// The process, as the control side states it; shown as `server.<field>`.
    ServerStats {
        /// Seconds since the start.
        uptime: Gauge,
        /// 1 while the process serves and does not drain.
        live: Gauge,
        /// Worker threads.
        concurrency: Gauge,
        /// 0 live, 1 draining, 2 pre-initializing, 3 initializing (Envoy's `ServerInfo.State`).
        state: Gauge,
    }
}

block! {
    /// The work of control; shown as `ringway.<field>`.
    ControlStats {
        /// Reloads that are in force, or were.
        config_reload_success: Counter,
        /// Reloads that were refused: the configuration before stayed in force.
        config_reload_failure: Counter,
        /// Workers that died and were replaced.
        worker_restarts: Counter,
    }
}

block! {
    /// The fate of access log lines, counted by each core's buffer and by the writer thread; shown as
    /// `access_log.<field>`.
    LogStats {
        /// Lines written.
        written_lines: Counter,
        /// Lines thrown away because the writer could not keep up, or could not write.
        dropped_lines: Counter,
        /// Writes that failed.
        write_errors: Counter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(block: &dyn Block) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        block.each(&mut |name, sample| {
            if let Sample::Counter(counter) = sample {
                all.push((name.to_owned(), counter.get()));
            }
        });
        all
    }

    fn value(block: &dyn Block, name: &str) -> Option<u64> {
        shown(block).into_iter().find(|(each, _)| each == name).map(|(_, value)| value)
    }

    #[test]
    fn a_response_counts_by_code_class_and_origin() {
        let stats = ClusterStats::default();
        for status in [200, 200, 503] {
            stats.response(status);
        }
        for (name, expected) in [
            ("upstream_rq_completed", Some(3)),
            ("upstream_rq_200", Some(2)),
            ("upstream_rq_2xx", Some(2)),
            ("upstream_rq_503", Some(1)),
            ("upstream_rq_5xx", Some(1)),
            ("external.upstream_rq_503", Some(1)),
            ("upstream_rq_404", None),
            ("upstream_rq_4xx", None),
        ] {
            assert_eq!(value(&stats, name), expected, "{name}");
        }
    }

    #[test]
    fn a_replaced_response_counts_apart() {
        let stats = ClusterStats::default();
        stats.replaced(503);
        stats.response(200);
        for (name, expected) in [
            ("retry.upstream_rq_503", Some(1)),
            ("retry.upstream_rq_5xx", Some(1)),
            ("retry.upstream_rq_completed", Some(1)),
            ("upstream_rq_503", None),
            ("upstream_rq_completed", Some(1)),
        ] {
            assert_eq!(value(&stats, name), expected, "{name}");
        }
    }

    #[test]
    fn odd_codes_are_unknown_not_a_panic() {
        let stats = ClusterStats::default();
        for status in [0, 99, 600, 999, u16::MAX] {
            stats.response(status);
        }
        assert_eq!(value(&stats, "upstream_rq_unknown"), Some(5));
        stats.response(100);
        stats.response(599);
        assert_eq!((value(&stats, "upstream_rq_100"), value(&stats, "upstream_rq_599")), (Some(1), Some(1)));
    }

    #[test]
    fn an_idle_cluster_is_small() {
        let size = size_of::<ClusterStats>();
        assert!(size <= 512, "a cluster without traffic takes {size} bytes a core");
    }
}

//! Downstream counters: of the connections of a listener, and of the HTTP on them.

use super::block::{Block, Sample};
use super::blocks::block;
use super::cell::{Counter, Gauge};
use super::histogram::Histogram;

block! {
    /// One core's counters of the HTTP of one listener; shown as `http.<stat_prefix>.<field>`.
    HttpStats {
        /// Connections accepted.
        downstream_cx_total: Counter,
        /// Connections that are open.
        downstream_cx_active: Gauge,
        /// HTTP/1.x connections accepted.
        downstream_cx_http1_total: Counter,
        /// HTTP/1.x connections that are open.
        downstream_cx_http1_active: Gauge,
        /// Connections closed.
        downstream_cx_destroy: Counter,
        /// Connections closed by this side.
        downstream_cx_destroy_local: Counter,
        /// Connections closed by the client.
        downstream_cx_destroy_remote: Counter,
        /// Connections closed with a request under way.
        downstream_cx_destroy_active_rq: Counter,
        /// Connections closed by this side with a request under way.
        downstream_cx_destroy_local_active_rq: Counter,
        /// Connections closed by the client with a request under way.
        downstream_cx_destroy_remote_active_rq: Counter,
        /// Connections closed because of a protocol error.
        downstream_cx_protocol_error: Counter,
        /// Connections closed because they lay idle for too long.
        downstream_cx_idle_timeout: Counter,
        /// Connections closed because the listener drains.
        downstream_cx_drain_close: Counter,
        /// Connections that became a tunnel.
        downstream_cx_upgrades_total: Counter,
        /// Connections that are a tunnel.
        downstream_cx_upgrades_active: Gauge,
        /// Bytes received.
        downstream_cx_rx_bytes_total: Counter,
        /// Bytes sent.
        downstream_cx_tx_bytes_total: Counter,
        /// Requests.
        downstream_rq_total: Counter,
        /// HTTP/1.x requests.
        downstream_rq_http1_total: Counter,
        /// Requests under way.
        downstream_rq_active: Gauge,
        /// Requests that were answered.
        downstream_rq_completed: Counter,
        /// Requests answered with 1xx (101).
        downstream_rq_1xx: Counter,
        /// Requests answered with 2xx.
        downstream_rq_2xx: Counter,
        /// Requests answered with 3xx.
        downstream_rq_3xx: Counter,
        /// Requests answered with 4xx.
        downstream_rq_4xx: Counter,
        /// Requests answered with 5xx.
        downstream_rq_5xx: Counter,
        /// Requests that the client gave up.
        downstream_rq_rx_reset: Counter,
        /// Requests that this side cut off after their response had begun.
        downstream_rq_tx_reset: Counter,
        /// Requests whose head or body did not arrive in time.
        downstream_rq_timeout: Counter,
        /// Requests whose head did not arrive in time.
        downstream_rq_header_timeout: Counter,
        /// Requests that asked for an upgrade that is not allowed.
        downstream_rq_ws_on_non_ws_route: Counter,
        /// Milliseconds from the first byte of a request to the last of its response.
        downstream_rq_time: Histogram,
        /// Milliseconds that connections were open.
        downstream_cx_length_ms: Histogram,
        /// Requests that reached the router.
        rq_total: Counter,
        /// Requests without a matching route.
        no_route: Counter,
        /// Requests whose route names a cluster that does not exist.
        no_cluster: Counter,
        /// Requests that a route answered itself, with a redirect or with a direct response.
        rq_direct_response: Counter,
        /// Requests that a fault delayed.
        fault_delays_injected: Counter = "fault.delays_injected",
        /// Requests that a fault aborted.
        fault_aborts_injected: Counter = "fault.aborts_injected",
        /// Requests under way that a fault delayed or aborted.
        fault_active_faults: Gauge = "fault.active_faults",
        /// Requests with an `origin` that the route's CORS policy allows.
        cors_origin_valid: Counter = "cors.origin_valid",
        /// Requests with an `origin` that the route's CORS policy does not allow.
        cors_origin_invalid: Counter = "cors.origin_invalid",
    }
}

impl HttpStats {
    /// Counts the response that a request ended with: `downstream_rq_completed` and `downstream_rq_<N>xx`.
    pub fn response(&self, status: u16) {
        self.downstream_rq_completed.inc();
        match status {
            100..200 => self.downstream_rq_1xx.inc(),
            200..300 => self.downstream_rq_2xx.inc(),
            300..400 => self.downstream_rq_3xx.inc(),
            400..500 => self.downstream_rq_4xx.inc(),
            500..600 => self.downstream_rq_5xx.inc(),
            _ => {}
        }
    }
}

block! {
    /// One core's counters of one listener; shown as `listener.<name>.<field>`, and the connections accepted also by
    /// worker, because the kernel may spread them unevenly.
    ListenerStats {
        /// Connections accepted.
        downstream_cx_total: Counter,
        /// Connections that are open.
        downstream_cx_active: Gauge,
        /// Connections closed.
        downstream_cx_destroy: Counter,
        /// Connections refused because there were too many.
        downstream_cx_overflow: Counter,
        /// Connections closed because no rule takes them: no TLS, or no server name that any rule has.
        no_filter_chain_match: Counter,
        /// Milliseconds that connections were open.
        downstream_cx_length_ms: Histogram,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downstream_classes() {
        let stats = HttpStats::default();
        for status in [101, 204, 404, 404, 503, 0] {
            stats.response(status);
        }
        let mut shown = Vec::new();
        stats.each(&mut |name, sample| {
            if let Sample::Counter(counter) = sample {
                shown.push((name.to_owned(), counter.get()));
            }
        });
        for (name, expected) in [
            ("downstream_rq_completed", 6),
            ("downstream_rq_1xx", 1),
            ("downstream_rq_2xx", 1),
            ("downstream_rq_3xx", 0),
            ("downstream_rq_4xx", 2),
            ("downstream_rq_5xx", 1),
        ] {
            assert!(shown.contains(&(name.to_owned(), expected)), "{name}: {shown:?}");
        }
    }
}

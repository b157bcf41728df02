//! A connection to a gateway's listener that is not looked into: TLS by its server name, or TCP. What no rule takes is
//! closed, with flag NR.

use crate::io;
use crate::plan::Detected;

use crate::proxy::core::Phase;
use crate::proxy::downstream::accept::Accepted;
use crate::proxy::l4::detect::{DetectionTimeouts, first_bytes};
use crate::proxy::l4::tcp::{self, To};
use crate::proxy::router::termination::Termination;

/// Serves the connection to its end.
pub(crate) async fn serve(mut accepted: Accepted) {
    let (installed, listener) = accepted.core.installed_at(&accepted.listener_handle);
    let Some(streams) = installed.plan.listeners.get(listener.index()).and_then(|of| of.streams.as_deref()) else {
        return;
    };
    let mut server_name = None;
    if streams.tls {
        let limit = installed.plan.proxy.limits.headers_timeout;
        // Like a request's head: from the connect to its end.
        accepted.entered.enter(Phase::Idle, Some(io::now() + limit));
        let Accepted { core, reader, seen, .. } = &mut accepted;
        let patience = DetectionTimeouts { begin: Some(limit), end: limit };
        let Some(seen) = first_bytes(core, reader, seen, patience).await else { return };
        server_name = Detected::server_name(&seen).map(|name| String::from_utf8_lossy(name).into_owned());
    }
    let found = streams.find(server_name.as_deref().map(str::as_bytes));
    if found.is_none()
        && let Some(stats) = installed.stats.listeners.get(listener.index())
    {
        stats.no_filter_chain_match.inc();
    }
    let to = found.map_or(To::Nowhere(Termination::NoRule), To::TcpRoute);
    tcp::serve(accepted, (installed, listener), to, server_name).await;
}

//! From an accepted connection to its filter chain: HTTP, or a TCP proxy.
//!
//! The steps: inspect the connection as the listener's filter chains need it (original destination, server name of its TLS,
//! protocol of its first bytes); choose the chain; apply the chain's transport; hand the connection to HTTP or to the TCP
//! proxy. The transport of every chain is plain: the bytes are forwarded as received, beginning with those that were read to
//! choose the chain. Called by `h1::serve`.

use std::rc::Rc;

use crate::base::id::ListenerId;
use crate::io::{self, Timer};
use crate::plan::{ChainSelection, Listener, Outbound, Then};
use crate::proxy::core::Phase;
use crate::proxy::downstream::accept::Accepted;
use crate::proxy::downstream::connection::ClientConnection;
use crate::proxy::dynamic::passthrough;
use crate::proxy::l4::detect::{DetectionTimeouts, first_bytes};
use crate::proxy::l4::tcp::{self, TcpTarget};
use crate::proxy::router::termination::Termination;
use crate::upstream::Installed;

/// The client connection of an accepted one, if that is HTTP; other connections are served to their end here. A function of
/// its own, so that the task of a client connection does not keep the state of these steps.
pub(super) async fn establish(accepted: Accepted) -> Option<Box<ClientConnection>> {
    if accepted.is_http {
        return ClientConnection::open(accepted);
    }
    // Boxed, because their state must not weigh on every connection's task.
    let (accepted, found) = Box::pin(find_chain(accepted)).await?;
    match found {
        Found::Http => ClientConnection::open(accepted),
        Found::Tcp(tcp) => {
            let Tcp { plan, target, server_name } = *tcp;
            Box::pin(tcp::serve(accepted, plan, target, server_name)).await;
            None
        }
    }
}

/// A connection by its filter chain.
enum Found {
    Http,
    Tcp(Box<Tcp>),
}

/// A connection of a TCP proxy, without its bytes.
struct Tcp {
    /// The plan that the chain was found in, and the listener's number there.
    plan: (Rc<Installed>, ListenerId),
    target: TcpTarget,
    server_name: Option<String>,
}

/// The number of a chain, or why there is none.
struct Selected {
    chain: Result<usize, TcpTarget>,
    server_name: Option<String>,
}

/// Finds the connection's filter chain; `None`: the connection has ended without a byte.
async fn find_chain(mut accepted: Accepted) -> Option<(Accepted, Found)> {
    let (installed, id) = accepted.core.installed_at(&accepted.listener_handle);
    let listener = installed.plan.listeners.get(id.index())?;
    let Selected { chain, server_name } = match listener.chains.selection() {
        ChainSelection::First => Selected { chain: chain_or_closed(listener, None), server_name: None },
        ChainSelection::ServerName(_) => by_server_name(&mut accepted, &installed, listener).await?,
        ChainSelection::Destination(outbound) => by_destination(&mut accepted, &installed, outbound).await?,
    };
    let target = match chain {
        Ok(number) => match &listener.chains.get(number)?.then {
            Then::Http(_) => return Some((accepted, Found::Http)),
            Then::Tcp(_) => TcpTarget::Chain(number),
        },
        Err(target) => target,
    };
    if matches!(target, TcpTarget::Nowhere(Termination::NoFilterChain))
        && let Some(stats) = installed.stats.listeners.get(id.index())
    {
        stats.no_filter_chain_match.inc();
    }
    let plan = (installed.clone(), id);
    Some((accepted, Found::Tcp(Box::new(Tcp { plan, target, server_name }))))
}

/// The chain for a server name; a connection without a chain is closed, with flag NR.
fn chain_or_closed(listener: &Listener, server_name: Option<&[u8]>) -> Result<usize, TcpTarget> {
    listener.chains.for_server_name(server_name).ok_or(TcpTarget::Nowhere(Termination::NoFilterChain))
}

/// Finds the chain by the server name of the ClientHello.
async fn by_server_name(accepted: &mut Accepted, installed: &Installed, listener: &Listener) -> Option<Selected> {
    let limit = installed.plan.proxy.limits.headers_timeout;
    // As for a request's head, the time is from the connect to the end of the hello.
    accepted.entered.enter(Phase::Idle, Some(io::now() + limit));
    let Accepted { core, reader, seen, .. } = accepted;
    let timeouts = DetectionTimeouts { begin: Some(limit), end: limit };
    let detected = first_bytes(core, reader, seen, timeouts).await?;
    let chain = chain_or_closed(listener, detected.server_name());
    Some(Selected { chain, server_name: detected.server_name().map(lossy) })
}

/// Finds the chain by the address that the connection was sent to and, where that does not decide, by the protocol of its first
/// bytes.
async fn by_destination(accepted: &mut Accepted, installed: &Installed, outbound: &Outbound) -> Option<Selected> {
    let destination = accepted.destination?;
    let plan = &installed.plan.proxy;
    // A client that connected to the listener itself, and was redirected, would come back here for ever.
    if let Some(original) = accepted.original
        && accepted.core.may_listen_on(original.port())
    {
        let deadline = io::now() + plan.connect_timeout;
        let found = passthrough::of_original(&accepted.core, &mut Timer::default(), outbound, original, deadline).await;
        if matches!(found, Err(Termination::Circular)) {
            return Some(Selected { chain: Err(TcpTarget::Nowhere(Termination::Circular)), server_name: None });
        }
    }
    if let Some(number) = outbound.chain_without_detection(destination) {
        return Some(Selected { chain: Ok(number), server_name: None });
    }
    accepted.entered.enter(Phase::Idle, Some(io::now() + plan.limits.idle_timeout));
    let Accepted { core, reader, seen, .. } = accepted;
    let timeouts = DetectionTimeouts { begin: outbound.detection_timeout, end: plan.limits.headers_timeout };
    let detected = first_bytes(core, reader, seen, timeouts).await?;
    let chain = outbound.chain(destination, &detected).ok_or(TcpTarget::Undeclared);
    Some(Selected { chain, server_name: detected.server_name().map(lossy) })
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

//! The destination of a request or connection that is not for a service (ALLOW_ANY): its original destination, or the
//! addresses of its host.
//!
//! Addresses are checked here, right before they are used, never names: no name is resolved a second time. Called by
//! `router::route` and `l4`.

use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use crate::http::target;
use crate::io::{self, Either, Timer, race};
use crate::plan::Outbound;
use crate::policy::local_addresses::stays_local;
use crate::proxy::core::Core;
use crate::proxy::dynamic::host_cache::ResolvedAuthority;
use crate::proxy::router::termination::Termination;

/// Addresses to attempt in turn; not empty. Small, because a request holds it to its end.
#[derive(Debug)]
pub(crate) enum Addresses {
    One(SocketAddr),
    /// [`ResolvedAuthority::At`].
    Known(Rc<ResolvedAuthority>),
}

impl Deref for Addresses {
    type Target = [SocketAddr];

    fn deref(&self) -> &[SocketAddr] {
        match self {
            Self::One(address) => std::slice::from_ref(address),
            Self::Known(known) => match &**known {
                ResolvedAuthority::At(addresses) => addresses,
                ResolvedAuthority::Here | ResolvedAuthority::Unknown => &[],
            },
        }
    }
}

/// Where the host of an authority (`host` or `host:port`) is, if control knows by `deadline`.
///
/// # Errors
/// [`Termination::Unresolved`], [`Termination::Circular`], [`Termination::LocalTarget`].
pub(crate) async fn of_authority(
    core: &Core,
    timer: &mut Timer,
    outbound: Option<&Outbound>,
    authority: &[u8],
    deadline: Instant,
) -> Result<Addresses, Termination> {
    let name = std::str::from_utf8(authority).ok().filter(|_| target::is_authority(authority));
    let name = name.ok_or(Termination::Unresolved)?;
    let found = pin!(core.names.find(name, io::now()));
    let found = match race(found, pin!(timer.until(deadline))).await {
        Either::Left(found) => found,
        Either::Right(()) => return Err(Termination::Unresolved),
    };
    match &*found {
        ResolvedAuthority::At(_) => permitted(outbound, found).map(Addresses::Known),
        ResolvedAuthority::Here => Err(Termination::Circular),
        ResolvedAuthority::Unknown => Err(Termination::Unresolved),
    }
}

/// The original destination of a connection. Control is asked only if it might be one of the proxy's own.
///
/// # Errors
/// As [`of_authority`].
pub(crate) async fn of_original(
    core: &Core,
    timer: &mut Timer,
    outbound: &Outbound,
    original: SocketAddr,
    deadline: Instant,
) -> Result<Addresses, Termination> {
    if core.may_listen_on(original.port()) {
        return of_authority(core, timer, Some(outbound), original.to_string().as_bytes(), deadline).await;
    }
    if outbound.allow_local || !stays_local(original.ip()) {
        Ok(Addresses::One(original))
    } else {
        Err(Termination::LocalTarget)
    }
}

/// An answer without the addresses that the listener does not lend its reach to; with all of them where that makes no
/// difference.
///
/// # Errors
/// [`Termination::LocalTarget`].
pub(crate) fn permitted(
    outbound: Option<&Outbound>,
    found: Rc<ResolvedAuthority>,
) -> Result<Rc<ResolvedAuthority>, Termination> {
    let (Some(outbound), ResolvedAuthority::At(addresses)) = (outbound, &*found) else { return Ok(found) };
    let open = |address: &&SocketAddr| outbound.allow_local || !stays_local(address.ip());
    if addresses.iter().all(|address| open(&address)) {
        return Ok(found);
    }
    let allowed: Box<[SocketAddr]> = addresses.iter().filter(open).copied().collect();
    if allowed.is_empty() { Err(Termination::LocalTarget) } else { Ok(Rc::new(ResolvedAuthority::At(allowed))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{HttpRoutes, OutboundPolicy, RouteTable};

    #[test]
    fn only_what_was_checked_is_connected_to() {
        let addresses: Vec<SocketAddr> =
            ["127.0.0.1:80", "93.184.216.34:80", "[fe80::1]:80", "[2001:db8::1]:80", "[::ffff:127.0.0.1]:80"]
                .map(|address| address.parse().expect("an address"))
                .into();
        let outbound = |allow_local| {
            let policy = OutboundPolicy { allow_local, ..OutboundPolicy::default() };
            Outbound::new(policy, HttpRoutes::One(RouteTable::new(None, Vec::new())), Vec::new()).0
        };
        let (guarded, open) = (outbound(false), outbound(true));
        let of = |outbound: &Outbound, addresses: &[SocketAddr]| {
            let found = permitted(Some(outbound), Rc::new(ResolvedAuthority::At(addresses.into())))?;
            Ok::<_, Termination>(Addresses::Known(found).to_vec())
        };
        assert_eq!(of(&guarded, &addresses).expect("two are left"), [addresses[1], addresses[3]]);
        assert_eq!(of(&open, &addresses).expect("all"), addresses);
        assert!(matches!(of(&guarded, &addresses[..1]), Err(Termination::LocalTarget)));
    }
}

//! Attempts at clusters without endpoints: a ServiceEntry's `resolution: NONE` or `DYNAMIC_DNS`. The request goes to the
//! addresses of its own authority, if the ServiceEntry has such a host.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use smallvec::SmallVec;

use crate::http::target;
use crate::io::{Either, Timer, now, race};
use crate::plan::{Cluster, OwnAuthority};
use crate::proxy::core::Core;
use crate::proxy::dynamic::host_cache::ResolvedAuthority;
use crate::proxy::router::retry_state::RetryState;
use crate::proxy::router::termination::Termination;
use crate::proxy::router::waiting;
use crate::proxy::stream::Stream;

/// Longer authorities do not exist: a name has 253 bytes, a port 6.
const LONGEST: usize = 260;

/// Where the request goes; at least one address.
pub(crate) async fn find(
    stream: &mut Stream<'_>,
    cluster: &Cluster,
    own: &OwnAuthority,
    retry_state: &RetryState<'_>,
) -> Result<Rc<ResolvedAuthority>, Termination> {
    // A request at a gateway was sent to the gateway, and would come back.
    if !(own.at_gateways || stream.parsed.downstream.is_trusted()) {
        return Err(Termination::NoEndpoint);
    }
    // Of an application it is known where it was sent (Envoy's ORIGINAL_DST).
    if let Some(original) = stream.conn.original.filter(|_| !own.at_gateways) {
        return Ok(Rc::new(ResolvedAuthority::At([original].into())));
    }
    let name = authority(stream.parsed.host.of(stream.conn.input.bytes()), own).ok_or(Termination::NoEndpoint)?;
    let name = std::str::from_utf8(&name).map_err(|_| Termination::NoEndpoint)?;
    let began = now();
    let core = stream.conn.core.clone();
    match known(&core, name, began).await {
        Some(known) => somewhere(Some(known)),
        // Boxed, because it is rare and holds a timer of its own.
        None => {
            let asking = Box::pin(answer(&core, name, began + cluster.connect_timeout));
            somewhere(waiting::in_time(stream, retry_state, asking).await?)
        }
    }
}

/// Where a copy goes whose request has this authority; at least one address.
pub(crate) async fn find_for_copy(
    core: &Core,
    cluster: &Cluster,
    own: &OwnAuthority,
    asked: &[u8],
    believed: bool,
) -> Result<Rc<ResolvedAuthority>, Termination> {
    if !(own.at_gateways || believed) {
        return Err(Termination::NoEndpoint);
    }
    let name = authority(asked, own).ok_or(Termination::NoEndpoint)?;
    let name = std::str::from_utf8(&name).map_err(|_| Termination::NoEndpoint)?;
    somewhere(answer(core, name, now() + cluster.connect_timeout).await)
}

/// The addresses of an answer; `None`: it did not come in time.
fn somewhere(found: Option<Rc<ResolvedAuthority>>) -> Result<Rc<ResolvedAuthority>, Termination> {
    let found = found.ok_or(Termination::Unresolved)?;
    match *found {
        ResolvedAuthority::At(_) => Ok(found),
        ResolvedAuthority::Here => Err(Termination::Circular),
        ResolvedAuthority::Unknown => Err(Termination::Unresolved),
    }
}

/// The addresses in an answer that [`find`] gave.
pub(crate) fn addresses(found: &ResolvedAuthority) -> &[SocketAddr] {
    match found {
        ResolvedAuthority::At(addresses) => addresses,
        ResolvedAuthority::Here | ResolvedAuthority::Unknown => &[],
    }
}

/// The authority to resolve: the host in lower case, with the port to connect to. `None`: it is not a host of the
/// ServiceEntry.
pub(crate) fn authority(asked: &[u8], own: &OwnAuthority) -> Option<SmallVec<[u8; 64]>> {
    if asked.len() > LONGEST || !target::is_authority(asked) {
        return None;
    }
    let text = std::str::from_utf8(asked).ok()?;
    let host = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => text,
    };
    if !own.covers(host) {
        return None;
    }
    let mut name = SmallVec::new();
    match own.port {
        None => name.extend_from_slice(asked),
        Some(port) => {
            name.extend_from_slice(host.as_bytes());
            name.push(b':');
            name.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
        }
    }
    name.make_ascii_lowercase();
    Some(name)
}

/// The cached answer, without waiting.
async fn known(core: &Core, name: &str, now: Instant) -> Option<Rc<ResolvedAuthority>> {
    let mut find = pin!(core.names.find(name, now));
    poll_fn(|cx| {
        Poll::Ready(match find.as_mut().poll(cx) {
            Poll::Ready(found) => Some(found),
            Poll::Pending => None,
        })
    })
    .await
}

/// Control's answer, unless it takes too long.
async fn answer(core: &Core, name: &str, end: Instant) -> Option<Rc<ResolvedAuthority>> {
    let mut timer = Timer::default();
    match race(pin!(core.names.find(name, now())), pin!(timer.until(end))).await {
        Either::Left(found) => Some(found),
        Either::Right(()) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_hosts_are_asked_about() {
        let asked = |host: &str, port, authority: &str| {
            let own = OwnAuthority { host: host.into(), port, at_gateways: true };
            super::authority(authority.as_bytes(), &own).map(|name| String::from_utf8_lossy(&name).into_owned())
        };
        for (host, port, authority, expected) in [
            ("*.wikipedia.org", Some(443), "EN.wikipedia.org:80", Some("en.wikipedia.org:443")),
            ("*.wikipedia.org", None, "en.wikipedia.org:81", Some("en.wikipedia.org:81")),
            ("*.wikipedia.org", None, "a.b.wikipedia.org", Some("a.b.wikipedia.org")),
            ("*.wikipedia.org", None, "en.wikipedia.org.", Some("en.wikipedia.org.")),
            ("*.wikipedia.org", None, "wikipedia.org", None),
            ("*.wikipedia.org", None, ".wikipedia.org", None),
            ("*.wikipedia.org", None, "evilwikipedia.org", None),
            ("*.wikipedia.org", None, "en.wikipedia.org.evil.com", None),
            ("a.example.com", None, "A.example.com", Some("a.example.com")),
            ("a.example.com", None, "b.a.example.com", None),
            ("a.example.com", None, "[::1]:80", None),
            ("*.org", None, "a@b.org", None),
        ] {
            assert_eq!(asked(host, port, authority).as_deref(), expected, "{authority} at {host}");
        }
        assert_eq!(asked("*.org", None, &format!("{}.org", "a".repeat(300))), None);
    }
}

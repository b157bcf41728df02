//! Resolving names for the workers: `getaddrinfo` blocks, so each question has a thread of its own for as long as it
//! takes; a few at once, the others wait.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::Sender;

use super::Event;
use crate::proxy::Whereabouts;

/// Questions that are worked on at once.
const MOST_AT_ONCE: usize = 8;

/// Addresses of a host that are tried.
const MOST_ADDRESSES: usize = 8;

/// The port of an authority that names none.
const HTTP_PORT: u16 = 80;

/// A worker wants to know where an authority is.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) worker: usize,
    /// `host` or `host:port`.
    pub(super) authority: Box<str>,
    /// Where this process listens, and must not send requests to.
    pub(super) ours: Vec<SocketAddr>,
}

/// The questions under way.
pub(super) struct Resolver {
    events: Sender<Event>,
    busy: usize,
    waiting: VecDeque<Question>,
}

impl Resolver {
    /// Answers come as [`Event::Resolved`].
    pub(super) fn new(events: Sender<Event>) -> Self {
        Self { events, busy: 0, waiting: VecDeque::new() }
    }

    pub(super) fn ask(&mut self, question: Question) {
        self.waiting.push_back(question);
        self.go_on();
    }

    /// An answer has come.
    pub(super) fn done(&mut self) {
        self.busy -= 1;
        self.go_on();
    }

    fn go_on(&mut self) {
        while self.busy < MOST_AT_ONCE {
            let Some(Question { worker, authority, ours }) = self.waiting.pop_front() else { return };
            let events = self.events.clone();
            let name = authority.clone();
            let work = move || {
                let whereabouts = whereabouts(&authority, &ours);
                let _ = events.send(Event::Resolved { worker, authority, whereabouts });
            };
            self.busy += 1;
            if std::thread::Builder::new().name("resolver".to_owned()).spawn(work).is_err() {
                let whereabouts = Whereabouts::Unknown;
                let _ = self.events.send(Event::Resolved { worker, authority: name, whereabouts });
            }
        }
    }
}

/// Where an authority is, in the order of the C library.
fn whereabouts(authority: &str, ours: &[SocketAddr]) -> Whereabouts {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => match port {
            "" => (host, Some(HTTP_PORT)),
            port => (host, port.parse().ok()),
        },
        _ => (authority, Some(HTTP_PORT)),
    };
    let Some(port) = port else { return Whereabouts::Unknown };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let Ok(found) = (host, port).to_socket_addrs() else { return Whereabouts::Unknown };
    let (mine, mut others): (Vec<_>, Vec<_>) = found.partition(|address| is_ours(*address, ours));
    others.truncate(MOST_ADDRESSES);
    match (others.is_empty(), mine.is_empty()) {
        (false, _) => Whereabouts::At(others.into()),
        (true, false) => Whereabouts::Here,
        (true, true) => Whereabouts::Unknown,
    }
}

/// Whether a connection to `address` would come to one of our own listeners.
fn is_ours(address: SocketAddr, ours: &[SocketAddr]) -> bool {
    let ip = address.ip().to_canonical();
    ours.iter().filter(|own| own.port() == address.port()).any(|own| {
        let bound = own.ip().to_canonical();
        bound == ip || ip.is_unspecified() && bound.is_loopback() || bound.is_unspecified() && is_of_this_host(ip)
    })
}

fn is_of_this_host(ip: IpAddr) -> bool {
    ip.is_loopback()
        || ip.is_unspecified()
        || if_addrs::get_if_addrs().is_ok_and(|interfaces| interfaces.iter().any(|interface| interface.ip() == ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_no_name_service() {
        let at = |addresses: &[&str]| {
            Whereabouts::At(addresses.iter().map(|address| address.parse().expect("an address")).collect())
        };
        let ours = ["127.0.0.1:15001".parse().expect("an address"), "0.0.0.0:15000".parse().expect("an address")];
        for (authority, expected) in [
            ("127.0.0.1", at(&["127.0.0.1:80"])),
            ("127.0.0.1:", at(&["127.0.0.1:80"])),
            ("127.0.0.1:8000", at(&["127.0.0.1:8000"])),
            ("[::1]", at(&["[::1]:80"])),
            ("[::1]:8000", at(&["[::1]:8000"])),
            ("127.0.0.1:99999", Whereabouts::Unknown),
            ("127.0.0.1:http", Whereabouts::Unknown),
            ("", Whereabouts::Unknown),
            ("127.0.0.1:15001", Whereabouts::Here),
            ("[::ffff:127.0.0.1]:15001", Whereabouts::Here),
            ("0.0.0.0:15001", Whereabouts::Here),
            ("127.0.0.2:15001", at(&["127.0.0.2:15001"])),
            ("127.0.0.2:15000", Whereabouts::Here),
        ] {
            assert_eq!(whereabouts(authority, &ours), expected, "{authority}");
        }
    }

    #[test]
    fn questions_beyond_the_bound_wait() {
        let (events, answers) = std::sync::mpsc::channel();
        let mut resolver = Resolver::new(events);
        for worker in 0..MOST_AT_ONCE + 2 {
            resolver.ask(Question { worker, authority: "127.0.0.1".into(), ours: Vec::new() });
        }
        assert_eq!((resolver.busy, resolver.waiting.len()), (MOST_AT_ONCE, 2));
        for _ in 0..MOST_AT_ONCE + 2 {
            assert!(matches!(answers.recv(), Ok(Event::Resolved { whereabouts: Whereabouts::At(_), .. })));
            resolver.done();
        }
        assert_eq!((resolver.busy, resolver.waiting.len()), (0, 0));
    }
}

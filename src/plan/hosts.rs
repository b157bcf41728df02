//! The host table: which virtual host a `Host` belongs to, whatever the number of hosts.
//!
//! Envoy's order: the exact name, then the longest `*suffix`, then `*`. A look-up is one hash for the name and one
//! for each distinct length of suffix that could fit; it allocates nothing. Called by `plan::route_table`, `plan::outbound`
//! and `plan::filter_chain`.

use std::collections::HashMap;

/// Longest host name of a table: that of a DNS name (RFC 1035, 2.3.4).
pub(super) const MAX_HOST_BYTES: usize = 255;

type HostNumbers = HashMap<Box<[u8]>, u32, foldhash::fast::RandomState>;

/// Host names and wildcards, each with a number.
#[derive(Debug, Clone, Default)]
pub struct HostTable {
    exact: HostNumbers,
    /// The part after the `*` of the wildcards.
    suffixes: HostNumbers,
    /// Their distinct lengths, longest first.
    lengths: Vec<SuffixLength>,
    any: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct SuffixLength {
    bytes: usize,
    /// All suffixes of this length begin with a dot, so that only a host with a dot there is worth hashing.
    dotted: bool,
}

impl HostTable {
    /// A table of `hosts` (`name`, `*.suffix`, `*-suffix` or `*`; any case), each with its number. The first of equal
    /// ones stays, and names over `MAX_HOST_BYTES`, which no document can hold, are left out.
    pub fn new<'a>(hosts: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let mut table = Self::default();
        for (host, number) in hosts {
            let host = host.to_ascii_lowercase();
            match host.strip_prefix('*') {
                Some("") => _ = table.any.get_or_insert(number),
                Some(suffix) if suffix.len() <= MAX_HOST_BYTES => table.insert_suffix(suffix, number),
                None if host.len() <= MAX_HOST_BYTES => {
                    _ = table.exact.entry(host.into_bytes().into()).or_insert(number)
                }
                _ => {}
            }
        }
        table.lengths.sort_by_key(|length| std::cmp::Reverse(length.bytes));
        table
    }

    fn insert_suffix(&mut self, suffix: &str, number: u32) {
        let dotted = suffix.starts_with('.');
        match self.lengths.iter_mut().find(|length| length.bytes == suffix.len()) {
            Some(length) => length.dotted &= dotted,
            None => self.lengths.push(SuffixLength { bytes: suffix.len(), dotted }),
        }
        self.suffixes.entry(suffix.as_bytes().into()).or_insert(number);
    }

    /// The number of the most specific host that covers `authority`, ignoring its port (Istio sets Envoy's
    /// `ignore_port_in_host_matching`) and the case of its letters.
    #[must_use]
    #[inline]
    pub fn find(&self, authority: &[u8]) -> Option<u32> {
        Some(self.find_ranked(authority)?.0)
    }

    /// [`HostTable::find`], and how specific that host is: more is more specific, in any table.
    #[must_use]
    #[inline]
    pub(super) fn find_ranked(&self, authority: &[u8]) -> Option<(u32, usize)> {
        let host = without_port(authority);
        if host.iter().any(u8::is_ascii_uppercase) { self.find_upper(host) } else { self.find_lower(host, host.len()) }
    }

    /// No name is longer than [`MAX_HOST_BYTES`], so the end of a longer host decides.
    #[cold]
    fn find_upper(&self, host: &[u8]) -> Option<(u32, usize)> {
        let mut lower = [0; MAX_HOST_BYTES + 1];
        let end = &host[host.len().saturating_sub(lower.len())..];
        let lower = &mut lower[..end.len()];
        lower.copy_from_slice(end);
        lower.make_ascii_lowercase();
        self.find_lower(lower, host.len())
    }

    /// `end` is the host, or the end of one of `len` bytes.
    fn find_lower(&self, end: &[u8], len: usize) -> Option<(u32, usize)> {
        if let Some(number) = self.exact.get(end).filter(|_| end.len() == len) {
            return Some((*number, usize::MAX));
        }
        // Shorter than the host by a byte at least: `*.example.com` does not cover `.example.com`.
        for length in self.lengths.iter().filter(|length| length.bytes < end.len()) {
            let suffix = &end[end.len() - length.bytes..];
            if (!length.dotted || suffix.first() == Some(&b'.'))
                && let Some(number) = self.suffixes.get(suffix)
            {
                return Some((*number, length.bytes));
            }
        }
        Some((self.any?, 0))
    }
}

/// The part before the last colon, unless that one is inside the brackets of an IPv6 address (Envoy's
/// `HeaderUtility::getPortStart`).
pub fn without_port(authority: &[u8]) -> &[u8] {
    split(authority).map_or(authority, |(host, _)| host)
}

/// The part after that colon.
pub(super) fn port(authority: &[u8]) -> Option<&[u8]> {
    split(authority).map(|(_, port)| port)
}

fn split(authority: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = authority.iter().rposition(|b| matches!(b, b':' | b']'))?;
    match authority.split_at_checked(colon) {
        Some((host, [b':', port @ ..])) => Some((host, port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rules once more, slowly: every host is tried, and the best one is kept.
    fn scan(hosts: &[String], authority: &str) -> Option<u32> {
        let lower = authority.to_ascii_lowercase();
        let host = match lower.rfind(':') {
            Some(colon) if lower.rfind(']').is_none_or(|bracket| bracket < colon) => &lower[..colon],
            _ => &lower,
        };
        let mut best: Option<(usize, u32)> = None;
        for (pattern, number) in hosts.iter().zip(0..) {
            let pattern = pattern.to_ascii_lowercase();
            let rank = match pattern.strip_prefix('*') {
                Some("") => 1,
                Some(suffix) if host.len() > suffix.len() && host.ends_with(suffix) => 1 + suffix.len(),
                None if pattern == host => usize::MAX,
                _ => continue,
            };
            if best.is_none_or(|(other, _)| other < rank) {
                best = Some((rank, number));
            }
        }
        best.map(|(_, number)| number)
    }

    fn table(hosts: &[&str]) -> HostTable {
        HostTable::new(hosts.iter().copied().zip(0..))
    }

    /// Each row but those of the empty host was tried on Envoy 1.40 with `ignore_port_in_host_matching`.
    #[test]
    fn specific_before_general() {
        let hosts =
            ["*", "*.example.com", "a.example.com", "*.b.example.com", "*-bar.com", "*r.com", "[::1]", "10.0.0.1", ""];
        let table = table(&hosts);
        for (authority, expected) in [
            ("a.example.com", "a.example.com"),
            ("A.Example.COM", "a.example.com"),
            ("a.example.com:8080", "a.example.com"),
            ("a.example.com:", "a.example.com"),
            ("x.example.com", "*.example.com"),
            ("x.y.example.com:80", "*.example.com"),
            ("x.b.example.com", "*.b.example.com"),
            ("b.example.com", "*.example.com"),
            ("example.com", "*"),
            (".example.com", "*"),
            // Istio leaves Envoy's strip_trailing_host_dot off.
            ("a.example.com.", "*"),
            ("foo-bar.com", "*-bar.com"),
            ("-bar.com", "*r.com"),
            ("foobar.com", "*r.com"),
            ("[::1]", "[::1]"),
            ("[::1]:8080", "[::1]"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("", ""),
            (":80", ""),
            ("\u{ff}", "*"),
        ] {
            let found = table.find(authority.as_bytes()).map(|number| hosts[number as usize]);
            assert_eq!(found, Some(expected), "{authority:?}");
        }
    }

    #[test]
    fn without_a_star_there_may_be_nothing() {
        assert_eq!(table(&["a.com", "*.b.com"]).find(b"b.com"), None);
        assert_eq!(table(&[]).find(b"a.com"), None);
    }

    #[test]
    fn first_of_equal_hosts_stays() {
        assert_eq!(table(&["a.com", "A.com", "a.com"]).find(b"a.com"), Some(0));
        assert_eq!(table(&["*.a.com", "*.A.com"]).find(b"x.a.com"), Some(0));
        assert_eq!(table(&["*", "*"]).find(b"x"), Some(0));
    }

    #[test]
    fn the_end_of_a_monstrous_host_decides() {
        let table = table(&["*.Example.com", "a.com"]);
        for start in ["a", "A"] {
            assert_eq!(table.find(format!("{}.example.com", start.repeat(9000)).as_bytes()), Some(0));
            assert_eq!(table.find(format!("{}a.com", start.repeat(9000)).as_bytes()), None);
        }
    }

    /// Few letters, so that hosts share suffixes and requests hit them.
    fn name() -> impl Strategy<Value = String> {
        "[abA]{0,3}([.-][abB]{1,2}){0,3}"
    }

    fn host() -> impl Strategy<Value = String> {
        prop_oneof![name(), name().prop_map(|name| format!("*{name}")), name().prop_map(|name| format!("*.{name}"))]
    }

    proptest! {
        #[test]
        fn finds_what_a_scan_finds(
            hosts in prop::collection::vec(host(), 0..24),
            authority in prop_oneof![name(), name().prop_map(|name| format!("{name}:80")), "[ab.:\\[\\]A]{0,8}"],
        ) {
            let table = HostTable::new(hosts.iter().map(String::as_str).zip(0..));
            prop_assert_eq!(table.find(authority.as_bytes()), scan(&hosts, &authority));
        }

        #[test]
        fn any_bytes_will_do(authority: Vec<u8>) {
            let _ = table(&["*.a", "b"]).find(&authority);
        }
    }
}

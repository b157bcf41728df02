//! The host table: which virtual host a `Host` belongs to, whatever the number of hosts.
//!
//! Envoy's order: the exact name, then the longest `*suffix`, then `*`. A look-up is one hash for the name and one
//! for each distinct length of suffix that could fit; it allocates nothing. Called by `plan::Listener::find`.

use std::collections::HashMap;

/// Longest host name of a table: that of a DNS name (RFC 1035, 2.3.4).
pub(super) const MAX_HOST_BYTES: usize = 255;

type Names = HashMap<Box<[u8]>, u32, foldhash::fast::RandomState>;

/// Host names and wildcards, each with a number.
#[derive(Debug, Clone, Default)]
pub struct HostTable {
    exact: Names,
    /// What follows the `*` of the wildcards.
    suffixes: Names,
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
    /// ones stays, and names over [`MAX_HOST_BYTES`], which no document can hold, are left out.
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
        table.lengths.sort_by(|a, b| b.bytes.cmp(&a.bytes));
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

    /// The number of the most specific host that covers `authority`, whose port does not count (Istio sets Envoy's
    /// `ignore_port_in_host_matching`) and whose letters may have any case.
    #[must_use]
    #[inline]
    pub fn find(&self, authority: &[u8]) -> Option<u32> {
        let host = without_port(authority);
        if host.iter().any(u8::is_ascii_uppercase) { self.find_upper(host) } else { self.find_lower(host, host.len()) }
    }

    /// No name is longer than [`MAX_HOST_BYTES`], so the end of a longer host decides.
    #[cold]
    fn find_upper(&self, host: &[u8]) -> Option<u32> {
        let mut lower = [0; MAX_HOST_BYTES + 1];
        let end = &host[host.len().saturating_sub(lower.len())..];
        let lower = &mut lower[..end.len()];
        lower.copy_from_slice(end);
        lower.make_ascii_lowercase();
        self.find_lower(lower, host.len())
    }

    /// `end` is the host, or the end of one of `len` bytes.
    fn find_lower(&self, end: &[u8], len: usize) -> Option<u32> {
        if let Some(number) = self.exact.get(end).filter(|_| end.len() == len) {
            return Some(*number);
        }
        // Shorter than the host by a byte at least: `*.example.com` does not cover `.example.com`.
        for length in self.lengths.iter().filter(|length| length.bytes < end.len()) {
            let suffix = &end[end.len() - length.bytes..];
            if (!length.dotted || suffix.first() == Some(&b'.'))
                && let Some(number) = self.suffixes.get(suffix)
            {
                return Some(*number);
            }
        }
        self.any
    }
}

/// What is before the last colon, unless that one is inside the brackets of an IPv6 address (Envoy's
/// `HeaderUtility::getPortStart`).
fn without_port(authority: &[u8]) -> &[u8] {
    // Ports have up to five digits; the short look from the end serves nearly every request.
    let colon = authority.iter().rposition(|b| matches!(b, b':' | b']'));
    match colon.and_then(|at| authority.split_at_checked(at)) {
        Some((host, [b':', ..])) => host,
        _ => authority,
    }
}

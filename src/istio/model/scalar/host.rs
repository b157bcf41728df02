//! Host names: their syntax, and how Istio expands short ones (`pilot/pkg/model/config.go`).

use std::collections::HashMap;
use std::net::IpAddr;

/// Domain of a cluster's services.
const CLUSTER_DOMAIN: &str = "svc.cluster.local";

const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;

/// A DNS-1123 label, upper case allowed as Istio allows it in host names, and in names of subsets and ports.
pub(in crate::istio) fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=MAX_LABEL).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// A strict DNS-1123 label, as Kubernetes wants names of namespaces.
pub(in crate::istio) fn is_dns_label(label: &str) -> bool {
    is_label(label) && !label.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// A DNS-1123 subdomain: the name of a resource.
pub(in crate::istio) fn is_resource_name(name: &str) -> bool {
    name.len() <= MAX_NAME && name.split('.').all(is_dns_label)
}

/// A host name without wildcard; a dot at its end is tolerated.
pub(in crate::istio) fn check_name(host: &str) -> Result<(), &'static str> {
    if host.is_empty() {
        return Err("must not be empty");
    }
    if host.len() > MAX_NAME {
        return Err("is longer than 255 characters");
    }
    if host.contains('*') {
        return Err("must not have a wildcard");
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.split('.').all(is_label) { check_last_label(host) } else { Err("is not a host name") }
}

/// Names whose last part is a number would be taken for addresses.
fn check_last_label(host: &str) -> Result<(), &'static str> {
    match host.rsplit_once('.') {
        Some((_, last)) if last.bytes().all(|byte| byte.is_ascii_digit()) => Err("ends with a number"),
        _ => Ok(()),
    }
}

/// A host name that may begin with a wildcard: `*`, `*.example.com`, `*-bar.example.com`.
pub(in crate::istio) fn check_wildcard_name(host: &str) -> Result<(), &'static str> {
    let Some(suffix) = host.strip_prefix('*') else {
        return match check_name(host) {
            Err("must not have a wildcard") => Err("may have a wildcard only at its start"),
            other => other,
        };
    };
    if host.len() > MAX_NAME {
        return Err("is longer than 255 characters");
    }
    if suffix.contains('*') {
        return Err("may have only one wildcard");
    }
    if suffix.is_empty() {
        return Ok(());
    }
    // The rest of the wildcard's own label, then whole labels.
    let suffix = suffix.strip_suffix('.').unwrap_or(suffix);
    let (own, rest) = suffix.split_once('.').map_or((suffix, None), |(own, rest)| (own, Some(rest)));
    let own_fits = own.is_empty() || is_label(own.strip_prefix('-').unwrap_or(own));
    let rest_fits = rest.is_none_or(|rest| rest.split('.').all(is_label));
    if own_fits && rest_fits && !(own.is_empty() && rest.is_none()) {
        check_last_label(suffix)
    } else {
        Err("is not a host name")
    }
}

/// Whether this is an IP address.
pub(in crate::istio) fn is_ip(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

/// Whether this is an IP address, or one with the length of a prefix (`10.0.0.0/8`).
pub(in crate::istio) fn is_subnet(text: &str) -> bool {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| bits.parse().is_ok_and(|bits: u8| bits <= most))
}

/// Whether `general` (lower-case) is `special` or a wildcard over it.
pub(in crate::istio) fn covers(general: &str, special: &str) -> bool {
    match general.strip_prefix('*') {
        Some(suffix) => special.strip_prefix('*').unwrap_or(special).ends_with(suffix),
        None => general == special,
    }
}

/// Whether this is a wildcard.
pub(in crate::istio) fn is_wildcard(host: &str) -> bool {
    host.starts_with('*')
}

/// Whether some name is covered by both (lower-case).
pub(in crate::istio) fn overlap(one: &str, other: &str) -> bool {
    covers(one, other) || covers(other, one)
}

/// The hosts that cover a name (lower-case), the most specific first: the name itself, then wildcards down to `*`.
pub(in crate::istio) fn coverings(host: &str) -> impl Iterator<Item = String> {
    let ends = (1..=host.len()).filter(|at| host.is_char_boundary(*at));
    let first = [host.to_owned()].into_iter();
    first.chain(ends.map(|at| format!("*{}", host.get(at..).unwrap_or_default())))
}

/// The full, lower-case name that `host` means in a resource of `namespace`: a name without any dot is a service of
/// that namespace; `*`, IP addresses and names with a dot stay as they are (Istio's `ResolveShortnameToFQDN`).
pub(in crate::istio) fn expand(host: &str, namespace: &str) -> String {
    let lower = host.to_ascii_lowercase();
    if lower.contains(['.', '*', ':']) { lower } else { service_name(&lower, namespace) }
}

/// The host name of the Kubernetes Service `name` in `namespace`.
pub(in crate::istio) fn service_name(name: &str, namespace: &str) -> String {
    format!("{name}.{namespace}.{CLUSTER_DOMAIN}")
}

/// The pairs `(covered, by)` of positions in `hosts` (lower-case) where a wildcard covers another host, or a later
/// host repeats an earlier one; at most one pair for each covered one. Linear in the number of hosts.
pub(in crate::istio) fn overlaps(hosts: &[String]) -> Vec<(usize, usize)> {
    // By the whole name, and for a wildcard by the part after its `*`: a name is covered iff one of its own suffixes
    // is a wildcard's rest. Of equal names the first is kept.
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut wildcards: HashMap<&str, usize> = HashMap::new();
    for (index, host) in hosts.iter().enumerate().rev() {
        names.insert(host, index);
        if let Some(rest) = host.strip_prefix('*') {
            wildcards.insert(rest, index);
        }
    }
    let mut found = Vec::new();
    for (index, host) in hosts.iter().enumerate() {
        let same = names.get(host.as_str()).copied().filter(|first| *first < index);
        let rest = host.strip_prefix('*').unwrap_or(host);
        let covering = || {
            (0..=rest.len())
                .filter(|at| *at > 0 || !host.starts_with('*'))
                .find_map(|at| wildcards.get(rest.get(at..)?).copied())
        };
        if let Some(other) = same.or_else(covering) {
            found.push((index, other));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_wildcard() {
        let long = "a.".repeat(127) + "aa";
        for (host, expected) in [
            ("example.com", Ok(())),
            ("Example.COM", Ok(())),
            ("httpbin", Ok(())),
            ("example.com.", Ok(())),
            ("1.2.3.4", Err("ends with a number")),
            ("a.1", Err("ends with a number")),
            ("1", Ok(())),
            ("a-b.c", Ok(())),
            ("", Err("must not be empty")),
            ("*.example.com", Err("must not have a wildcard")),
            ("-a.com", Err("is not a host name")),
            ("a-.com", Err("is not a host name")),
            ("a..com", Err("is not a host name")),
            (".", Err("is not a host name")),
            ("a_b.com", Err("is not a host name")),
            ("http://a.com", Err("is not a host name")),
            ("a.com:80", Err("is not a host name")),
            ("caf\u{e9}.com", Err("is not a host name")),
            (&long, Err("is longer than 255 characters")),
        ] {
            assert_eq!(check_name(host), expected, "{host}");
        }
        assert!(check_name(&"a".repeat(63)).is_ok());
        assert!(check_name(&"a".repeat(64)).is_err());
    }

    #[test]
    fn names_with_wildcard() {
        for (host, expected) in [
            ("*", Ok(())),
            ("*.example.com", Ok(())),
            ("*-bar.example.com", Ok(())),
            ("*bar.example.com", Ok(())),
            ("*.com", Ok(())),
            ("example.com", Ok(())),
            ("*.1", Err("ends with a number")),
            ("*.", Err("is not a host name")),
            ("*..com", Err("is not a host name")),
            ("**", Err("may have only one wildcard")),
            ("*.*.com", Err("may have only one wildcard")),
            ("a.*.com", Err("may have a wildcard only at its start")),
            ("a*.com", Err("may have a wildcard only at its start")),
            ("", Err("must not be empty")),
        ] {
            assert_eq!(check_wildcard_name(host), expected, "{host}");
        }
    }

    #[test]
    fn hosts_that_cover_each_other_are_found() {
        let check = |hosts: &[&str]| overlaps(&hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>());
        assert_eq!(check(&["a.com", "b.com", "*.c.com", "c.com"]), []);
        assert_eq!(check(&["a.com", "b.com", "a.com"]), [(2, 0)]);
        assert_eq!(check(&["*.foo.com", "a.foo.com"]), [(1, 0)]);
        assert_eq!(check(&["a.foo.com", "*.foo.com"]), [(0, 1)]);
        assert_eq!(check(&["*.a.foo.com", "*.foo.com"]), [(0, 1)]);
        assert_eq!(check(&["*", "a.com"]), [(1, 0)]);
        assert_eq!(check(&["*-x.com", "a-x.com", "a.x.com"]), [(1, 0)]);
    }

    #[test]
    fn subnets_and_wildcards() {
        for (text, expected) in [
            ("10.0.0.0/8", true),
            ("10.0.0.1", true),
            ("::/0", true),
            ("10.0.0.0/33", false),
            ("10.0.0.0/", false),
            ("10.0.0/8", false),
            ("a.com", false),
        ] {
            assert_eq!(is_subnet(text), expected, "{text}");
        }
        for (general, special, expected) in [
            ("a.com", "a.com", true),
            ("*.com", "a.com", true),
            ("*.com", "*.a.com", true),
            ("*", "a.com", true),
            ("*", "*", true),
            ("a.com", "*.com", false),
            ("*.a.com", "a.com", false),
            ("*.a.com", "*.com", false),
        ] {
            assert_eq!(covers(general, special), expected, "{general} {special}");
        }
        assert!(overlap("*.com", "a.com") && overlap("a.com", "*.com") && !overlap("*.a.com", "*.b.com"));
        assert_eq!(coverings("a.b").collect::<Vec<_>>(), ["a.b", "*.b", "*b", "*"]);
        assert!(coverings("*.b").eq(["*.b", "*.b", "*b", "*"].map(str::to_owned)));
    }

    #[test]
    fn only_names_without_a_dot_are_expanded() {
        for (host, expected) in [
            ("reviews", "reviews.prod.svc.cluster.local"),
            ("Reviews", "reviews.prod.svc.cluster.local"),
            ("reviews.test", "reviews.test"),
            ("reviews.test.svc.cluster.local", "reviews.test.svc.cluster.local"),
            ("*", "*"),
            ("*.Example.com", "*.example.com"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
        ] {
            assert_eq!(expand(host, "prod"), expected, "{host}");
        }
    }
}

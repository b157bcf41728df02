//! Labels, selectors, and their syntax (Kubernetes `apimachinery/pkg/util/validation`).

use std::collections::BTreeMap;

use super::host::is_resource_name;

const MAX_PART: usize = 63;

/// Labels or a selector: sorted, so that everything derived from them is deterministic.
pub type Labels = BTreeMap<String, String>;

/// Whether `labels` has every pair of `selector` (an empty selector is in everything).
#[must_use]
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Checks a label's key, `[prefix/]name`, and returns the problem.
pub(in crate::istio) fn check_key(key: &str) -> Result<(), &'static str> {
    let name = match key.split_once('/') {
        Some((prefix, _)) if !is_resource_name(prefix) => return Err("the part before \"/\" must be a DNS name"),
        Some((_, name)) => name,
        None => key,
    };
    if name.is_empty() {
        return Err("must not be empty");
    }
    check_part(name)
}

/// Checks a label's value, which may be empty, and returns the problem.
pub(in crate::istio) fn check_value(value: &str) -> Result<(), &'static str> {
    if value.is_empty() { Ok(()) } else { check_part(value) }
}

fn check_part(part: &str) -> Result<(), &'static str> {
    if part.len() > MAX_PART {
        return Err("is longer than 63 characters");
    }
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    if part.bytes().all(inner) && edge(part.bytes().next()) && edge(part.bytes().last()) {
        Ok(())
    } else {
        Err("must be letters, digits, \"-\", \"_\" and \".\", with a letter or digit at both ends")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values() {
        let ends = Err("must be letters, digits, \"-\", \"_\" and \".\", with a letter or digit at both ends");
        for (key, expected) in [
            ("app", Ok(())),
            ("App_1.x", Ok(())),
            ("kubernetes.io/service-name", Ok(())),
            ("", Err("must not be empty")),
            ("a/", Err("must not be empty")),
            ("/a", Err("the part before \"/\" must be a DNS name")),
            ("A/b", Err("the part before \"/\" must be a DNS name")),
            ("a/b/c", ends),
            ("-a", ends),
            ("a b", ends),
        ] {
            assert_eq!(check_key(key), expected, "{key}");
        }
        for (value, expected) in [
            ("", Ok(())),
            ("v1", Ok(())),
            ("1.10", Ok(())),
            ("v1 ", ends),
            ("-", ends),
            (&"a".repeat(64), Err("is longer than 63 characters")),
        ] {
            assert_eq!(check_value(value), expected, "{value}");
        }
    }
}

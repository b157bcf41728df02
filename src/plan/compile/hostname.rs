//! Host names with wildcards, compared as Istio does (`pkg/config/host`). All are lower case already.

/// The part of a wildcard after the `*`; `None` for an exact name.
pub(super) fn wildcard(name: &str) -> Option<&str> {
    name.strip_prefix('*')
}

/// Whether every host that `name` covers is covered by `over` as well (Istio's `SubsetOf`).
pub(super) fn covers(over: &str, name: &str) -> bool {
    match (wildcard(over), wildcard(name)) {
        (Some(suffix), Some(name)) => name.ends_with(suffix),
        (Some(suffix), None) => name.ends_with(suffix),
        (None, Some(_)) => false,
        (None, None) => over == name,
    }
}

/// Orders names by how specific they are: exact before wildcard, then longer before shorter, then by alphabet.
pub(super) fn by_specificity(name: &str) -> impl Ord + '_ {
    (wildcard(name).is_some(), std::cmp::Reverse(name.len()), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covering() {
        for (over, name, expected) in [
            ("*", "a.com", true),
            ("*", "*", true),
            ("*", "*.com", true),
            ("*.com", "*", false),
            ("*.foo.com", "a.foo.com", true),
            ("*.foo.com", "a.b.foo.com", true),
            ("*.foo.com", "*.b.foo.com", true),
            ("*.foo.com", "foo.com", false),
            ("*.b.foo.com", "*.foo.com", false),
            ("*-bar.com", "x-bar.com", true),
            ("*-bar.com", "*.x-bar.com", true),
            ("a.com", "a.com", true),
            ("a.com", "*.a.com", false),
            ("a.com", "b.com", false),
        ] {
            assert_eq!(covers(over, name), expected, "{over} over {name}");
        }
    }

    #[test]
    fn most_specific_first() {
        let mut names = ["*", "*.com", "b.com", "*.a.com", "a.com", "long.a.com"];
        names.sort_by(|a, b| by_specificity(a).cmp(&by_specificity(b)));
        assert_eq!(names, ["long.a.com", "a.com", "b.com", "*.a.com", "*.com", "*"]);
    }
}

//! Suggestions for a name that does not exist.

/// `did you mean "x"?` for the nearest of `names`; empty without a near one.
pub(in crate::istio) fn did_you_mean<S: AsRef<str>>(written: &str, names: &[S]) -> String {
    nearest(written, names).map(|name| format!("did you mean \"{name}\"?")).unwrap_or_default()
}

/// The nearest of `names`, if its distance is at most one letter, plus one for every four.
pub(in crate::istio) fn nearest<'n, S: AsRef<str>>(written: &str, names: &'n [S]) -> Option<&'n str> {
    // A distance takes time by the product of the lengths: it is only computed for names that can be near, and
    // a name of this length is not a typing error.
    if written.len() > 100 {
        return None;
    }
    let limit = 1 + written.len() / 4;
    let lower = written.to_ascii_lowercase();
    names
        .iter()
        .map(AsRef::as_ref)
        .filter(|name| name.len().abs_diff(written.len()) <= limit)
        .map(|name| (strsim::osa_distance(&lower, &name.to_ascii_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_offered_and_far_ones_are_not() {
        let names = ["hosts", "gateways", "http", "exportTo"];
        assert_eq!(did_you_mean("host", &names), "did you mean \"hosts\"?");
        assert_eq!(did_you_mean("gatewyas", &names), "did you mean \"gateways\"?");
        assert_eq!(did_you_mean("HTTP", &names), "did you mean \"http\"?");
        assert_eq!(did_you_mean("exportto", &names), "did you mean \"exportTo\"?");
        assert_eq!(did_you_mean("retries", &names), "");
        assert_eq!(did_you_mean("x", &[""; 0]), "");
    }
}

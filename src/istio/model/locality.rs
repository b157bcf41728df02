//! Where a workload or the proxy runs: region, zone and subzone.

use super::Labels;

/// Istio's own label, with `.` for `/`; it goes before the others.
const ISTIO_LABEL: &str = "istio-locality";

/// The labels of region, zone and subzone.
const TOPOLOGY_LABELS: [&str; 3] =
    ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];

/// A locality; unknown parts are empty, and so are the parts after them.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality {
    /// The region.
    pub region: String,
    /// The zone within the region.
    pub zone: String,
    /// The part of the zone.
    pub subzone: String,
}

impl Locality {
    /// From `region/zone/subzone`, of which the end may be missing.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Self { region: next(), zone: next(), subzone: next() }
    }

    /// The locality in labels, Istio's own before Kubernetes' (`GetLocalityLabel`, `ConvertLocality`); empty if
    /// there is none.
    #[must_use]
    pub fn of_labels(labels: &Labels) -> Self {
        match labels.get(ISTIO_LABEL) {
            // Labels cannot hold a slash, except as Istio itself writes them.
            Some(text) if text.contains('/') => Self::parse(text),
            Some(text) => Self::parse(&text.replace('.', "/")),
            None => {
                let [region, zone, subzone] = TOPOLOGY_LABELS.map(|key| labels.get(key).cloned().unwrap_or_default());
                Self { region, zone, subzone }
            }
        }
    }

    /// Whether the locality is unknown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.region.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_say_where() {
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        for (pairs, expected) in [
            (&[][..], ""),
            (&[("istio-locality", "us-west.zone1.a")], "us-west/zone1/a"),
            (&[("istio-locality", "us-west"), ("topology.kubernetes.io/region", "no")], "us-west"),
            (&[("topology.kubernetes.io/region", "r"), ("topology.kubernetes.io/zone", "z")], "r/z"),
            (&[("topology.kubernetes.io/region", "r"), ("topology.istio.io/subzone", "s")], "r//s"),
        ] {
            assert_eq!(Locality::of_labels(&labels(pairs)), Locality::parse(expected), "{pairs:?}");
        }
        assert!(Locality::parse("").is_empty());
    }
}

//! Ring hash (ketama), with Envoy's points: `RingHashLoadBalancer::Ring`.

use std::io::Write;

use super::{TableMember, xxh64};

/// Envoy's default for the most points of a ring, which Istio has no field for.
const MAXIMUM: f64 = 8_388_608.0;

/// Points in the order of their hashes.
#[derive(Debug, Clone)]
pub(super) struct Ring {
    hashes: Box<[u64]>,
    owners: Box<[u32]>,
}

impl Ring {
    pub(super) fn new(members: &[TableMember], minimum: u64) -> Self {
        let least = members.iter().map(|member| member.share).fold(1.0, f64::min);
        // The least member has a whole number of points. The others' fractions add up from one to the next.
        let scale = ((least * minimum as f64).ceil() / least).min(MAXIMUM);
        let mut points = Vec::with_capacity(if members.is_empty() { 0 } else { scale.ceil() as usize });
        let (mut made, mut due) = (0.0, 0.0);
        let mut text = Vec::with_capacity(64);
        for member in members {
            text.clear();
            let _ = write!(text, "{}_", member.address);
            let prefix = text.len();
            due += scale * member.share;
            let mut number = 0_u64;
            while made < due {
                text.truncate(prefix);
                text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
                points.push((xxh64(&text), member.endpoint));
                number += 1;
                made += 1.0;
            }
        }
        points.sort_by_key(|(hash, _)| *hash);
        let (hashes, owners): (Vec<u64>, Vec<u32>) = points.into_iter().unzip();
        Self { hashes: hashes.into(), owners: owners.into() }
    }

    /// The owner of the first point at or after `hash`; further attempts take the points after that.
    pub(super) fn owner(&self, hash: u64, attempt: u32) -> Option<u32> {
        let first = self.hashes.partition_point(|point| *point < hash);
        // After the last point comes the first.
        let first = if first == self.hashes.len() { 0 } else { first };
        let at = (first + attempt as usize).checked_rem(self.hashes.len())?;
        self.owners.get(at).copied()
    }

    #[cfg(test)]
    pub(super) fn owners(&self) -> &[u32] {
        &self.owners
    }
}

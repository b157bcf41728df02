//! Consistent hashing: requests with the same key go to the same endpoint, whichever core or proxy picks it.
//!
//! Two steps, both Envoy's to the bit, so that a ringway and an Envoy side by side agree: [`key`] hashes a part of the
//! request to 64 bits, [`HashTable`] turns these into an endpoint. A table is made once, when the plan is compiled, shared
//! by all cores, and never changed. Looking one up allocates nothing. Called by `plan` (making) and `balance` (picking).

pub mod key;
mod maglev;
mod ring;

use twox_hash::XxHash64;

use maglev::Maglev;
use ring::Ring;

use crate::base::endpoint::EndpointAddress;

/// Istio's default for `minimumRingSize`.
pub const MINIMUM_RING_SIZE: u64 = 1024;

/// How hashes are assigned to endpoints (`loadBalancer.consistentHash`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `ringHash`: every endpoint has many points on a ring; a hash belongs to the next point.
    Ring {
        /// `minimumRingSize`: points on the ring, all endpoints together; more if they do not divide evenly.
        minimum: u64,
    },
    /// `maglev`: endpoints take turns in filling a table.
    Maglev {
        /// `tableSize`.
        size: TableSize,
    },
}

impl Default for Algorithm {
    fn default() -> Self {
        Self::Ring { minimum: MINIMUM_RING_SIZE }
    }
}

/// Entries of a maglev table: a prime, because only then every endpoint comes by every entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSize(u64);

impl TableSize {
    /// Envoy's largest table size.
    const LIMIT: u64 = 5_000_011;

    /// `None` if it is not a prime (Envoy counts 1 among them), or too large for Envoy.
    #[must_use]
    pub fn new(entries: u64) -> Option<Self> {
        let factors = (2..).take_while(|factor| factor * factor <= entries);
        let prime = !factors.into_iter().any(|factor| entries.is_multiple_of(factor));
        (prime && (1..Self::LIMIT).contains(&entries)).then_some(Self(entries))
    }

    /// How many entries.
    #[must_use]
    pub fn entries(self) -> u64 {
        self.0
    }
}

impl Default for TableSize {
    /// Envoy's.
    fn default() -> Self {
        Self(65_537)
    }
}

/// An endpoint that has a part of the hashes.
#[derive(Debug, Clone, PartialEq)]
pub struct TableMember {
    /// Its position in the cluster.
    pub endpoint: u32,
    /// Its address, which is hashed for its part of the table.
    pub address: EndpointAddress,
    /// Its part of the whole, above 0; all members' together are 1.
    pub share: f64,
}

/// Which endpoint every hash belongs to.
#[derive(Debug, Clone)]
pub struct HashTable {
    kind: Kind,
    members: Box<[u32]>,
}

#[derive(Debug, Clone)]
enum Kind {
    Ring(Ring),
    Maglev(Maglev),
}

/// Other entries of the table that are looked up for an unusable endpoint's hashes, before the usable endpoints are
/// walked in order. With half of the endpoints unusable, one pick in 65,536 gets that far.
const DETOURS: u32 = 16;

impl HashTable {
    /// The table for these members.
    #[must_use]
    pub fn new(algorithm: Algorithm, members: &[TableMember]) -> Self {
        let kind = match algorithm {
            Algorithm::Ring { minimum } => Kind::Ring(Ring::new(members, minimum)),
            Algorithm::Maglev { size } => Kind::Maglev(Maglev::new(members, size.0)),
        };
        Self { kind, members: members.iter().map(|member| member.endpoint).collect() }
    }

    /// The endpoint that `hash` belongs to. If it is unusable, another one replaces it, a different one for each hash,
    /// in the order of Envoy's retries. (Envoy builds its table anew without the ejected endpoints: its replacements may
    /// differ, and hashes of healthy endpoints move as well.) `None` if none is usable.
    pub fn pick(&self, hash: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let first = self.owner(hash, 0)?;
        if usable(first) {
            return Some(first);
        }
        let detour = (1..=DETOURS).filter_map(|attempt| self.owner(hash, attempt)).find(|at| usable(*at));
        // If no detour finds an endpoint, a walk in fixed order does; its start differs for each hash.
        let start = hash.checked_rem(self.members.len() as u64)? as usize;
        let (before, after) = self.members.split_at_checked(start)?;
        detour.or_else(|| after.iter().chain(before).map(|member| *member as usize).find(|at| usable(*at)))
    }

    fn owner(&self, hash: u64, attempt: u32) -> Option<usize> {
        let owner = match &self.kind {
            Kind::Ring(ring) => ring.owner(hash, attempt),
            Kind::Maglev(table) => table.owner(hash, attempt),
        };
        owner.map(|endpoint| endpoint as usize)
    }
}

/// xxHash64 with seed 0, Envoy's hash function.
#[must_use]
pub fn xxh64(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

#[cfg(test)]
mod tests;

//! Maglev (Eisenbud et al., NSDI 2016, listing 1), with the weights and seeds of Envoy's `MaglevTable`.

use twox_hash::XxHash64;

use super::TableMember;

/// The owner of each entry.
#[derive(Debug, Clone)]
pub(super) struct Maglev(Box<[u32]>);

/// A member while the table is filled.
struct Filler {
    endpoint: u32,
    share: f64,
    /// The share at which its next turn comes.
    due: f64,
    offset: u64,
    skip: u64,
    next: u64,
}

const EMPTY: u32 = u32::MAX;

impl Maglev {
    /// `size` is a prime: only then does every member's walk come by every entry.
    pub(super) fn new(members: &[TableMember], size: u64) -> Self {
        let mut named: Vec<(String, &TableMember)> =
            members.iter().map(|member| (member.address.to_string(), member)).collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let mut fillers: Vec<Filler> = named
            .into_iter()
            .map(|(name, member)| Filler {
                endpoint: member.endpoint,
                share: member.share,
                due: 0.0,
                offset: XxHash64::oneshot(0, name.as_bytes()) % size,
                skip: XxHash64::oneshot(1, name.as_bytes()) % (size - 1).max(1) + 1,
                next: 0,
            })
            .collect();
        if fillers.is_empty() {
            return Self(Box::default());
        }
        let most = fillers.iter().map(|filler| filler.share).fold(0.0, f64::max);
        let mut table = vec![EMPTY; size as usize];
        let mut left = table.len();
        let mut round = 0.0;
        while left > 0 {
            // The greatest share takes a turn every round, half of it every other.
            round += 1.0;
            for filler in &mut fillers {
                if left == 0 || round * filler.share < filler.due {
                    continue;
                }
                filler.due += most;
                while !filler.take(&mut table) {}
                left -= 1;
            }
        }
        Self(table.into())
    }

    /// The owner of the hash; further attempts change its high bits.
    pub(super) fn owner(&self, hash: u64, attempt: u32) -> Option<u32> {
        let hash = if attempt == 0 { hash } else { hash ^ u64::from(attempt).wrapping_neg() };
        self.0.get(hash.checked_rem(self.0.len() as u64)? as usize).copied()
    }
}

impl Filler {
    /// Goes on to its next entry, and takes that if it is free.
    fn take(&mut self, table: &mut [u32]) -> bool {
        let at = (self.offset + self.skip * self.next) % table.len() as u64;
        self.next += 1;
        let entry = &mut table[at as usize];
        let free = *entry == EMPTY;
        if free {
            *entry = self.endpoint;
        }
        free
    }
}

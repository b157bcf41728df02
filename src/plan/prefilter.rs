//! Which routes can match a path: eight bytes of it exclude most of them, one by one if there are few, by a table if
//! there are many.
//!
//! It must never leave out a route that matches; a route that does not match may come through. A look-up allocates
//! nothing. Called by `plan::route` only.

use std::collections::HashMap;

use super::matcher::Condition;
use super::pattern::Pattern;

/// Up to so many routes are looked at one by one.
const FEW: usize = 24;

/// Most tables of an index; routes that would need another are looked at one by one.
const MOST_TABLES: usize = 31;

/// Eight bytes of the path that exclude most routes without a test of their conditions: the last ones of a literal
/// path, because the first ones (`/api/v1/`) are often the same in all rules. The default lets every route through,
/// and an excluded route certainly does not match.
#[derive(Debug, Clone, Copy, Default)]
struct PathPrefilter {
    /// Where in the path the eight bytes begin.
    start: u32,
    want: u64,
    /// Which of the bytes count; 0 lets everything through.
    mask: u64,
}

impl PathPrefilter {
    fn of(conditions: &[Condition]) -> Self {
        let text = conditions.iter().find_map(|condition| match condition {
            Condition::Path(Pattern::Exact(text) | Pattern::Prefix(text)) => Some(text),
            _ => None,
        });
        let Some(text) = text else { return Self::default() };
        let start = text.len().saturating_sub(8);
        let mask = text.get(start..).unwrap_or_default().iter().fold(0, |mask, _| mask << 8 | 0xff);
        Self { start: start as u32, want: window(text, start), mask }
    }

    #[inline]
    fn passes(&self, path: &[u8]) -> bool {
        window(path, self.start as usize) & self.mask == self.want
    }
}

/// Eight bytes of `path` from `start` on, zeros behind its end. No path has a zero byte, nor any prefilter.
#[inline]
fn window(path: &[u8], start: usize) -> u64 {
    let rest = path.get(start..).unwrap_or_default();
    match rest.first_chunk::<8>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => rest.iter().rev().fold(0, |window, byte| window << 8 | u64::from(*byte)),
    }
}

/// The routes of a virtual host, by their prefilters.
#[derive(Debug, Clone)]
pub(super) struct Glances(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Few(Box<[PathPrefilter]>),
    Many(Index),
}

/// Routes by number, in ascending lists.
#[derive(Debug, Clone)]
struct Index {
    /// One for each position and mask, which means for each length of text.
    tables: Box<[Table]>,
    /// Routes that are in no table.
    others: Box<[u32]>,
}

#[derive(Debug, Clone)]
struct Table {
    start: u32,
    mask: u64,
    routes: HashMap<u64, Box<[u32]>, foldhash::fast::RandomState>,
}

impl Glances {
    /// The index of the routes with these conditions.
    pub(super) fn of<'a>(routes: impl Iterator<Item = &'a [Condition]>) -> Self {
        let glances: Box<[PathPrefilter]> = routes.map(PathPrefilter::of).collect();
        Self(if glances.len() <= FEW { Kind::Few(glances) } else { Kind::Many(Index::of(&glances)) })
    }

    /// The first route, by number, that is worth a look and passes the test.
    #[inline]
    pub(super) fn find(&self, path: &[u8], mut test: impl FnMut(usize) -> bool) -> Option<usize> {
        match &self.0 {
            Kind::Few(glances) => (0..glances.len()).find(|at| glances[*at].passes(path) && test(*at)),
            Kind::Many(index) => index.find(path, test),
        }
    }
}

impl Index {
    fn of(glances: &[PathPrefilter]) -> Self {
        let mut tables: Vec<(u32, u64, HashMap<u64, Vec<u32>>)> = Vec::new();
        let mut others = Vec::new();
        for (number, prefilter) in (0..).zip(glances) {
            let place = (prefilter.start, prefilter.mask);
            let at = tables.iter().position(|(start, mask, _)| (*start, *mask) == place);
            let at = match at {
                _ if prefilter.mask == 0 => None,
                None if tables.len() < MOST_TABLES => {
                    tables.push((prefilter.start, prefilter.mask, HashMap::new()));
                    Some(tables.len() - 1)
                }
                found => found,
            };
            match at {
                Some(at) => tables[at].2.entry(prefilter.want).or_default().push(number),
                None => others.push(number),
            }
        }
        let table = |(start, mask, routes): (u32, u64, HashMap<u64, Vec<u32>>)| Table {
            start,
            mask,
            routes: routes.into_iter().map(|(want, routes)| (want, routes.into())).collect(),
        };
        Self { tables: tables.into_iter().map(table).collect(), others: others.into() }
    }

    fn find(&self, path: &[u8], mut test: impl FnMut(usize) -> bool) -> Option<usize> {
        // The lists that this path has, the others first; each is ascending, and the lowest number of all is next.
        let mut lists: [&[u32]; MOST_TABLES + 1] = [&[]; MOST_TABLES + 1];
        lists[0] = &self.others;
        let mut count = 1;
        for table in &self.tables {
            if let Some(routes) = table.routes.get(&(window(path, table.start as usize) & table.mask)) {
                lists[count] = routes;
                count += 1;
            }
        }
        let lists = &mut lists[..count];
        loop {
            let next = lists.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list[0])?;
            let number = next[0] as usize;
            *next = &next[1..];
            if test(number) {
                return Some(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn pattern() -> impl Strategy<Value = Pattern> {
        let text = || "/(a|b|cd|long-enough|longer-than-eight){0,4}/?";
        prop_oneof![
            text().prop_map(|text| Pattern::exact(&text)),
            text().prop_map(|text| Pattern::prefix(&text)),
            text().prop_map(|text| Pattern::prefix(&text).ignoring_case()),
            "".prop_map(|_| Pattern::prefix("")),
            "".prop_map(|_| Pattern::Any),
        ]
    }

    proptest! {
        #[test]
        fn nothing_that_matches_is_left_out_and_the_order_is_kept(
            patterns in prop::collection::vec(pattern(), 0..100),
            paths in prop::collection::vec("/(a|b|cd|long-enough|longer-than-eight){0,4}/?[x]?", 16),
        ) {
            let conditions: Vec<[Condition; 1]> =
                patterns.iter().map(|pattern| [Condition::Path(pattern.clone())]).collect();
            let glances = Glances::of(conditions.iter().map(|conditions| &conditions[..]));
            for path in &paths {
                let path = path.as_bytes();
                let matching: Vec<usize> = (0..patterns.len()).filter(|at| patterns[*at].matches(path)).collect();
                prop_assert_eq!(glances.find(path, |at| patterns[at].matches(path)), matching.first().copied());
                // All of them, if none suffices.
                let mut seen = Vec::new();
                prop_assert_eq!(glances.find(path, |at| { seen.push(at); false }), None);
                prop_assert!(seen.is_sorted());
                prop_assert!(matching.iter().all(|at| seen.contains(at)));
            }
        }
    }

    #[test]
    fn more_lengths_than_tables() {
        let texts: Vec<String> = (1..100).map(|length| format!("/{}", "x".repeat(length))).collect();
        let conditions: Vec<_> = texts.iter().map(|text| [Condition::Path(Pattern::exact(text))]).collect();
        let glances = Glances::of(conditions.iter().map(|conditions| &conditions[..]));
        for (at, text) in texts.iter().enumerate() {
            let path = text.as_bytes();
            assert_eq!(glances.find(path, |at| texts[at].as_bytes() == path), Some(at));
        }
    }
}

//! Work on many documents, done on several threads.
//!
//! Documents are independent of each other, and there may be a hundred thousand of them. Callers get the results in
//! the order of the shares, with one thread or many.

use std::num::NonZero;
use std::thread;

/// More of them only wait for memory.
const MAX_THREADS: usize = 8;

/// How many threads to use where each is worth starting for `enough` of `size`.
pub(super) fn threads(size: usize, enough: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    (size / enough).clamp(1, cores.min(MAX_THREADS))
}

/// The results of `work` for each share of `items`; there are at most `threads` shares, and `weight` is an item's
/// part of the whole. The first share is worked on by the calling thread, each of the others by a thread of its own.
pub(super) fn each_share<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    weight: impl Fn(&T) -> usize,
    work: impl Fn(&[T]) -> R + Sync,
) -> Vec<R> {
    let whole: usize = items.iter().map(&weight).sum();
    let mut shares = shares(items, whole.div_ceil(threads), weight).into_iter();
    let own = shares.next().unwrap_or_default();
    let work = &work;
    thread::scope(|scope| {
        let others: Vec<_> = shares
            .map(|share| {
                let thread = thread::Builder::new().name("reader".to_owned());
                (share, thread.spawn_scoped(scope, move || work(share)))
            })
            .collect();
        let mut done = vec![work(own)];
        for (share, other) in others {
            done.push(match other.map(thread::ScopedJoinHandle::join) {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                // Without a thread the share is worked on here.
                Err(_) => work(share),
            });
        }
        done
    })
}

/// Cuts items into shares of at least this weight each, save the last.
fn shares<T>(items: &[T], enough: usize, weight: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let (mut shares, mut start, mut size) = (Vec::new(), 0, 0);
    for (index, item) in items.iter().enumerate() {
        size += weight(item);
        if size >= enough {
            shares.push(&items[start..=index]);
            (start, size) = (index + 1, 0);
        }
    }
    if start < items.len() {
        shares.push(&items[start..]);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_alike_and_miss_nothing() {
        let items: Vec<usize> = (0..10).collect();
        for (enough, sizes) in [(1, vec![1; 10]), (3, vec![3, 3, 3, 1]), (5, vec![5, 5]), (1000, vec![10])] {
            let shares = shares(&items, enough, |_| 1);
            assert_eq!(shares.iter().map(|share| share.len()).collect::<Vec<_>>(), sizes);
            assert_eq!(shares.concat(), items);
        }
    }

    #[test]
    fn results_are_in_order() {
        let items: Vec<usize> = (0..100).collect();
        for threads in [1, 2, 7, 100, 1000] {
            let done = each_share(&items, threads, |item| item % 5, <[usize]>::to_vec);
            assert!(done.len() <= threads.max(1), "{threads}");
            assert_eq!(done.concat(), items);
        }
        assert_eq!(each_share(&[0u8; 0], 4, |_| 1, <[u8]>::len), [0]);
    }
}

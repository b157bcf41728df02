//! The documents of one large file, parsed on several threads.
//!
//! Parsing takes most of the time of reading, and documents do not know of each other. What comes out is the same, in
//! the same order, with one thread or many.

use std::num::NonZero;
use std::thread;

use super::super::tree::{self, Fault, Keys, Node};

/// A document: what it says, and what is wrong with its text.
pub(super) type Parsed = (Option<Node>, Vec<Fault>);

/// Text that keeps a thread busy for longer than it takes to start: some ten milliseconds.
const BYTES_PER_THREAD: usize = 256 * 1024;

/// More of them only wait for memory.
const MAX_THREADS: usize = 8;

/// Parses documents, each with its first line; `bytes` is how long they are in all.
pub(super) fn parse(documents: Vec<(u32, &str)>, bytes: usize) -> Vec<Parsed> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = (bytes / BYTES_PER_THREAD).clamp(1, cores.min(MAX_THREADS));
    spread(&documents, bytes, threads)
}

/// The first share is parsed here, and each of the others on a thread of its own.
fn spread(documents: &[(u32, &str)], bytes: usize, threads: usize) -> Vec<Parsed> {
    let mut shares = shares(documents, bytes.div_ceil(threads)).into_iter();
    let own = shares.next().unwrap_or_default();
    thread::scope(|scope| {
        let others: Vec<_> = shares
            .map(|share| (share, thread::Builder::new().name("reader".to_owned()).spawn_scoped(scope, || all(share))))
            .collect();
        let mut parsed = all(own);
        for (share, other) in others {
            match other.map(thread::ScopedJoinHandle::join) {
                Ok(Ok(more)) => parsed.extend(more),
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                // Nobody gives us a thread: it takes longer.
                Err(_) => parsed.extend(all(share)),
            }
        }
        parsed
    })
}

fn all(documents: &[(u32, &str)]) -> Vec<Parsed> {
    let mut keys = Keys::default();
    documents.iter().map(|(first_line, text)| tree::parse(text, *first_line, &mut keys)).collect()
}

/// Cuts documents into shares of at least this many bytes each, save the last.
fn shares<'d, 't>(documents: &'d [(u32, &'t str)], bytes: usize) -> Vec<&'d [(u32, &'t str)]> {
    let (mut shares, mut start, mut size) = (Vec::new(), 0, 0);
    for (index, (_, text)) in documents.iter().enumerate() {
        size += text.len();
        if size >= bytes {
            shares.push(&documents[start..=index]);
            (start, size) = (index + 1, 0);
        }
    }
    if start < documents.len() {
        shares.push(&documents[start..]);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_threads_find_what_one_finds() {
        let texts: Vec<String> =
            (0..50).map(|number| format!("a: {number}\nb: [{}\n", "x, ".repeat(number % 7) + "]")).collect();
        let broken = "a: 1\na: 2\n";
        let mut documents: Vec<(u32, &str)> = (1..).step_by(3).zip(texts.iter().map(String::as_str)).collect();
        documents.insert(20, (1000, broken));
        documents.push((2000, "b: ["));
        let bytes = documents.iter().map(|(_, text)| text.len()).sum();
        let alone = format!("{:?}", spread(&documents, bytes, 1));
        assert!(alone.contains("1001") && alone.contains("not valid YAML"), "{alone}");
        for threads in [2, 3, 8, 51, 1000] {
            assert_eq!(format!("{:?}", spread(&documents, bytes, threads)), alone, "{threads} threads");
        }
        assert!(spread(&[], 0, 1).is_empty());
    }

    #[test]
    fn shares_are_alike_and_miss_nothing() {
        let documents: Vec<(u32, &str)> = (0..10).map(|number| (number, "0123456789")).collect();
        for (bytes, sizes) in [(1, vec![1; 10]), (30, vec![3, 3, 3, 1]), (50, vec![5, 5]), (1000, vec![10])] {
            let shares = shares(&documents, bytes);
            assert_eq!(shares.iter().map(|share| share.len()).collect::<Vec<_>>(), sizes);
            assert_eq!(shares.concat(), documents);
        }
    }
}

//! Building a worker's runtime: the ladder of ring flags, with epoll at its end.
//!
//! The flags decide whether io_uring pays at all, so the ladder begins with the best and steps down with a note for
//! the log. It must be climbed on the worker's own thread: `SINGLE_ISSUER` binds the ring to the thread that made it.

use std::cell::Cell;
use std::future::Future;
use std::io;

use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

/// Which driver is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// io_uring where the kernel lets us, else epoll.
    Auto,
    /// io_uring or an error.
    IoUring,
    /// epoll.
    Epoll,
}

/// The runtime that was built, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// `io_uring` or `epoll`.
    pub driver: &'static str,
    /// The ring's flags, or "".
    pub flags: &'static str,
    /// One line for each better rung that failed, with the errno and the cure.
    pub notes: Vec<String>,
}

/// Submission entries of a worker's ring. An operation that finds the queue full flushes it with a syscall, so this
/// is the largest batch, not a limit on connections.
const RING_ENTRIES: u32 = 1024;

/// Completion entries: four operations may finish for each submitted in one turn before the kernel must keep a list.
const COMPLETION_ENTRIES: u32 = 4 * RING_ENTRIES;

type Flags = fn(&mut io_uring::Builder);

/// The rungs, best first.
const LADDER: [(&str, Flags); 3] = [
    ("SINGLE_ISSUER|DEFER_TASKRUN", |b| {
        b.setup_single_issuer().setup_defer_taskrun();
    }),
    ("COOP_TASKRUN", |b| {
        b.setup_coop_taskrun();
    }),
    ("plain", |_| {}),
];

thread_local! {
    static IS_IO_URING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread's operations are the kernel's from the moment they are polled first.
pub(super) fn is_io_uring() -> bool {
    IS_IO_URING.get()
}

/// Builds a runtime on this thread and runs `main` on it; `main` gets a description of it.
///
/// # Errors When the wanted driver is not available; the error has the reason and the advice.
pub fn block_on<F: Future>(wanted: Driver, main: impl FnOnce(Started) -> F) -> io::Result<F::Output> {
    let mut notes = Vec::new();
    if wanted != Driver::Epoll {
        for (flags, set) in LADDER {
            let mut builder = io_uring::IoUring::builder();
            builder.setup_cqsize(COMPLETION_ENTRIES);
            set(&mut builder);
            let runtime = RuntimeBuilder::<TimeDriver<IoUringDriver>>::new()
                .with_entries(RING_ENTRIES)
                .uring_builder(builder)
                .build();
            match runtime {
                Ok(mut runtime) => {
                    IS_IO_URING.set(true);
                    let future = main(Started { driver: "io_uring", flags, notes });
                    return Ok(runtime.block_on(future));
                }
                Err(error) if forbidden(&error) => {
                    notes.push(format!("io_uring refused: {error}; {}", cure(&error)));
                    break;
                }
                Err(error) => notes.push(format!("io_uring ({flags}) refused: {error}; {}", cure(&error))),
            }
        }
    }
    if wanted == Driver::IoUring {
        let why = notes.join("; ");
        return Err(io::Error::other(format!("driver io_uring is not available here: {why}")));
    }
    IS_IO_URING.set(false);
    let mut runtime = RuntimeBuilder::<TimeDriver<LegacyDriver>>::new().build()?;
    let future = main(Started { driver: "epoll", flags: "", notes });
    Ok(runtime.block_on(future))
}

/// EPERM or ENOSYS: no flags will change that.
fn forbidden(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(1 | 38))
}

fn cure(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        // EPERM: seccomp profiles of container runtimes, or the sysctl.
        Some(1) => {
            "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile, or set \
             kernel.io_uring_disabled=0"
        }
        // ENOSYS
        Some(38) => "the kernel was built without io_uring, or a seccomp profile hides it",
        // EINVAL: flags newer than the kernel.
        Some(22) => "this kernel does not know these flags (SINGLE_ISSUER and DEFER_TASKRUN need Linux 6.1)",
        // ENOMEM
        Some(12) => "raise the locked-memory limit (ulimit -l)",
        _ => "the next form is tried",
    }
}

/// Starts a task on this thread's runtime. It ends with the runtime.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    drop(monoio::spawn(future));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoll_is_built_when_asked() {
        let started = block_on(Driver::Epoll, |started| async { started }).unwrap();
        assert_eq!(started.driver, "epoll");
        assert!(started.notes.is_empty());
    }

    #[test]
    fn auto_always_runs() {
        assert_eq!(block_on(Driver::Auto, |_| async { 7 }).unwrap(), 7);
    }
}

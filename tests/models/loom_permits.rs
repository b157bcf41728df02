//! The protocol by which permits and connections cross from core to core, in every order of events that loom finds: nobody
//! waits for ever, and there is never one connection more than the limit.
//!
//! The limit, the sets of cores and what they promise are the real code, with loom's atomics in place of the standard
//! library's. A core here does with them what `upstream::admission` does, without endpoints, time and sockets.

#[path = "../../src/policy/permits"]
#[allow(dead_code, unreachable_pub, reason = "it is a part of a library")]
mod permits {
    pub(crate) mod cores;
    pub(crate) mod crossing;
    pub(crate) mod limit;
    mod sync {
        pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
    }
}

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};

use loom::model::Builder;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use permits::crossing::Crossing;

#[derive(Debug, PartialEq, Eq)]
enum CoreMessage {
    /// A permit; `true`: with a connection.
    Have(bool),
    /// This core waits.
    Want(usize),
    /// A core has had all that it wanted.
    Done,
}

#[derive(Default)]
struct Mailbox {
    letters: Mutex<VecDeque<CoreMessage>>,
    bell: Condvar,
}

impl Mailbox {
    fn send(&self, letter: CoreMessage) {
        self.letters.lock().unwrap().push_back(letter);
        self.bell.notify_one();
    }

    fn next(&self) -> CoreMessage {
        let mut letters = self.letters.lock().unwrap();
        loop {
            match letters.pop_front() {
                Some(letter) => return letter,
                None => letters = self.bell.wait(letters).unwrap(),
            }
        }
    }
}

/// What is wrong with a core on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// It looks for what it needs, and says only then that it waits.
    WaitsUnseen,
    /// It looks who waits, and shows only then that it has an idle connection.
    RestsUnseen,
    /// It looks who waits, and gives its permit back only then.
    FreesUnseen,
}

/// What all cores share; the cores are numbered with gaps, so that they need more than one word.
struct World {
    crossing: Crossing,
    numbers: Vec<usize>,
    mailboxes: Vec<Mailbox>,
    limit: u32,
    /// Not loom's: it only watches.
    open: AtomicU32,
    fault: Fault,
}

impl World {
    fn send(&self, core: usize, letter: CoreMessage) {
        let at = self.numbers.iter().position(|number| *number == core).expect("a core that there is");
        self.mailboxes[at].send(letter);
    }
}

struct Core {
    world: Arc<World>,
    at: usize,
    core: usize,
    idle: u32,
    rests: bool,
    done: usize,
}

impl Core {
    /// Uses a connection as often as `closes` is long, and closes it afterwards where that says so; then answers the others
    /// until they have had all that they want.
    fn run(mut self, closes: &[bool]) {
        for close in closes {
            self.get();
            if *close { self.close() } else { self.settle() }
        }
        let others = self.world.mailboxes.len() - 1;
        for (at, mailbox) in self.world.mailboxes.iter().enumerate() {
            if at != self.at {
                mailbox.send(CoreMessage::Done);
            }
        }
        while self.done < others {
            self.answer(false);
        }
    }

    fn opened(&self) {
        let open = self.world.open.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(open <= self.world.limit, "{open} connections");
    }

    /// Comes by a connection.
    fn get(&mut self) {
        if self.idle > 0 {
            self.idle -= 1;
            return;
        }
        let world = self.world.clone();
        let crossing = &world.crossing;
        if crossing.limit().take() {
            return self.opened();
        }
        if world.fault == Fault::WaitsUnseen {
            self.ask(self.core, self.core);
            crossing.wait(self.core);
        } else {
            crossing.wait(self.core);
            if crossing.limit().take() {
                crossing.wait_no_more(self.core);
                return self.opened();
            }
            self.ask(self.core, self.core);
        }
        while !self.answer(true) {}
    }

    fn ask(&self, by: usize, from: usize) {
        if let Some(core) = self.world.crossing.next_with_idle(from, by) {
            self.world.send(core, CoreMessage::Want(by));
        }
    }

    /// Reads a letter; true if it brought what this core waits for.
    fn answer(&mut self, waits: bool) -> bool {
        let world = self.world.clone();
        match world.mailboxes[self.at].next() {
            CoreMessage::Done => self.done += 1,
            CoreMessage::Have(connection) if waits => {
                world.crossing.wait_no_more(self.core);
                if !connection {
                    self.opened();
                }
                return true;
            }
            CoreMessage::Have(true) => self.settle(),
            CoreMessage::Have(false) => self.pass_on(),
            CoreMessage::Want(core) if !world.crossing.waits(core) => {}
            CoreMessage::Want(core) if self.idle > 0 => {
                self.idle -= 1;
                world.open.fetch_sub(1, Ordering::SeqCst);
                world.send(core, CoreMessage::Have(false));
            }
            CoreMessage::Want(core) => {
                self.rests = false;
                world.crossing.rest_no_more(self.core);
                self.ask(core, self.core);
            }
        }
        false
    }

    /// Has a connection that it does not need.
    fn settle(&mut self) {
        let world = self.world.clone();
        let crossing = &world.crossing;
        if let Some(other) = crossing.next_waiting(self.core) {
            return world.send(other, CoreMessage::Have(true));
        }
        if !std::mem::replace(&mut self.rests, true) {
            crossing.rest(self.core);
            if world.fault != Fault::RestsUnseen
                && let Some(other) = crossing.next_waiting(self.core)
            {
                return world.send(other, CoreMessage::Have(true));
            }
        }
        self.idle += 1;
    }

    fn close(&self) {
        self.world.open.fetch_sub(1, Ordering::SeqCst);
        self.pass_on();
    }

    /// Has a permit that it does not need.
    fn pass_on(&self) {
        let crossing = &self.world.crossing;
        if let Some(other) = crossing.next_waiting(self.core) {
            return self.world.send(other, CoreMessage::Have(false));
        }
        if self.world.fault == Fault::FreesUnseen {
            crossing.limit().give_back(1);
        } else if let Some(other) = crossing.free(self.core) {
            self.world.send(other, CoreMessage::Have(false));
        }
    }
}

/// Runs cores that each do so, in every order of events with as many changes of thread as `preemptions` at moments when
/// none is needed.
fn check(fault: Fault, limit: u32, preemptions: usize, cores: &'static [&'static [bool]]) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let numbers: Vec<usize> = (0..cores.len()).map(|at| at * 63).collect();
        let room = numbers.last().map_or(1, |last| last + 1);
        let world = Arc::new(World {
            crossing: Crossing::new(Some(limit), room),
            numbers,
            mailboxes: cores.iter().map(|_| Mailbox::default()).collect(),
            limit,
            open: AtomicU32::new(0),
            fault,
        });
        let core =
            |at: usize| Core { world: world.clone(), at, core: world.numbers[at], idle: 0, rests: false, done: 0 };
        let threads: Vec<_> = (1..cores.len())
            .map(|at| {
                let core = core(at);
                thread::spawn(move || core.run(cores[at]))
            })
            .collect();
        core(0).run(cores[0]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

const KEEP: bool = false;
const CLOSE: bool = true;

#[test]
fn two_cores_share_a_connection_that_stays() {
    check(Fault::None, 1, 3, &[&[KEEP], &[KEEP]]);
    check(Fault::None, 1, 2, &[&[KEEP, KEEP], &[KEEP]]);
}

#[test]
fn two_cores_share_a_permit() {
    check(Fault::None, 1, 3, &[&[CLOSE], &[CLOSE]]);
    check(Fault::None, 1, 2, &[&[CLOSE, CLOSE], &[CLOSE]]);
}

#[test]
fn one_keeps_and_one_closes() {
    check(Fault::None, 1, 2, &[&[KEEP, CLOSE], &[KEEP]]);
    check(Fault::None, 1, 2, &[&[KEEP, KEEP, CLOSE], &[CLOSE]]);
}

#[test]
fn three_cores_share_one() {
    check(Fault::None, 1, 1, &[&[KEEP], &[KEEP], &[CLOSE]]);
}

#[test]
fn three_cores_share_two() {
    check(Fault::None, 2, 1, &[&[KEEP], &[CLOSE], &[KEEP]]);
}

/// The name of a fault, for [`a_faulty_protocol`].
const FAULT: &str = "RINGWAY_LOOM_FAULT";

/// Runs a protocol with the fault that the environment names, in a process of its own: loom cannot end a run that fails
/// without ending its process.
#[test]
fn a_faulty_protocol() {
    match std::env::var(FAULT).as_deref() {
        Ok("WaitsUnseen") => check(Fault::WaitsUnseen, 1, 3, &[&[CLOSE], &[CLOSE]]),
        Ok("RestsUnseen") => check(Fault::RestsUnseen, 1, 3, &[&[KEEP], &[KEEP]]),
        Ok("FreesUnseen") => check(Fault::FreesUnseen, 1, 3, &[&[CLOSE], &[CLOSE]]),
        _ => {} // run as one of many
    }
}

#[test]
fn faults_are_found_out() {
    let this = std::env::current_exe().expect("a test is a file");
    for fault in [Fault::WaitsUnseen, Fault::RestsUnseen, Fault::FreesUnseen] {
        let run = std::process::Command::new(&this)
            .args(["--exact", "loom_permits::a_faulty_protocol", "--nocapture"])
            .env(FAULT, format!("{fault:?}"))
            .output()
            .expect("a test runs itself");
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(!run.status.success() && said.contains("deadlock"), "{fault:?} was not noticed:\n{said}");
    }
}

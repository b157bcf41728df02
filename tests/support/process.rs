//! A child process whose words are kept, and which never outlives its test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use super::wait::{PATIENCE, within};

/// A running child.
pub(crate) struct Process {
    name: String,
    child: Child,
    said: Arc<Mutex<String>>,
    printed: Arc<Mutex<String>>,
    listeners: Vec<JoinHandle<()>>,
}

/// Collects the lines of a pipe until it ends.
fn listen(pipe: impl Read + Send + 'static, into: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let mut text = into.lock().expect("a string is never left half written");
            text.push_str(&String::from_utf8_lossy(&line));
            text.push('\n');
        }
    })
}

impl Process {
    /// Starts `command` with no standard input; standard output is dropped, standard error kept.
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        Self::start_with_stdout(name, command, Stdio::null())
    }

    /// As [`Process::start`], with standard output kept too.
    pub(crate) fn start_printing(name: &str, command: &mut Command) -> Self {
        Self::start_with_stdout(name, command, Stdio::piped())
    }

    /// As [`Process::start`], with this standard output; it is kept if it is a pipe made here.
    pub(crate) fn start_with_stdout(name: &str, command: &mut Command, stdout: Stdio) -> Self {
        command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {name} ({command:?}): {error}"));
        let (said, printed) = <(Arc<Mutex<String>>, Arc<Mutex<String>>)>::default();
        let errors = child.stderr.take().expect("standard error is piped");
        let mut listeners = vec![listen(errors, &said)];
        listeners.extend(child.stdout.take().map(|output| listen(output, &printed)));
        Self { name: name.to_owned(), child, said, printed, listeners }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote on standard error so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("a string is never left half written").clone()
    }

    /// What it wrote on standard output so far, if that is kept.
    pub(crate) fn printed(&self) -> String {
        self.printed.lock().expect("a string is never left half written").clone()
    }

    /// Its exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for a child")
    }

    /// Polls `ready` until it is true; panics with standard error when the child ends or the time runs out.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool) {
        let outcome = within(PATIENCE, || match self.ended() {
            Some(status) => Some(Err(status)),
            None => ready().then_some(Ok(())),
        });
        match outcome {
            Some(Ok(())) => {}
            Some(Err(status)) => {
                let said = self.finish();
                panic!("{} ended ({status}) before it was {what}:\n{said}", self.name)
            }
            None => panic!("{} was not {what} within {PATIENCE:?}:\n{}", self.name, self.said()),
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().cast_signed()).expect("a child has a process id");
        kill_process(id, signal).unwrap_or_else(|error| panic!("signal {signal:?} to {}: {error}", self.name));
    }

    /// Stops the child, and waits until each of its threads stands: the signal alone only says that they are to.
    #[track_caller]
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        let stands = |task: std::fs::DirEntry| {
            let line = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The name, in parentheses, may hold anything.
            line.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        };
        super::wait::eventually("every thread stopped", || {
            let mut tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).ok()?;
            tasks.all(|task| task.is_ok_and(stands)).then_some(())
        });
    }

    /// Lets a frozen child go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits for the child to end by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        match within(PATIENCE, || self.ended()) {
            Some(status) => status,
            None => panic!("{} did not end within {PATIENCE:?}:\n{}", self.name, self.said()),
        }
    }

    /// All of standard error, once the child has ended; all of standard output is there by then too.
    pub(crate) fn finish(&mut self) -> String {
        for listener in self.listeners.drain(..) {
            listener.join().expect("a reader of a pipe does not panic");
        }
        self.said()
    }

    /// Descriptors that the child has open: what /proc/PID/fd says of each, in the order of their numbers.
    pub(crate) fn descriptors(&self) -> Vec<String> {
        let folder = format!("/proc/{}/fd", self.child.id());
        let open = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut open: Vec<(u32, String)> = open
            .filter_map(|entry| {
                let number = entry.file_name().to_str()?.parse().ok()?;
                let what = std::fs::read_link(entry.path()).ok()?; // closed meanwhile
                Some((number, format!("{number}: {}", what.display())))
            })
            .collect();
        open.sort();
        open.into_iter().map(|(_, what)| what).collect()
    }

    /// Threads of the child.
    pub(crate) fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.child.id())).map_or(0, Iterator::count)
    }

    /// A memory figure of /proc/PID/status in KiB: `VmRSS`, `VmHWM`.
    pub(crate) fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let figure = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
        figure.and_then(|kib| kib.parse().ok()).unwrap_or_else(|| panic!("{field} of {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        // Asked first: a master with worker processes takes them along only when it may clean up.
        self.signal(Signal::TERM);
        if within(std::time::Duration::from_secs(3), || self.child.try_wait().ok().flatten()).is_none() {
            let _ = self.child.kill(); // fails only when it has ended meanwhile
            let _ = self.child.wait();
        }
    }
}

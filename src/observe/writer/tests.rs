use std::sync::mpsc::channel;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps what was written; fails while told to.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<(Vec<u8>, Vec<io::Error>)>>);

impl Page {
    fn failing_with(errors: Vec<io::Error>) -> Self {
        Self(Arc::new(Mutex::new((Vec::new(), errors))))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut page = self.0.lock().unwrap();
        if let Some(error) = page.1.pop() {
            return Err(error);
        }
        let some = bytes.len().min(1000); // a pipe takes only so much at once
        page.0.extend_from_slice(&bytes[..some]);
        Ok(some)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_line(sink: &mut LogSink, text: &str) {
    sink.line_buffer().extend_from_slice(text.as_bytes());
    sink.line_done();
}

fn dropped(registry: &Registry) -> u64 {
    let counts = (0..registry.cores()).map(|core| registry.log_buffer(core).dropped_lines.get());
    counts.sum::<u64>() + registry.log_writer().dropped_lines.get()
}

#[test]
fn every_line_of_every_worker_arrives_whole() {
    let (page, registry) = (Page::default(), Registry::new(3));
    let (writer, sinks) = LogWriter::start_with(page.clone(), "page".to_owned(), &registry).unwrap();
    std::thread::scope(|scope| {
        for (core, mut sink) in sinks.into_iter().enumerate() {
            scope.spawn(move || {
                (0..500).for_each(|line| write_line(&mut sink, &format!("{core} {line} {}\n", "x".repeat(100))));
                sink.flush();
            });
        }
    });
    assert!(writer.finish(PATIENCE));
    let text = page.text();
    assert!(text.lines().all(|line| line.ends_with("xxxx")));
    for core in 0..3 {
        let mine: Vec<&str> = text.lines().filter(|line| line.starts_with(&format!("{core} "))).collect();
        assert_eq!(mine.len(), 500);
        assert!(mine.iter().enumerate().all(|(at, line)| line.starts_with(&format!("{core} {at} "))), "in order");
    }
    assert_eq!((registry.log_writer().written_lines.get(), dropped(&registry)), (1500, 0));
}

#[test]
fn a_full_buffer_goes_without_a_flush() {
    let (page, registry) = (Page::default(), Registry::new(1));
    let (writer, mut sinks) = LogWriter::start_with(page.clone(), "page".to_owned(), &registry).unwrap();
    let mut line = "y".repeat(FULL_BYTES - 1);
    line.push('\n');
    write_line(&mut sinks[0], &line);
    assert!(sinks[0].line_buffer().is_empty());
    drop(sinks);
    assert!(writer.finish(PATIENCE));
    assert_eq!(page.text(), line);
}

/// Blocks every write until it is let go.
struct Gate(std::sync::mpsc::Receiver<()>);

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv(); // an error means that the gate is open for good
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_that_hangs_costs_lines_not_time_or_memory() {
    let registry = Registry::new(1);
    let (open, gate) = channel();
    let (writer, mut sinks) = LogWriter::start_with(Gate(gate), "gate".to_owned(), &registry).unwrap();
    for _ in 0..BUFFERS + 5 {
        write_line(&mut sinks[0], "a line\n");
        write_line(&mut sinks[0], "another\n");
        sinks[0].flush();
    }
    // One buffer stays with the sink, the others are the writer's: what came after them is gone.
    assert_eq!(registry.log_buffer(0).dropped_lines.get(), 2 * 6);
    drop(open);
    drop(sinks);
    assert!(writer.finish(PATIENCE));
    assert_eq!(registry.log_writer().written_lines.get(), 2 * (BUFFERS as u64 - 1));
}

#[test]
fn finish_gives_up_on_a_destination_that_hangs() {
    let registry = Registry::new(1);
    let (_open, gate) = channel();
    let (writer, mut sinks) = LogWriter::start_with(Gate(gate), "gate".to_owned(), &registry).unwrap();
    write_line(&mut sinks[0], "a line\n");
    sinks[0].flush();
    drop(sinks);
    assert!(!writer.finish(Duration::from_millis(20)));
}

#[test]
fn errors_are_counted_and_writing_goes_on() {
    let page = Page::failing_with(vec![ErrorKind::BrokenPipe.into(), ErrorKind::StorageFull.into()]);
    let registry = Registry::new(1);
    let (writer, mut sinks) = LogWriter::start_with(page.clone(), "page".to_owned(), &registry).unwrap();
    for line in ["lost\n", "lost too\n", "kept\n"] {
        write_line(&mut sinks[0], line);
        sinks[0].flush();
    }
    drop(sinks);
    assert!(writer.finish(PATIENCE));
    assert_eq!(page.text(), "kept\n");
    let stats = registry.log_writer();
    assert_eq!((stats.write_errors.get(), stats.dropped_lines.get(), stats.written_lines.get()), (2, 2, 1));
}

#[test]
fn a_destination_that_would_block_is_tried_again() {
    let page = Page::failing_with(vec![ErrorKind::WouldBlock.into(), ErrorKind::Interrupted.into()]);
    let registry = Registry::new(1);
    let (writer, mut sinks) = LogWriter::start_with(page.clone(), "page".to_owned(), &registry).unwrap();
    write_line(&mut sinks[0], "kept\n");
    sinks[0].flush();
    drop(sinks);
    assert!(writer.finish(PATIENCE));
    assert_eq!((page.text(), registry.log_writer().write_errors.get()), ("kept\n".to_owned(), 0));
}

/// Takes half of the first line, then fails once.
struct Torn(Page, u8);

impl Write for Torn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1 += 1;
        match self.1 {
            1 => self.0.write(&bytes[..4]),
            2 => Err(ErrorKind::StorageFull.into()),
            _ => self.0.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn after_half_a_line_the_next_begins_anew() {
    let (page, registry) = (Page::default(), Registry::new(1));
    let (writer, mut sinks) = LogWriter::start_with(Torn(page.clone(), 0), "torn".to_owned(), &registry).unwrap();
    for line in ["first line\n", "second line\n"] {
        write_line(&mut sinks[0], line);
        sinks[0].flush();
    }
    drop(sinks);
    assert!(writer.finish(PATIENCE));
    assert_eq!(page.text(), "firs\nsecond line\n");
}

#[test]
fn a_file_is_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    std::fs::write(&path, "before\n").unwrap();
    let registry = Registry::new(1);
    let (writer, mut sinks) = LogWriter::start(&path, &registry).unwrap();
    write_line(&mut sinks[0], "after\n");
    sinks[0].flush();
    drop(sinks);
    assert!(writer.finish(PATIENCE));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\nafter\n");
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(LogWriter::start(&folder.path().join("no/such/folder"), &Registry::new(1)).is_err());
}

#[allow(clippy::disallowed_methods, reason = "another thread writes, and there is a limit to waiting for it")]
fn wait_for(path: &Path, text: &str) {
    let start = std::time::Instant::now();
    while std::fs::read_to_string(path).unwrap_or_default() != text {
        assert!(start.elapsed() < PATIENCE, "{:?}", std::fs::read_to_string(path));
        std::thread::yield_now();
    }
}

#[test]
fn a_renamed_log_goes_on_in_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let registry = Registry::new(1);
    let (writer, mut sinks) = LogWriter::start(&path, &registry).unwrap();
    write_line(&mut sinks[0], "first\n");
    sinks[0].flush();
    wait_for(&path, "first\n");
    std::fs::rename(&path, &old).unwrap();
    write_line(&mut sinks[0], "second\n");
    sinks[0].flush();
    wait_for(&old, "first\nsecond\n");
    // Many times in a row: each call's file is there at once, and lines still have their room.
    for _ in 0..50 {
        writer.reopen().unwrap();
        assert!(path.exists());
    }
    for line in 0..20 {
        write_line(&mut sinks[0], &format!("{line}\n"));
        sinks[0].flush();
        wait_for(&path, &(0..=line).map(|line| format!("{line}\n")).collect::<String>());
    }
    drop(sinks);
    assert!(writer.finish(PATIENCE));
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "first\nsecond\n");
    assert_eq!(dropped(&registry), 0);
}

#[test]
fn a_log_that_cannot_be_opened_anew_goes_on_in_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("logs");
    std::fs::create_dir(&inner).unwrap();
    let registry = Registry::new(1);
    let (writer, mut sinks) = LogWriter::start(&inner.join("access.log"), &registry).unwrap();
    let moved = folder.path().join("moved");
    std::fs::rename(&inner, &moved).unwrap();
    assert_eq!(writer.reopen().unwrap_err().kind(), ErrorKind::NotFound);
    write_line(&mut sinks[0], "kept\n");
    sinks[0].flush();
    wait_for(&moved.join("access.log"), "kept\n");
    drop(sinks);
    assert!(writer.finish(PATIENCE));
}

#[test]
fn a_destination_without_a_path_stays() {
    let (page, registry) = (Page::default(), Registry::new(1));
    let (writer, mut sinks) = LogWriter::start_with(page.clone(), "page".to_owned(), &registry).unwrap();
    writer.reopen().unwrap();
    write_line(&mut sinks[0], "kept\n");
    sinks[0].flush();
    drop(sinks);
    assert!(writer.finish(PATIENCE));
    assert_eq!(page.text(), "kept\n");
}

#[test]
fn a_new_sink_takes_the_place_of_one_that_died_with_its_worker() {
    let (page, registry) = (Page::default(), Registry::new(1));
    let (writer, mut sinks) = LogWriter::start_with(page.clone(), "page".to_owned(), &registry).unwrap();
    let mut dead = sinks.remove(0);
    write_line(&mut dead, "first\n");
    dead.flush();
    write_line(&mut dead, "lost with its worker\n");
    drop(dead);
    let mut sink = writer.new_sink(0, &registry);
    // More than there are buffers: they come back to the new sink.
    for number in 0..100 {
        write_line(&mut sink, &format!("line {number}\n"));
        sink.flush();
        let arrived = (0..20_000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            page.text().lines().count() == number + 2
        });
        assert!(arrived, "line {number}: {}", page.text());
    }
    drop(sink);
    assert!(writer.finish(PATIENCE));
    assert_eq!((page.text().lines().count(), dropped(&registry)), (101, 0));
}

//! Lines on their way to a descriptor that may be slow, full or gone.
//!
//! A caller appends to a bounded buffer and goes on; one thread writes what has gathered in it, a few
//! milliseconds after the first line that may wait, or at once. A line that finds the buffer full,
//! or cannot be written, is lost and counted, and the next line that gets through is preceded by one
//! that says how many were. So a log that no one reads, or whose volume is full, changes nothing else:
//! no request waits for it and no error of it reaches anyone.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

/// Lines that wait, in bytes. What a busy service logs in a good tenth of a second.
const QUEUE_BYTES_MAX: usize = 1 << 20;
/// With that much, or after that long, lines that may wait are written.
const GATHERED_BYTES: usize = 1 << 16;
const GATHERED_FOR: Duration = Duration::from_millis(5);
/// How long the writing thread waits after a panic.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

/// Where lines are appended. Its thread ends with it.
pub(super) struct LineQueue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// The line that says how many were lost.
    notice: Box<dyn Fn(u64) -> Vec<u8> + Send + Sync>,
}

#[derive(Default)]
struct State {
    /// Whole ones.
    lines: Vec<u8>,
    /// They are not to wait for others.
    is_due: bool,
    is_writing: bool,
    /// Since the start.
    lost: u64,
    /// Of those, the ones that no notice has reported.
    untold: u64,
    is_closed: bool,
}

/// When a line is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    AtOnce,
    /// With others, within milliseconds: for lines that come with every request.
    Gathered,
}

/// Not all of some lines could be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CutOff {
    /// So many bytes were.
    written: usize,
}

impl LineQueue {
    /// Starts the thread `name`, which gives whole lines to `write`.
    ///
    /// # Errors
    /// When there cannot be one more thread.
    pub(super) fn start(
        name: &str,
        notice: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
        write: impl FnMut(&[u8]) -> Result<(), CutOff> + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            notice: Box::new(notice),
        });
        let writer = shared.clone();
        let thread = std::thread::Builder::new().name(name.into());
        thread.spawn(move || writer.run(write))?;
        Ok(Self(shared))
    }

    /// Appends a line, which ends with a line feed. Never blocks and never fails.
    pub(super) fn push(&self, line: &[u8], when: When) {
        let mut state = self.0.lock();
        if state.lines.len() + line.len() > QUEUE_BYTES_MAX {
            state.lose(1);
            return;
        }
        let is_first = state.lines.is_empty();
        state.lines.extend_from_slice(line);
        let was_due = state.is_due;
        state.is_due |= when == When::AtOnce || state.lines.len() >= GATHERED_BYTES;
        let is_news = is_first || state.is_due != was_due;
        drop(state);
        if is_news {
            self.0.changed.notify_all();
        }
    }

    /// Waits until everything has been written or is lost, and at most for `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.0.lock();
        while !state.lines.is_empty() || state.is_writing {
            if !state.is_due {
                state.is_due = true;
                self.0.changed.notify_all();
            }
            if self.0.changed.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }

    /// How many lines were lost since the start.
    pub(super) fn lost(&self) -> u64 {
        self.0.lock().lost
    }
}

impl Drop for LineQueue {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl State {
    fn lose(&mut self, n_lines: u64) {
        self.lost += n_lines;
        self.untold += n_lines;
    }
}

impl Shared {
    fn run(&self, mut write: impl FnMut(&[u8]) -> Result<(), CutOff>) {
        let mut lines = Vec::new();
        while self.take(&mut lines) {
            let written = catch_unwind(AssertUnwindSafe(|| self.deliver(&lines, &mut write)));
            let n_written = *written.as_ref().unwrap_or(&0);
            let lost = lines[n_written..].iter().filter(|byte| **byte == b'\n');
            let mut state = self.lock();
            state.is_writing = false;
            state.lose(lost.count() as u64);
            drop(state);
            self.changed.notify_all();
            if written.is_err() {
                std::thread::sleep(PANIC_PAUSE);
            }
        }
    }

    /// Waits for lines and for those that come soon after, and exchanges them with `written`. Says whether
    /// there will be more.
    fn take(&self, written: &mut Vec<u8>) -> bool {
        written.clear();
        let mut state = self.lock();
        while state.lines.is_empty() {
            if state.is_closed {
                return false;
            }
            self.changed.wait(&mut state);
        }
        let deadline = Instant::now() + GATHERED_FOR;
        while !state.is_due && !state.is_closed {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.is_due = false;
        state.is_writing = true;
        std::mem::swap(&mut state.lines, written);
        true
    }

    /// Writes lines, after the notice of those that were lost before them. Says how many bytes of them
    /// were written.
    fn deliver(&self, lines: &[u8], write: &mut impl FnMut(&[u8]) -> Result<(), CutOff>) -> usize {
        let untold = self.lock().untold;
        if untold > 0 {
            if write(&(self.notice)(untold)).is_err() {
                return 0;
            }
            self.lock().untold -= untold;
        }
        match write(lines) {
            Ok(()) => lines.len(),
            Err(cut_off) => cut_off.written,
        }
    }

    /// Consistent after every statement.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Writes lines to a descriptor. One that is not to block is waited for.
pub(super) struct Descriptor<D> {
    at: D,
    /// The last line was cut off by an error: the next one begins on a line of its own.
    is_torn: bool,
}

impl<D: std::os::fd::AsFd> Descriptor<D> {
    pub(super) fn new(at: D) -> Self {
        Self { at, is_torn: false }
    }

    /// # Errors
    /// When not all could be written.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), CutOff> {
        let mut written = 0;
        if self.is_torn {
            self.write_some(b"\n").map_err(|_| CutOff { written })?;
            self.is_torn = false;
        }
        while written < lines.len() {
            match self.write_some(&lines[written..]) {
                Ok(n_bytes) => written += n_bytes,
                Err(_) => {
                    self.is_torn = written > 0 && lines[written - 1] != b'\n';
                    return Err(CutOff { written });
                }
            }
        }
        Ok(())
    }

    /// At least one byte.
    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        use rustix::{
            event::{PollFd, PollFlags, poll},
            io::Errno,
        };
        loop {
            match rustix::io::write(&self.at, bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n_bytes) => return Ok(n_bytes),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut writable = [PollFd::new(&self.at, PollFlags::OUT)];
                    // Whether it worked shows at the next write.
                    let _ = poll(&mut writable, None);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(60);

    /// A sink whose every write waits for what is to become of it.
    struct Gate {
        outcomes: mpsc::Sender<Result<(), CutOff>>,
        written: mpsc::Receiver<String>,
        queue: LineQueue,
    }

    impl Gate {
        fn new() -> Self {
            let (outcomes, outcome) = mpsc::channel::<Result<(), CutOff>>();
            let (sender, written) = mpsc::channel();
            let notice = |n: u64| format!("{n} lost\n").into_bytes();
            let queue = LineQueue::start("test", notice, move |line: &[u8]| {
                let outcome = outcome.recv().unwrap_or(Err(CutOff { written: 0 }));
                outcome.inspect(|()| sender.send(String::from_utf8_lossy(line).into()).unwrap())
            });
            Self {
                outcomes,
                written,
                queue: queue.unwrap(),
            }
        }

        fn push(&self, text: &str) {
            self.queue
                .push(format!("{text}\n").as_bytes(), When::Gathered);
        }

        fn fails_after(&self, written: usize) {
            self.outcomes.send(Err(CutOff { written })).unwrap();
            self.queue.flush(LONG);
        }

        fn succeeds(&self) -> String {
            self.outcomes.send(Ok(())).unwrap();
            self.written.recv_timeout(LONG).unwrap()
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_told_once() {
        let gate = Gate::new();
        for _ in 0..2 {
            gate.push("gone");
            gate.fails_after(0);
        }
        assert_eq!(gate.queue.lost(), 2);
        // The notice itself fails: nothing is reported, and its line is lost as well.
        gate.push("gone with its notice");
        gate.fails_after(0);
        gate.push("through");
        assert_eq!(gate.succeeds(), "3 lost\n");
        assert_eq!(gate.succeeds(), "through\n");
        gate.push("and on");
        assert_eq!(gate.succeeds(), "and on\n");
        assert_eq!(gate.queue.lost(), 3);
    }

    #[test]
    fn of_lines_that_are_cut_off_those_count_that_are_not_whole() {
        let gate = Gate::new();
        gate.queue.0.lock().lines.extend(b"one\ntwo\n");
        gate.push("three");
        gate.fails_after("one\ntw".len());
        assert_eq!(gate.queue.lost(), 2);
    }

    /// Without a clock: what waits is written with what makes it due.
    #[test]
    fn lines_that_may_wait_are_written_with_others() {
        let gate = Gate::new();
        gate.push("first");
        assert_eq!(gate.succeeds(), "first\n");
        let mut state = gate.queue.0.lock();
        state.lines.extend(b"one\ntwo\n");
        drop(state);
        gate.queue.push(b"at once\n", When::AtOnce);
        assert_eq!(gate.succeeds(), "one\ntwo\nat once\n");
        let long = "x".repeat(GATHERED_BYTES);
        gate.push(&long);
        assert_eq!(gate.succeeds(), format!("{long}\n"));
    }

    #[test]
    fn a_reader_who_has_stopped_blocks_nobody() {
        let gate = Gate::new();
        let line = "x".repeat(1000);
        let n_lines = 2 * QUEUE_BYTES_MAX / line.len();
        for _ in 0..n_lines {
            gate.push(&line);
        }
        let lost = gate.queue.lost();
        assert!(lost > 0 && lost < n_lines as u64, "{lost}");
        gate.queue.flush(Duration::ZERO);
        // The first line may have been taken before anything was lost.
        let told = [gate.succeeds(), gate.succeeds()];
        let notices = told.iter().filter(|told| told.ends_with("lost\n"));
        assert_eq!(notices.count(), 1, "{told:?}");
    }

    #[test]
    fn a_panic_of_the_sink_costs_the_lines_that_it_had() {
        let (sender, written) = mpsc::channel();
        let notice = |n: u64| format!("{n} lost\n").into_bytes();
        let queue = LineQueue::start("test", notice, move |line: &[u8]| {
            assert_ne!(line, b"bad\n", "injected");
            sender
                .send(line.to_vec())
                .map_err(|_| CutOff { written: 0 })
        });
        let queue = queue.unwrap();
        queue.push(b"bad\n", When::AtOnce);
        queue.flush(LONG);
        queue.push(b"good\n", When::AtOnce);
        assert_eq!(written.recv_timeout(LONG).unwrap(), b"1 lost\n");
        assert_eq!(written.recv_timeout(LONG).unwrap(), b"good\n");
    }

    #[test]
    fn a_line_that_was_cut_off_is_ended_before_the_next() {
        let (mut reader, writer) = io::pipe().unwrap();
        let flags = rustix::fs::OFlags::NONBLOCK;
        rustix::fs::fcntl_setfl(&writer, flags).unwrap();
        let mut descriptor = Descriptor::new(writer);
        descriptor.is_torn = true;
        descriptor.write(b"whole\n").unwrap();
        // More than the pipe holds, while someone reads: what would block is waited for.
        let long = [vec![b'y'; 1 << 18], b"\n".to_vec()].concat();
        let read = std::thread::scope(|scope| {
            let read = scope.spawn(move || {
                let mut all = Vec::new();
                io::Read::read_to_end(&mut reader, &mut all).map(|_| all)
            });
            descriptor.write(&long).unwrap();
            drop(descriptor);
            read.join().unwrap().unwrap()
        });
        assert_eq!(read, [b"\nwhole\n".to_vec(), long].concat());
    }

    #[test]
    fn a_reader_that_has_gone_and_a_full_volume_are_errors() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let gone = Descriptor::new(writer).write(b"line\n");
        assert_eq!(gone, Err(CutOff { written: 0 }));
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let full = Descriptor::new(full).write(b"line\n");
        assert_eq!(full, Err(CutOff { written: 0 }));
    }

    #[test]
    fn what_was_cut_off_in_the_middle_is_told() {
        let (reader, writer) = io::pipe().unwrap();
        let flags = rustix::fs::OFlags::NONBLOCK;
        rustix::fs::fcntl_setfl(&writer, flags).unwrap();
        let mut descriptor = Descriptor::new(writer);
        // Twice what the pipe holds: its reader goes while the rest is waited for.
        let lines = b"x\n".repeat(1 << 16);
        let cut_off = std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut first = [0; 3];
                io::Read::read_exact(&mut &reader, &mut first).unwrap();
                drop(reader);
            });
            descriptor.write(&lines).unwrap_err()
        });
        assert!((1..lines.len()).contains(&cut_off.written));
        assert_eq!(descriptor.is_torn, lines[cut_off.written - 1] != b'\n');
    }
}

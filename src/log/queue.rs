//! Lines on their way to a descriptor that may be slow, full or gone.
//!
//! A caller appends to a bounded queue and goes on; one thread writes. A line that finds the
//! queue full, or cannot be written, is lost and counted, and the next line that gets through is
//! preceded by one that says how many were. So a log that no one reads, or whose volume is full,
//! changes nothing else: no request waits for it and no error of it reaches anyone.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

/// Lines that wait, in bytes. What a busy service logs in about a second.
const QUEUE_BYTES_MAX: usize = 1 << 20;
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
    lines: VecDeque<Vec<u8>>,
    n_bytes: usize,
    is_writing: bool,
    /// Since the start.
    lost: u64,
    /// Of those, the ones that no notice has reported.
    untold: u64,
    is_closed: bool,
}

impl LineQueue {
    /// Starts the thread `name`, which gives whole lines to `write`.
    ///
    /// # Errors
    /// When there cannot be one more thread.
    pub(super) fn start(
        name: &str,
        notice: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
        write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
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
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut state = self.0.lock();
        if state.n_bytes + line.len() > QUEUE_BYTES_MAX {
            state.lose(1);
            return;
        }
        state.n_bytes += line.len();
        state.lines.push_back(line);
        drop(state);
        self.0.changed.notify_all();
    }

    /// Waits until everything has been written or is lost, and at most for `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.0.lock();
        while !state.lines.is_empty() || state.is_writing {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return;
            };
            self.0.changed.wait_for(&mut state, left);
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
    fn run(&self, mut write: impl FnMut(&[u8]) -> io::Result<()>) {
        while let Some(line) = self.next() {
            let written = catch_unwind(AssertUnwindSafe(|| self.deliver(&line, &mut write)));
            let mut state = self.lock();
            state.is_writing = false;
            if !matches!(written, Ok(true)) {
                state.lose(1);
            }
            drop(state);
            self.changed.notify_all();
            if written.is_err() {
                std::thread::sleep(PANIC_PAUSE);
            }
        }
    }

    /// The next line; `None` when there will be no more.
    fn next(&self) -> Option<Vec<u8>> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.n_bytes -= line.len();
                state.is_writing = true;
                return Some(line);
            }
            if state.is_closed {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    /// Writes a line, after the notice of those that were lost before it.
    fn deliver(&self, line: &[u8], write: &mut impl FnMut(&[u8]) -> io::Result<()>) -> bool {
        let untold = self.lock().untold;
        if untold > 0 {
            if write(&(self.notice)(untold)).is_err() {
                return false;
            }
            self.lock().untold -= untold;
        }
        write(line).is_ok()
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

    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.write_all(b"\n")?;
            self.is_torn = false;
        }
        self.write_all(line)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        use rustix::{
            event::{PollFd, PollFlags, poll},
            io::Errno,
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::io::write(&self.at, rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n_bytes) => {
                    rest = &rest[n_bytes..];
                    self.is_torn = !rest.is_empty();
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut writable = [PollFd::new(&self.at, PollFlags::OUT)];
                    // Whether it worked shows at the next write.
                    let _ = poll(&mut writable, None);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(60);

    /// A sink whose every write waits for what is to become of it.
    struct Gate {
        outcomes: mpsc::Sender<io::Result<()>>,
        written: mpsc::Receiver<String>,
        queue: LineQueue,
    }

    impl Gate {
        fn new() -> Self {
            let (outcomes, outcome) = mpsc::channel::<io::Result<()>>();
            let (sender, written) = mpsc::channel();
            let notice = |n: u64| format!("{n} lost\n").into_bytes();
            let queue = LineQueue::start("test", notice, move |line: &[u8]| {
                let outcome = outcome
                    .recv()
                    .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
                outcome.inspect(|()| sender.send(String::from_utf8_lossy(line).into()).unwrap())
            });
            Self {
                outcomes,
                written,
                queue: queue.unwrap(),
            }
        }

        fn push(&self, text: &str) {
            self.queue.push(format!("{text}\n").into_bytes());
        }

        fn fails(&self, kind: io::ErrorKind) {
            self.outcomes.send(Err(kind.into())).unwrap();
        }

        fn succeeds(&self) -> String {
            self.outcomes.send(Ok(())).unwrap();
            self.written.recv_timeout(LONG).unwrap()
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_told_once() {
        let gate = Gate::new();
        for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::StorageFull] {
            gate.push("gone");
            gate.fails(kind);
        }
        gate.queue.flush(LONG);
        assert_eq!(gate.queue.lost(), 2);
        // The notice itself fails: nothing is reported, and its line is lost as well.
        gate.push("gone with its notice");
        gate.fails(io::ErrorKind::StorageFull);
        gate.push("through");
        assert_eq!(gate.succeeds(), "3 lost\n");
        assert_eq!(gate.succeeds(), "through\n");
        gate.push("and on");
        assert_eq!(gate.succeeds(), "and on\n");
        assert_eq!(gate.queue.lost(), 3);
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
    fn a_panic_of_the_sink_costs_one_line() {
        let (sender, written) = mpsc::channel();
        let notice = |n: u64| format!("{n} lost\n").into_bytes();
        let queue = LineQueue::start("test", notice, move |line: &[u8]| {
            assert_ne!(line, b"bad\n", "injected");
            sender.send(line.to_vec()).map_err(io::Error::other)
        });
        let queue = queue.unwrap();
        for line in ["bad\n", "good\n"] {
            queue.push(line.into());
        }
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
        let gone = Descriptor::new(writer).write(b"line\n").unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let full = Descriptor::new(full).write(b"line\n").unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }
}

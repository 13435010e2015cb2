//! An output stream with a queue and a thread that writes its lines.
//!
//! The process that reads a pipe can stop reading, and a disk can be full. Neither may delay a
//! delivery or keep this process from exiting. `listen`, whose output has no end, therefore drops and
//! counts the lines for which the queue has no room.

use std::{
    io::{self, ErrorKind::BrokenPipe},
    mem,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        mpsc::{Sender, channel},
    },
    thread,
};

use tokio::sync::Notify;

/// The maximum number of lines that wait, for lines that may be dropped. A table counts as one line.
const MAX_WAITING: u64 = 4096;

/// A function that writes a line to a stream.
pub(super) type Write = fn(&str) -> io::Result<()>;

pub(super) struct Writer {
    name: &'static str,
    /// The function that reports lost lines.
    warn: fn(String),
    queue: OnceLock<Sender<(Write, String)>>,
    state: Mutex<State>,
    /// Notifies `written` and `closed` that `state` has changed.
    changed: Notify,
}

struct State {
    /// The number of lines that are queued or being written.
    waiting: u64,
    lost: u64,
    /// The most recent write error that has not been returned yet.
    error: Option<io::Error>,
    /// Whether the process that reads the pipe is gone. Lost lines then no longer matter.
    is_closed: bool,
}

impl Writer {
    pub(super) const fn new(name: &'static str, warn: fn(String)) -> Self {
        Self {
            name,
            warn,
            queue: OnceLock::new(),
            state: Mutex::new(State {
                waiting: 0,
                lost: 0,
                error: None,
                is_closed: false,
            }),
            changed: Notify::const_new(),
        }
    }

    /// Queues a line without waiting. If [`MAX_WAITING`] lines wait already, a line that may be
    /// dropped is only counted.
    pub(super) fn push(&'static self, write: Write, line: String, may_be_dropped: bool) {
        let queue = self.queue.get_or_init(|| {
            let (queue, lines) = channel::<(Write, String)>();
            thread::spawn(move || {
                for (write, line) in lines {
                    self.run(write, &line);
                }
            });
            queue
        });
        let mut state = self.state();
        if state.is_closed {
            return;
        }
        if may_be_dropped && state.waiting >= MAX_WAITING || queue.send((write, line)).is_err() {
            state.lost += 1;
        } else {
            state.waiting += 1;
        }
    }

    /// Writes a line, unless the reader of the pipe is gone.
    fn run(&'static self, write: Write, line: &str) {
        let is_closed = self.state().is_closed;
        let written = if is_closed { Ok(()) } else { write(line) };
        let mut state = self.state();
        state.waiting -= 1;
        let mut lost = 0;
        match written {
            Ok(()) if is_closed => {}
            Ok(()) => lost = mem::take(&mut state.lost),
            Err(error) => {
                state.is_closed = error.kind() == BrokenPipe;
                state.lost += u64::from(!state.is_closed);
                state.error = Some(error);
            }
        }
        drop(state);
        self.changed.notify_waiters();
        if lost > 0 {
            (self.warn)(self.report(lost, "its reader was too slow, or the disk was full"));
        }
    }

    /// Resolves once every line has been written.
    pub(super) async fn written(&self) {
        self.wait_for(|state| state.waiting == 0).await;
    }

    /// Resolves when the reader of the pipe is gone.
    pub(super) async fn closed(&self) {
        self.wait_for(|state| state.is_closed).await;
    }

    async fn wait_for(&self, condition: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            if condition(&self.state()) {
                return;
            }
            changed.await;
        }
    }

    /// Returns a report on the lines that were not written, if any.
    pub(super) fn lost(&self) -> Option<String> {
        let mut state = self.state();
        let lost = mem::take(&mut state.lost) + state.waiting;
        let cause = state.error.as_ref().map(ToString::to_string);
        let cause = cause.unwrap_or_else(|| "its reader was too slow".to_owned());
        (lost > 0).then(|| self.report(lost, &cause))
    }

    /// Returns an error if a line could not be written since the last call.
    pub(super) fn error(&self) -> io::Result<()> {
        self.state().error.take().map_or(Ok(()), Err)
    }

    fn report(&self, lost: u64, cause: &str) -> String {
        let lines = if lost == 1 { "line was" } else { "lines were" };
        format!("{lost} {lines} not written to {}: {cause}", self.name)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Makes each `write` wait for a message, to simulate a slow reader.
    static READS: Mutex<Option<Receiver<()>>> = Mutex::new(None);
    static WRITER: Writer = Writer::new("a test", drop);

    fn write(_: &str) -> io::Result<()> {
        let reads = READS.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = reads.as_ref().ok_or(BrokenPipe)?.recv();
        Ok(())
    }

    #[tokio::test]
    async fn lines_that_do_not_fit_are_counted() {
        let (read, reads): (Sender<()>, _) = channel();
        *READS.lock().unwrap() = Some(reads);
        for may_be_dropped in [false, true] {
            for _ in 0..MAX_WAITING / 2 + 2 {
                WRITER.push(write, "line".to_owned(), may_be_dropped);
            }
        }
        WRITER.push(write, "line".to_owned(), false);
        let lost = |state: &State| (state.lost, state.waiting);
        assert_eq!(lost(&WRITER.state()), (4, MAX_WAITING + 1));
        let report = WRITER.lost().unwrap();
        assert!(
            report.starts_with("4101 lines were not written"),
            "{report}"
        );
        drop(read);
        WRITER.written().await;
        assert_eq!(WRITER.lost(), None);
    }
}

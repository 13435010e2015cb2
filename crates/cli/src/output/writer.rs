//! A stream with a bounded queue and a thread that writes.
//!
//! The reader of a pipe can stop reading, and a disk can be full. A delivery must not wait for
//! either, and neither must the end of the process. Lines that do not fit into the queue are
//! therefore dropped and counted.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind::BrokenPipe},
    mem,
    sync::{Condvar, Mutex, MutexGuard, Once, PoisonError},
    thread,
};

use tokio::sync::Notify;

use super::warning;

/// The maximum number of lines in the queue. A table counts as one.
const MAX_WAITING: usize = 4096;

/// Writes a line to a stream.
pub(super) type Write = fn(&str) -> io::Result<()>;

pub(super) struct Writer {
    name: &'static str,
    start: Once,
    state: Mutex<State>,
    /// Wakes the writing thread.
    pushed: Condvar,
    /// Wakes `written` and `closed`.
    changed: Notify,
}

struct State {
    lines: VecDeque<(Write, String)>,
    is_writing: bool,
    lost: u64,
    error: Option<io::Error>,
    /// Whether the reader of the pipe is gone, so that lost lines do not matter.
    is_closed: bool,
}

impl Writer {
    pub(super) const fn new(name: &'static str) -> Self {
        Self {
            name,
            start: Once::new(),
            state: Mutex::new(State {
                lines: VecDeque::new(),
                is_writing: false,
                lost: 0,
                error: None,
                is_closed: false,
            }),
            pushed: Condvar::new(),
            changed: Notify::const_new(),
        }
    }

    /// Queues a line, or drops it if the queue is full. Returns the error of an earlier line.
    pub(super) fn push(&'static self, write: Write, line: String) -> io::Result<()> {
        self.start.call_once(|| {
            thread::spawn(|| self.run());
        });
        let mut state = self.state();
        if state.is_closed {
            return Err(BrokenPipe.into());
        }
        if state.lines.len() < MAX_WAITING {
            state.lines.push_back((write, line));
            self.pushed.notify_one();
        } else {
            state.lost += 1;
        }
        state.error.take().map_or(Ok(()), Err)
    }

    fn run(&'static self) {
        let mut state = self.state();
        loop {
            let Some((write, line)) = state.lines.pop_front() else {
                self.changed.notify_waiters();
                state = (self.pushed.wait(state)).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.is_writing = true;
            drop(state);
            let written = write(&line);
            state = self.state();
            state.is_writing = false;
            match written {
                Ok(()) if state.lost > 0 => {
                    let lost = mem::take(&mut state.lost);
                    drop(state);
                    warning(self.report(lost, "its reader was too slow, or the disk was full"));
                    state = self.state();
                }
                Ok(()) => {}
                Err(error) => {
                    state.is_closed = error.kind() == BrokenPipe;
                    if state.is_closed {
                        state.lines.clear();
                    } else {
                        state.lost += 1;
                    }
                    state.error = Some(error);
                }
            }
        }
    }

    /// Resolves when every line is written.
    pub(super) async fn written(&self) {
        self.wait_for(|state| state.lines.is_empty() && !state.is_writing)
            .await;
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

    /// Reports the lines that were not written, if there are any.
    pub(super) fn lost(&self) -> Option<String> {
        let mut state = self.state();
        let waiting = mem::take(&mut state.lines).len() as u64 + u64::from(state.is_writing);
        let lost = mem::take(&mut state.lost) + waiting;
        let cause = state.error.as_ref().map(ToString::to_string);
        let cause = cause.unwrap_or_else(|| "its reader was too slow".to_owned());
        (lost > 0).then(|| self.report(lost, &cause))
    }

    /// Returns the error of the last line that could not be written.
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

    /// A reader that reads one line per message.
    static READS: Mutex<Option<Receiver<()>>> = Mutex::new(None);
    static WRITER: Writer = Writer::new("a test");

    fn write(_: &str) -> io::Result<()> {
        let reads = READS.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = reads.as_ref().ok_or(BrokenPipe)?.recv();
        Ok(())
    }

    #[tokio::test]
    async fn lines_that_do_not_fit_are_counted() {
        let (read, reads): (Sender<()>, _) = channel();
        *READS.lock().unwrap() = Some(reads);
        WRITER.push(write, "first".to_owned()).unwrap();
        while !WRITER.state().is_writing {
            tokio::task::yield_now().await;
        }
        for _ in 0..MAX_WAITING + 3 {
            WRITER.push(write, "line".to_owned()).unwrap();
        }
        assert_eq!(WRITER.state().lost, 3);
        let lost = WRITER.lost().unwrap();
        assert!(
            lost.starts_with("4100 lines were not written to a test"),
            "{lost}"
        );
        drop(read);
        WRITER.written().await;
        assert_eq!(WRITER.lost(), None);
    }
}

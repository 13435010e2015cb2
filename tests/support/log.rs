//! Captures the current thread's log.

use std::{
    io,
    str::FromStr,
    sync::{Arc, LazyLock, Mutex},
};

use tracing::{Dispatch, Level, subscriber::DefaultGuard};

/// The log lines up to a given level, as `tracing_subscriber::fmt` prints them.
pub struct Log(Arc<Mutex<Vec<u8>>>, #[expect(dead_code)] DefaultGuard);

/// A second subscriber. If there were only one, tracing would let the first thread to reach a
/// callsite decide whether it is enabled for all threads, even if that thread has no subscriber.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));

impl Log {
    pub fn up_to(level: Level) -> Self {
        LazyLock::force(&SECOND);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Sink(lines.clone());
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .without_time()
            .with_writer(move || sink.clone())
            .finish();
        Self(lines, tracing::subscriber::set_default(subscriber))
    }

    /// Returns all lines since the last call.
    pub fn take(&self) -> String {
        let lines = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(lines).unwrap()
    }

    /// Returns the only line since the last call.
    #[track_caller]
    pub fn line(&self) -> String {
        let lines = self.take();
        assert_eq!(lines.lines().count(), 1, "{lines}");
        lines.trim().to_owned()
    }
}

#[derive(Clone)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the number in the field `name` of a line.
#[track_caller]
pub fn number<T: FromStr>(line: &str, name: &str) -> T {
    let field = format!(" {name}=");
    let (_, rest) = line.split_once(&field).expect(line);
    let value = rest.split(' ').next().unwrap();
    value.parse().ok().expect(line)
}

/// Returns whether a terminal shows this line unchanged.
#[must_use]
pub fn is_harmless(line: &str) -> bool {
    let is_shown = |it: char| it == '…' || it == ' ' || it.is_ascii_graphic();
    line.chars().all(is_shown)
}

//! Writes output on a separate thread, so that only this thread waits for a slow reader.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{self, ErrorKind, Write},
    mem,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
#[cfg(unix)]
use std::{fs::File, os::fd::AsFd};

use tokio::{sync::oneshot, time::timeout};
use tracing::{Level, Metadata, callsite::Identifier};
use tracing_subscriber::fmt::{MakeWriter, writer::OptionalWriter};

/// The maximum number of lines waiting to be written, and of their bytes. Any further lines are
/// dropped and counted. The lines of senders that have hung up wait, too.
const QUEUE: usize = 8192;
const QUEUE_BYTES: usize = 16 << 20;

/// The maximum time that [`Printer::write`] waits for its line to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes lines to stdout or stderr. Clones write to the same place.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    lines: SyncSender<Line>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// The lines that were not written.
    lost: AtomicU64,
    /// The bytes of the lines that wait.
    bytes: AtomicUsize,
}

#[derive(Debug)]
struct Line {
    text: Vec<u8>,
    /// Passes the result of writing the line to the caller, if the caller is waiting for it.
    written: Option<oneshot::Sender<io::Result<()>>>,
}

impl Printer {
    /// `is_torn` says whether the last line of `out` may lack its end.
    pub(crate) fn new(out: impl Write + Send + 'static, is_torn: bool) -> Self {
        let (lines, queue) = sync_channel(QUEUE);
        let counts = Arc::<Counts>::default();
        let out = Output { out, is_torn };
        thread::spawn({
            let counts = counts.clone();
            move || write_all(&queue, out, &counts)
        });
        Self { lines, counts }
    }

    /// Queues a line without waiting for it to be written.
    pub(crate) fn queue(&self, text: impl Into<Vec<u8>>) -> io::Result<()> {
        self.send(text.into(), None)
    }

    /// Queues a line, and waits until it has been written.
    pub(crate) async fn write(&self, text: impl Into<Vec<u8>>) -> io::Result<()> {
        let (written, result) = oneshot::channel();
        self.send(text.into(), Some(written))?;
        match timeout(PATIENCE, result).await {
            Ok(Ok(result)) => result,
            _ => Err(not_read()),
        }
    }

    fn send(
        &self,
        text: Vec<u8>,
        written: Option<oneshot::Sender<io::Result<()>>>,
    ) -> io::Result<()> {
        let Counts { lost, bytes } = &*self.counts;
        let len = text.len();
        let fits = bytes.fetch_add(len, Ordering::Relaxed) + len <= QUEUE_BYTES;
        if fits && self.lines.try_send(Line { text, written }).is_ok() {
            return Ok(());
        }
        bytes.fetch_sub(len, Ordering::Relaxed);
        lost.fetch_add(1, Ordering::Relaxed);
        Err(not_read())
    }
}

/// Returns whether lines are appended to a file, in which the line before may lack its end, because
/// the disk was full.
#[cfg(unix)]
pub(crate) fn is_appended(out: impl AsFd) -> bool {
    let file = out.as_fd().try_clone_to_owned().map(File::from);
    let metadata = file.and_then(|file| file.metadata());
    metadata.is_ok_and(|file| file.is_file() && file.len() > 0)
}

#[cfg(not(unix))]
pub(crate) fn is_appended<T>(_: T) -> bool {
    false
}

struct Output<W> {
    out: W,
    /// Whether the last line may have been written only in part.
    is_torn: bool,
}

impl<W: Write> Output<W> {
    /// Writes a whole line, even after one that was written only in part.
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if mem::replace(&mut self.is_torn, true) {
            self.out.write_all(b"\n")?;
        }
        self.out.write_all(line)?;
        self.out.flush()?;
        self.is_torn = false;
        Ok(())
    }
}

/// Escapes invisible characters and terminal control characters as JSON does.
pub(crate) fn harmless(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.escape_debug().len() == 1 || "\"'\\".contains(character) {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing into a `String` cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

fn not_read() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "the output is not read")
}

/// Writes the queued lines, and reports how many lines were lost.
fn write_all(queue: &Receiver<Line>, mut out: Output<impl Write>, counts: &Counts) {
    let Counts { lost, bytes } = counts;
    for line in queue {
        bytes.fetch_sub(line.text.len(), Ordering::Relaxed);
        let Some(written) = line.written else {
            let count = lost.load(Ordering::Relaxed);
            if count > 0 {
                let report = format!("{count} lines were lost\n");
                if out.write_line(report.as_bytes()).is_ok() {
                    lost.fetch_sub(count, Ordering::Relaxed);
                }
            }
            if out.write_line(&line.text).is_err() {
                lost.fetch_add(1, Ordering::Relaxed);
            }
            continue;
        };
        // If the caller is no longer waiting, it has already reported that the line was not
        // written.
        if !written.is_closed() {
            let _ = written.send(out.write_line(&line.text));
        }
    }
}

/// The maximum number of log lines per minute from the same line of code.
const MAX_LINES: u32 = 1_000;

/// Writes log lines, of which the levels `info`, `warn` and `error` are limited to [`MAX_LINES`], so
/// that nothing can fill the disk by repeating a request that causes one.
pub(crate) struct Log {
    printer: Printer,
    /// For each line of code, the beginning of a minute, and the number of lines since.
    counts: Mutex<HashMap<Identifier, (Instant, u32)>>,
}

impl Log {
    pub(crate) fn new(printer: Printer) -> Self {
        let counts = Mutex::default();
        Self { printer, counts }
    }

    fn allows(&self, line: &Metadata<'_>) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (since, count) = counts.entry(line.callsite()).or_insert((now, 0));
        if now - *since >= Duration::from_secs(60) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        if *count == MAX_LINES + 1 {
            let target = line.target();
            let notice = format!(
                "{target}: {MAX_LINES} lines of one kind within a minute: the rest is left out\n"
            );
            let _ = self.printer.queue(notice);
        }
        *count <= MAX_LINES
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = OptionalWriter<Printer>;

    fn make_writer(&'a self) -> Self::Writer {
        OptionalWriter::some(self.printer.clone())
    }

    fn make_writer_for(&'a self, line: &Metadata<'_>) -> Self::Writer {
        if *line.level() > Level::INFO || self.allows(line) {
            self.make_writer()
        } else {
            OptionalWriter::none()
        }
    }
}

/// Queues log lines. Lines that do not fit into the queue are dropped without an error.
impl Write for Printer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.queue(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// Output that nothing reads, such as a full pipe.
    struct Unread;

    impl Write for Unread {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            loop {
                thread::park();
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A disk with room for this number of bytes.
    struct Disk {
        text: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fitting = &bytes[..bytes.len().min(self.room)];
            if fitting.is_empty() {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= fitting.len();
            self.text.extend(fitting);
            Ok(fitting.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn after_a_full_disk_a_line_is_whole() {
        let (text, room) = (b"line be".to_vec(), 10);
        let mut out = Output {
            out: Disk { text, room },
            is_torn: true,
        };
        out.write_line(b"first\n").unwrap();
        for _ in 0..3 {
            assert!(out.write_line(b"second\n").is_err());
        }
        out.out.room = 100;
        for line in [b"second\n", b"third!\n"] {
            out.write_line(line).unwrap();
        }
        let text = String::from_utf8(out.out.text).unwrap();
        assert_eq!(text, "line be\nfirst\nsec\nsecond\nthird!\n");
    }

    #[test]
    fn lines_are_lost_instead_of_waited_for() {
        let (done, queued) = channel();
        thread::spawn(move || {
            let printer = Printer::new(Unread, false);
            let lines = (0..2 * QUEUE).map(|_| printer.queue("line\n"));
            done.send(lines.flatten().count())
        });
        let queued = queued.recv_timeout(Duration::from_secs(60));
        let queued = queued.expect("no line waits for the reader");
        // In addition to the full queue, the writer thread may hold one line.
        assert!((QUEUE..=QUEUE + 1).contains(&queued), "{queued}");
    }

    /// Attack: repeat a delivery with a long line, and hang up, while the reader is slow.
    #[test]
    fn long_lines_do_not_fill_the_memory() {
        let printer = Printer::new(Unread, false);
        let lines = (0..100).map(|_| printer.queue(vec![b'x'; QUEUE_BYTES / 10]));
        assert!((10..=11).contains(&lines.flatten().count()));
    }
}

//! Runs shell commands that the user supplied, and stops them when this command exits.

use std::{
    io::{self, IsTerminal},
    process::{Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};

/// The maximum length of a command's output, in bytes.
const MAX_OUTPUT: u64 = 64 << 10;
/// How long a command may take to exit after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// Returns a command that runs this line in the shell.
pub(crate) fn shell(line: &str) -> Command {
    #[cfg(windows)]
    {
        let mut command = Command::new("cmd");
        // `cmd` does not understand how `arg` escapes quotes. With `/S`, it removes the outer ones.
        command.args(["/S", "/C"]).raw_arg(format!("\"{line}\""));
        command
    }
    #[cfg(not(windows))]
    {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        command
    }
}

/// Runs a command with `input` on its standard input. Dropping the future stops the command and its
/// children, and so does an output longer than 64 KiB.
pub(crate) async fn run(command: &mut Command, input: &[u8]) -> io::Result<Output> {
    // In a terminal, the command stays in the foreground, so that it can prompt for a password and
    // Ctrl-C also stops its children. Otherwise, it gets its own process group, so that its
    // children also receive signals.
    let has_group = cfg!(unix) && !io::stdin().is_terminal();
    #[cfg(unix)]
    if has_group {
        command.process_group(0);
    }
    let child = command.stdin(Stdio::piped()).spawn()?;
    let mut running = Running { child, has_group };
    let (stdin, stdout) = (running.child.stdin.take(), running.child.stdout.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // The write fails if the command does not read its input, which is not an error.
            let _ = stdin.write_all(input).await;
        }
    };
    let read = async {
        let mut bytes = Vec::new();
        if let Some(stdout) = stdout {
            let read = stdout.take(MAX_OUTPUT + 1).read_to_end(&mut bytes).await?;
            if read as u64 > MAX_OUTPUT {
                return Err(io::Error::other("it prints more than 64 KiB"));
            }
        }
        io::Result::Ok(bytes)
    };
    let exit = async { tokio::join!(write, running.child.wait()).1 };
    let (stdout, status) = tokio::try_join!(read, exit)?;
    Ok(Output {
        status,
        stdout,
        stderr: Vec::new(),
    })
}

/// A running command, which is stopped when this is dropped.
struct Running {
    child: Child,
    /// Whether the command leads a process group.
    has_group: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        for at_once in [false, true] {
            self.end(at_once);
            let deadline = Instant::now() + GRACE;
            while Instant::now() < deadline {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                sleep(GRACE / 100);
            }
        }
    }
}

impl Running {
    #[cfg(unix)]
    fn end(&mut self, at_once: bool) {
        use rustix::process::{Pid, Signal, kill_process, kill_process_group};

        let id = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()));
        let signal = if at_once { Signal::KILL } else { Signal::TERM };
        // An error means that the command has already exited.
        let _ = match id {
            Some(id) if self.has_group => kill_process_group(id, signal),
            Some(id) => kill_process(id, signal),
            None => Ok(()),
        };
    }

    #[cfg(not(unix))]
    fn end(&mut self, _at_once: bool) {
        let _ = self.child.start_kill();
    }
}

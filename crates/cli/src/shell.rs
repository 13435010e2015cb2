//! The user's own commands, which end when this one does.

use std::{
    io,
    process::{Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};

/// The time that a command may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);

/// Returns the shell with a command line.
pub(crate) fn shell(line: &str) -> Command {
    let (shell, option) = if cfg!(windows) {
        ("cmd", "/C")
    } else {
        ("sh", "-c")
    };
    let mut command = Command::new(shell);
    command.args([option, line]);
    command
}

/// Runs a command to its end, with `input` on its standard input. If this future is dropped, the
/// command and its children are ended.
pub(crate) async fn run(command: &mut Command, input: &[u8]) -> io::Result<Output> {
    #[cfg(unix)]
    command.process_group(0);
    let mut running = Running(command.stdin(Stdio::piped()).spawn()?);
    let (stdin, stdout) = (running.0.stdin.take(), running.0.stdout.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // This fails if the command does not read its input.
            let _ = stdin.write_all(input).await;
        }
    };
    let read = async {
        let mut bytes = Vec::new();
        if let Some(mut stdout) = stdout {
            stdout.read_to_end(&mut bytes).await?;
        }
        io::Result::Ok(bytes)
    };
    let ((), stdout, status) = tokio::join!(write, read, running.0.wait());
    Ok(Output {
        status: status?,
        stdout: stdout?,
        stderr: Vec::new(),
    })
}

/// A running command, the first of its process group.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        for at_once in [false, true] {
            self.end(at_once);
            let deadline = Instant::now() + GRACE;
            while Instant::now() < deadline {
                if !matches!(self.0.try_wait(), Ok(None)) {
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
        use rustix::process::{Pid, Signal, kill_process_group};

        // A command that has ended has no id.
        let id = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(group) = id {
            let signal = if at_once { Signal::KILL } else { Signal::TERM };
            // This fails if the whole group has ended.
            let _ = kill_process_group(group, signal);
        }
    }

    #[cfg(not(unix))]
    fn end(&mut self, _at_once: bool) {
        let _ = self.0.start_kill();
    }
}

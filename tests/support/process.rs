//! Starts programs, such as the examples, and controls them over sockets and with signals.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver as Lines, channel},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How long a step may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Builds an example with this test's features and profile, and returns the path to its binary.
///
/// The features of the dependencies depend on which packages are built together. This selects the
/// same packages as the test run, so that cargo reuses what it has already compiled.
pub fn example(name: &str) -> PathBuf {
    // The test is at target/<profile>/deps/it-<hash>.
    let test = env::current_exe().expect("the path of the test");
    let profile = test.ancestors().nth(2).expect("the profile's folder");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--example", name, "--target-dir"]);
    build.arg(profile.parent().expect("the target folder"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    if cfg!(feature = "jiff") {
        build.args(["--workspace", "--all-features"]);
    } else if name == "fleet" {
        build.args(["--package", "soundhash-webhook-redis"]);
    } else if name == "exactly_once" {
        build.args(["--package", "soundhash-webhook-sqlx", "--all-features"]);
    } else if name == "inspect" {
        build.args(["--package", "soundhash-webhook-inspector"]);
    } else {
        if cfg!(feature = "cache") {
            build.args(["--features", "cache"]);
        }
        if cfg!(feature = "metrics") {
            build.args(["--features", "metrics"]);
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let status = build.current_dir(root).status();
    assert!(
        status.expect("cargo").success(),
        "example {name} does not build"
    );
    profile.join("examples").join(name)
}

/// A running program. Dropping it kills the process.
pub struct Process {
    child: Child,
    stdout: Lines<String>,
    stderr: Lines<String>,
    /// The log lines read so far.
    log: Vec<String>,
}

fn lines(stream: impl Read + Send + 'static) -> Lines<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = lines(child.stdout.take().expect("a pipe"));
        let stderr = lines(child.stderr.take().expect("a pipe"));
        Self {
            child,
            stdout,
            stderr,
            log: Vec::new(),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the next line of stdout.
    #[track_caller]
    pub fn line(&self) -> String {
        self.stdout
            .recv_timeout(PATIENCE)
            .expect("a line on stdout")
    }

    /// Returns the lines of stdout since the last call.
    pub fn lines(&self) -> Vec<String> {
        self.stdout.try_iter().collect()
    }

    #[track_caller]
    pub fn wait_for_log(&mut self, part: &str) -> String {
        loop {
            let Ok(line) = self.stderr.recv_timeout(PATIENCE) else {
                panic!("`{part}` was not logged: {:#?}", self.log);
            };
            self.log.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    pub fn log(&mut self) -> String {
        self.log.extend(self.stderr.try_iter());
        self.log.join("\n")
    }

    /// Returns the process's resident memory, in KiB.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Returns the process's peak memory, in KiB.
    pub fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, which: &str) -> u64 {
        memory(self.child.id(), which)
    }

    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Waits until the process has exited, and returns its status, the rest of its stdout and its
    /// whole log.
    pub fn ended(mut self) -> (ExitStatus, Vec<String>, String) {
        // The process may wait up to half a minute for a connection that does not close.
        let deadline = Instant::now() + 2 * PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the child's status") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(10));
        };
        let stdout = self.stdout.iter().collect();
        self.log.extend(self.stderr.iter());
        (status, stdout, self.log.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both calls fail if the process has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running program that listens, usually the example `receiver`.
pub struct Receiver {
    pub process: Process,
    pub addr: String,
}

impl Receiver {
    /// Starts the `receiver` on a free port, with these environment variables.
    pub fn start(variables: &[(&str, &str)]) -> Self {
        let mut receiver = Self::of("receiver", variables);
        // This skips the rest of the greeting.
        receiver.wait_for_log("soundhash-webhook send");
        receiver
    }

    /// Starts an example that logs its address.
    pub fn of(name: &str, variables: &[(&str, &str)]) -> Self {
        Self::listening(
            Command::new(example(name))
                .env_remove("SOUNDHASH_WEBHOOK_SECRET")
                .env_remove("RUST_LOG")
                .env("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:0")
                .envs(variables.iter().copied()),
        )
    }

    /// Starts a program that logs its address.
    pub fn listening(command: &mut Command) -> Self {
        Self::of_process(Process::start(command))
    }

    /// Waits until a program has logged its address.
    pub fn of_process(mut process: Process) -> Self {
        let line = process.wait_for_log("listening on http://");
        let addr = line.split('/').nth(2).expect("an address").to_owned();
        Self { process, addr }
    }

    /// Starts a program whose output nothing reads, and waits until the program is listening.
    pub fn with_output(command: &Command, output: Output) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address").to_string();
        drop(listener);
        let mut process = output.start(command, &addr);
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(&addr).is_err() {
            let ended = process.child.try_wait().expect("the child's status");
            assert_eq!(ended, None, "it ended instead of listening");
            assert!(Instant::now() < deadline, "it does not listen on {addr}");
            thread::sleep(Duration::from_millis(10));
        }
        if output == Output::Gone {
            drop((process.child.stdout.take(), process.child.stderr.take()));
        }
        Self { process, addr }
    }

    pub fn url(&self) -> String {
        format!("http://{}/webhooks/soundhash", self.addr)
    }

    pub fn ended(self) -> (ExitStatus, Vec<String>, String) {
        self.process.ended()
    }
}

/// The destinations of a program's stdout and stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Discarded,
    /// Pipes that nothing reads, so they fill up.
    Unread,
    /// Pipes whose reading end is closed once the program is listening.
    Gone,
    /// Files on a full disk.
    Full,
    /// Both streams are closed before the program starts.
    Closed,
}

impl Output {
    /// All outputs that simulate a fault.
    pub const FAULTS: [Self; 4] = [Self::Unread, Self::Gone, Self::Full, Self::Closed];

    /// Starts a program that listens on `addr`.
    fn start(self, program: &Command, addr: &str) -> Process {
        let mut command = match self {
            Self::Closed => Command::new("sh"),
            _ => Command::new(program.get_program()),
        };
        if self == Self::Closed {
            command.args(["-c", "exec \"$0\" \"$@\" >&- 2>&-"]);
            command.arg(program.get_program());
        }
        command
            .args(program.get_args())
            .env("SOUNDHASH_WEBHOOK_ADDR", addr);
        for (name, value) in program.get_envs() {
            match value {
                Some(_) if name == "SOUNDHASH_WEBHOOK_ADDR" => {}
                Some(value) => drop(command.env(name, value)),
                None => drop(command.env_remove(name)),
            }
        }
        let full = || fs::File::create("/dev/full").expect("a full disk").into();
        let stream = || match self {
            Self::Discarded => Stdio::null(),
            Self::Unread | Self::Gone => Stdio::piped(),
            Self::Full => full(),
            Self::Closed => Stdio::inherit(),
        };
        let spawned = command
            .stdin(Stdio::null())
            .stdout(stream())
            .stderr(stream())
            .spawn();
        Process {
            child: spawned.expect("the program starts"),
            stdout: channel().1,
            stderr: channel().1,
            log: Vec::new(),
        }
    }
}

impl Deref for Receiver {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Receiver {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Sends a signal, such as `TERM`, to a process that this test started.
#[track_caller]
pub fn signal(process: u32, name: &str) {
    let signal: Signal = format!("SIG{name}").parse().expect("a signal");
    let process = Pid::from_raw(process.try_into().expect("the id of a process"));
    kill(process, signal).expect("the signal is sent");
}

/// Returns the value of a line in a process's `/proc/<id>/status`, in KiB.
pub fn memory(process: u32, which: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status"));
    let status = status.expect("a running process");
    let line = status.lines().find(|line| line.starts_with(which));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

/// Sends a request, and returns the head of the response.
pub async fn exchange(addr: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    stream.write_all(bytes).await.expect("bytes sent");
    response_head(&mut stream).await
}

/// Sends a head without a body, and returns once the server asks for the body.
pub async fn begin(addr: &str, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    let head = head.replacen("\r\n", "\r\nExpect: 100-continue\r\n", 1);
    stream.write_all(head.as_bytes()).await.expect("bytes sent");
    assert_eq!(status(&response_head(&mut stream).await), "100");
    stream
}

/// Returns the head of the next response.
pub async fn response_head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let read = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        String::from_utf8(head).expect("UTF-8")
    };
    // An attack with a gigabyte of data can keep a slow machine busy for minutes.
    tokio::time::timeout(8 * PATIENCE, read)
        .await
        .expect("the head of a response in time")
}

#[track_caller]
pub fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or("no response")
}

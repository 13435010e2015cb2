//! Runs the command, and starts the servers that it connects to.

use std::{
    env, fmt,
    io::{BufRead, BufReader, Read, Write},
    mem,
    net::{self, SocketAddr, TcpStream},
    ops::{Deref, DerefMut},
    path::PathBuf,
    process::{Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use axum::Router;
use soundhash_webhook::Secret;
pub(crate) use soundhash_webhook_tests::process::{PATIENCE, Process, status};
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Runtime,
};

pub(crate) const SECRET: &str = "whsec_0nly-f0r-us";

/// Returns the command with these arguments, and with the secret in its environment.
macro_rules! cli {
    ($($line:tt)*) => { $crate::support::command(&format!($($line)*)) };
}

/// Like [`cli`], but without the secret.
macro_rules! bare {
    ($($line:tt)*) => { $crate::support::bare_command(&format!($($line)*)) };
}

pub(crate) use {bare, cli};

/// Returns the command without any of its own environment variables or proxy settings.
pub(crate) fn bare_command(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_soundhash-webhook"));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        if text.starts_with("SOUNDHASH_") || text.ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
    command
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .args(line.split_whitespace());
    command
}

pub(crate) fn command(line: &str) -> Command {
    let mut command = bare_command(line);
    command.env("SOUNDHASH_WEBHOOK_SECRET", SECRET);
    command
}

/// The output and the exit status of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Returns the whole output.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    #[track_caller]
    pub(crate) fn expect(self, status: i32, parts: impl AsRef<str>) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        // Joins all lines, because help and errors are wrapped to the width of the terminal.
        let all = self.all().split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts.as_ref().split('|').map(str::trim) {
            assert!(all.contains(part), "no `{part}` in {self:#?}");
        }
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let ran = Self {
            status: output.status.code().expect("an exit status"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        };
        assert!(!ran.all().contains(SECRET), "the secret is in {ran:#?}");
        assert!(!ran.all().contains("panicked"), "{ran:#?}");
        ran
    }
}

/// Runs commands until they exit. No output may contain the secret.
pub(crate) trait Run {
    /// Runs the command with `input` on its standard input.
    fn reads(&mut self, input: impl AsRef<[u8]>) -> Ran;

    /// Runs the command without input. Checks its exit status, and that its output contains all of
    /// the bar-separated `parts`.
    fn expect(&mut self, status: i32, parts: impl AsRef<str>) -> Ran;
}

impl Run for Command {
    fn reads(&mut self, input: impl AsRef<[u8]>) -> Ran {
        let mut child = self
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // The write fails if the command exits before it has read its input.
        let _ = stdin.write_all(input.as_ref());
        drop(stdin);
        let ran: Ran = child.wait_with_output().expect("an output").into();
        assert!(!ran.all().contains('\u{1b}'), "no terminal: {ran:#?}");
        ran
    }

    #[track_caller]
    fn expect(&mut self, status: i32, parts: impl AsRef<str>) -> Ran {
        self.reads("").expect(status, parts)
    }
}

/// Runs a command for each row, which has the arguments, the expected exit status, and expected
/// parts of the output.
#[track_caller]
pub(crate) fn check(command: impl Fn(&str) -> Command, rows: &str) {
    for row in rows.lines().filter(|row| !row.trim().is_empty()) {
        let cells: Vec<_> = row.splitn(3, '|').map(str::trim).collect();
        let parts = *cells.get(2).unwrap_or(&"");
        command(cells[0]).expect(cells[1].parse().expect(row), parts);
    }
}

/// Creates a directory for a single test.
pub(crate) fn folder(name: &str) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{name}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Returns an address on which no process listens, and which no other process gets.
pub(crate) fn closed_addr() -> SocketAddr {
    let socket = TcpSocket::new_v4().expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(any).expect("a port");
    let addr = socket.local_addr().expect("an address");
    // The port is free again once the tests have ended.
    mem::forget(socket);
    addr
}

/// Returns an address to listen on.
pub(crate) fn free_addr() -> SocketAddr {
    let listener = net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// Serves an application on a free port.
pub(crate) fn serve(app: Router) -> SocketAddr {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || runtime.block_on(async { axum::serve(listener, app).await }));
    addr
}

pub(crate) struct Listen {
    process: Process,
    pub(crate) url: String,
    pub(crate) inspector: Option<String>,
}

impl Listen {
    /// Starts `listen` on a free port.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(cli!("listen --addr 0 --inspect off").args(arguments))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut process = Process::start(command);
        process.wait_for_log("try it");
        let log = process.log();
        let value = |name: &str| {
            let line = log.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
        };
        Self {
            url: value("listening").expect("a URL"),
            inspector: value("inspector"),
            process,
        }
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.line()).expect("JSON")
    }

    /// Waits for the process to exit, and returns the rest of its output and its entire log.
    pub(crate) fn ended(self) -> (ExitStatus, Vec<String>, String) {
        self.process.ended()
    }
}

impl Deref for Listen {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Listen {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Returns the values of a header.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1);
        lines
            .filter_map(|line| line.split_once(": "))
            .filter(|(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }
}

/// A server that responds to each request with the bytes that a function returns, and then closes
/// the connection.
pub(crate) struct App {
    pub(crate) addr: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl App {
    /// Starts a server that responds to every request with 200.
    pub(crate) fn ok() -> Self {
        Self::start(|_| response("200 OK", ""))
    }

    pub(crate) fn start(respond: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, respond) = (requests.clone(), Arc::new(respond));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, respond) = (seen.clone(), respond.clone());
                thread::spawn(move || {
                    let mut stream = stream;
                    if let Some(request) = read_request(&mut stream) {
                        seen.lock().unwrap().push(request.clone());
                        let _ = stream.write_all(&respond(&request));
                    }
                });
            }
        });
        Self { addr, requests }
    }

    /// Starts a server that redirects every request.
    pub(crate) fn redirecting(status: u16, to: &str) -> Self {
        let response =
            format!("HTTP/1.1 {status} R\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        Self::start(move |_| response.clone().into())
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// Displays the webhook's URL.
impl fmt::Display for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}/hooks?a=1", self.addr)
    }
}

fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    head.truncate(head.len() - 2);
    let body = Vec::new();
    let mut request = Request { head, body };
    let length = request.header("content-length");
    let length = length.first().map_or(Ok(0), |length| length.parse()).ok()?;
    request.body = vec![0; length];
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// Returns the bytes of a complete HTTP response.
pub(crate) fn response(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        .into_bytes()
}

/// Sends a signed body with additional header lines, and returns the whole response.
pub(crate) fn deliver(url: &str, head: &str, body: &[u8]) -> String {
    let signature = Secret::new(SECRET).sign(body);
    let head = format!("X-Webhook-Signature: {signature}\r\n{head}");
    exchange(url, &head, body)
}

/// Sends a request, and returns the whole response.
pub(crate) fn exchange(url: &str, head: &str, body: &[u8]) -> String {
    let (mut stream, _) = begin(url, head, body.len());
    stream.write_all(body).expect("bytes sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}

/// Connects to the server in `url` and sends the head of a request. Returns the connection and the
/// server's address.
pub(crate) fn begin(url: &str, head: &str, length: usize) -> (TcpStream, String) {
    let url = url.strip_prefix("http://").unwrap();
    let (addr, path) = url.split_once('/').unwrap();
    let mut stream = TcpStream::connect(addr).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let head = format!(
        "POST /{path} HTTP/1.1\r\nHost: hooks.example.com\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{head}\r\n"
    );
    stream.write_all(head.as_bytes()).expect("bytes sent");
    (stream, addr.to_owned())
}

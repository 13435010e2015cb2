//! A Postgres server for a single test, on a free port and in a temporary directory.

use std::{
    env, fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio, id},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::process::signal;

/// How long the server may take to start or recover on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct PostgresServer {
    child: Option<Child>,
    port: u16,
    folder: PathBuf,
    fsync: &'static str,
}

impl PostgresServer {
    /// Starts a server without `fsync`, which is not needed for data to survive a killed process.
    pub fn start() -> Self {
        Self::start_with("off")
    }

    /// Starts a server with `fsync` set to `on` or `off`.
    pub fn start_with(fsync: &'static str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("soundhash-webhook-postgres-{}-{count}", id()));
        Self::create_folder(&folder);
        let mut server = Self {
            child: None,
            port: 0,
            folder,
            fsync,
        };
        let made = server
            .command("initdb")
            .args([
                "--auth=trust",
                "--username=test",
                "--no-sync",
                "--encoding=UTF8",
                "--pgdata",
            ])
            .arg(server.data())
            .output();
        let made = made.expect("initdb (apt-get install postgresql) runs");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        // Another process may take the port before the server does.
        for _ in 0..5 {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            server.port = listener.local_addr().expect("an address").port();
            drop(listener);
            if server.run() {
                return server;
            }
        }
        panic!("postgres does not start: {}", server.log());
    }

    /// Creates a directory that the server can write to.
    pub fn create_folder(folder: &Path) {
        fs::create_dir_all(folder).expect("a folder");
        if is_root() {
            let user = Command::new("id")
                .args(["-u", "postgres"])
                .output()
                .expect("id");
            let user = String::from_utf8_lossy(&user.stdout).trim().parse();
            chown(folder, Some(user.expect("the user `postgres`")), None).expect("chown");
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Returns the server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Returns the command for a Postgres program. As root, it switches to another user, because
    /// these programs refuse to run as root.
    fn command(&self, program: &str) -> Command {
        let program = find(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args([
                "--reuid=postgres",
                "--regid=postgres",
                "--clear-groups",
                "--",
            ]);
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// Starts the server, and returns whether it accepts connections.
    fn run(&mut self) -> bool {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("log"));
        let log = log.expect("a log");
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1"])
            .arg("-k")
            .arg(&self.folder)
            .args([
                "-c",
                &format!("fsync={}", self.fsync),
                "-c",
                "max_connections=200",
            ])
            .args(["-c", "dynamic_shared_memory_type=mmap"])
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let child = self.child.insert(command.spawn().expect("postgres starts"));
            loop {
                if child.try_wait().expect("its status").is_some() {
                    // The server may have exited because processes of a killed server are still
                    // running, so it is started again.
                    break;
                }
                if is_ready(self.port).is_ok_and(|ready| ready) {
                    return true;
                }
                assert!(start.elapsed() < PATIENCE, "postgres does not respond");
                sleep(Duration::from_millis(20));
            }
            if self.log().contains("Address already in use") {
                return false;
            }
            sleep(Duration::from_millis(100));
        }
        false
    }

    pub fn url(&self) -> String {
        format!("postgres://test@127.0.0.1:{}/postgres", self.port)
    }

    /// Sends a signal to the main process, like `kill -s`.
    pub fn signal(&self, name: &str) {
        signal(self.child.as_ref().expect("a running server").id(), name);
    }

    /// Stops the server with SIGKILL, which leaves its other processes behind, or with SIGQUIT.
    pub fn stop(&mut self, signal: &str) {
        if self.child.is_some() {
            self.signal(signal);
            // A test may have paused the server.
            self.signal("CONT");
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// Restarts the server as a replica whose primary has gone, or as a primary.
    pub fn restart_as(&mut self, is_replica: bool) {
        let signal = self.data().join("standby.signal");
        let changed = match is_replica {
            true => fs::write(signal, ""),
            false => fs::remove_file(signal),
        };
        changed.expect("a folder that can be changed");
        self.restart("INT");
    }

    pub fn restart(&mut self, signal: &str) {
        self.stop(signal);
        assert!(self.run(), "postgres does not start again: {}", self.log());
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Finds a server binary, which Debian does not install on `PATH`.
fn find(program: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut programs: Vec<PathBuf> = versions
        .map(|version| version.path().join("bin").join(program))
        .filter(|path| Path::exists(path))
        .collect();
    programs.sort();
    programs.pop().unwrap_or_else(|| program.into())
}

/// Returns whether the server accepts connections. It does not while it is starting or recovering.
fn is_ready(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let parameters = b"user\0test\0database\0postgres\0\0";
    let length = u32::try_from(8 + parameters.len()).expect("a few bytes");
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&196_608_u32.to_be_bytes())?;
    stream.write_all(parameters)?;
    let mut reply = [0];
    stream.read_exact(&mut reply)?;
    Ok(&reply == b"R")
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.stop("QUIT");
        let _ = fs::remove_dir_all(&self.folder);
    }
}

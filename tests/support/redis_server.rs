//! A Redis server for a single test, on a free port and in a temporary directory.

use std::{
    env, fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::process::signal;

pub struct RedisServer {
    child: Option<Child>,
    port: u16,
    folder: PathBuf,
    settings: &'static [&'static str],
}

impl RedisServer {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with these additional arguments.
    pub fn start_with(settings: &'static [&'static str]) -> Self {
        // Another process may take the port before Redis does.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let name = format!("soundhash-webhook-redis-{}-{port}", std::process::id());
            let folder = env::temp_dir().join(name);
            fs::create_dir_all(&folder).unwrap();
            let mut server = Self {
                child: None,
                port,
                folder,
                settings,
            };
            if server.run() {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    /// Starts the server, and returns whether it responds.
    fn run(&mut self) -> bool {
        let spawned = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            // Everything that the server has acknowledged survives a restart.
            .args(["--appendonly", "yes", "--appendfsync", "no", "--save", ""])
            .arg("--dir")
            .arg(&self.folder)
            .args(self.settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = spawned.unwrap_or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => panic!(
                "redis-server is not installed; the tests of the feature `redis` need it \
                 (apt-get install redis-server)"
            ),
            _ => panic!("redis-server does not start: {error}"),
        });
        let child = self.child.insert(child);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            if pong(self.port).is_ok_and(|pong| pong) {
                return true;
            }
            sleep(Duration::from_millis(10));
        }
        panic!("redis-server does not respond");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.as_ref().expect("a running server").id(), name);
    }

    /// Kills the server. All data that it has acknowledged is kept.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both calls fail if the process has already exited.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn restart(&mut self) {
        self.stop();
        assert!(self.run(), "redis-server does not start again");
    }
}

fn pong(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut reply = [0; 5];
    stream.read_exact(&mut reply)?;
    // Any other reply comes from a server that is still loading its data.
    Ok(&reply == b"+PONG")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

//! A server whose process may open few files.

use std::{
    env,
    fs::File,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Instant,
};

use axum::{Router, http::StatusCode, routing::get};
use soundhash_webhook_server::{Server, shutdown_signal};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{HONEST, PATIENCE, exchange, to_the_end};

const VARIABLE: &str = "SOUNDHASH_WEBHOOK_SERVER_TEST_FILES";
const FILES: u64 = 1024;
const IDLE: usize = 1300;

/// Runs the server for the test below in a separate process.
#[tokio::test]
async fn child() {
    if env::var_os(VARIABLE).is_none() {
        return;
    }
    rlimit::setrlimit(rlimit::Resource::NOFILE, FILES, FILES).unwrap();
    let shutdown = shutdown_signal().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("\nlistening on {}", listener.local_addr().unwrap());
    // The application also opens files and connections.
    let open = || async {
        let files: Result<Vec<_>, _> = (0..50).map(|_| File::open("/dev/null")).collect();
        files.map_or(StatusCode::INTERNAL_SERVER_ERROR, |_| StatusCode::OK)
    };
    let app = Router::new().route("/", get(open));
    Server::new(listener).serve(app, shutdown).await;
}

struct Started {
    child: Child,
    addr: String,
}

fn start() -> Started {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "files::child", "--nocapture"])
        .env(VARIABLE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    let addr = lines.find_map(|line| Some(line.strip_prefix("listening on ")?.to_owned()));
    let addr = addr.expect("an address");
    Started { child, addr }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Attack: open more connections than the process may open files, and send nothing.
#[tokio::test]
async fn idle_connections_leave_files_to_the_application() {
    rlimit::increase_nofile_limit(2 * IDLE as u64).unwrap();
    let server = start();
    let mut idle = Vec::new();
    let start = Instant::now();
    for number in 0..IDLE {
        idle.push(TcpStream::connect(&server.addr).await.unwrap());
        if number % 100 == 0 {
            let mut honest = TcpStream::connect(&server.addr).await.unwrap();
            let response = exchange(&mut honest, HONEST).await;
            assert!(response.starts_with("HTTP/1.1 200"), "{number}: {response}");
        }
    }
    let mut honest = TcpStream::connect(&server.addr).await.unwrap();
    let response = exchange(&mut honest, HONEST).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    println!("served after {:?}", start.elapsed());
    // The first idle connections were evicted for the delivery. They did not time out.
    assert_eq!(to_the_end(&mut idle[0]).await, "");
    assert!(start.elapsed() < PATIENCE);
}

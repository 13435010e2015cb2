//! A server whose process has a low limit on open files.

use std::{
    env,
    fs::File,
    future::pending,
    io::{BufRead, BufReader},
    iter,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::get};
use soundhash_webhook_server::{Server, shutdown_signal};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Barrier,
    time::sleep,
};

use crate::support::{HONEST, PATIENCE, SLOW, exchange, to_the_end};

const VARIABLE: &str = "SOUNDHASH_WEBHOOK_SERVER_TEST_FILES";
const FILES: u64 = 1024;
const IDLE: usize = 1300;
/// The number of slow requests that are kept in progress.
const BUSY: usize = 60;

/// The server for the tests below, which run this function in a separate process.
#[tokio::test]
async fn child() {
    if env::var_os(VARIABLE).is_none() {
        return;
    }
    rlimit::setrlimit(rlimit::Resource::NOFILE, FILES, FILES).unwrap();
    let own: usize = env::var(VARIABLE).unwrap().parse().unwrap();
    let _own: Vec<_> = (0..own).map(|_| File::open("/dev/null").unwrap()).collect();
    let shutdown = shutdown_signal().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("\nlistening on {}", listener.local_addr().unwrap());
    // Like a real application, this handler opens files, too.
    let open = || async {
        let files: Result<Vec<_>, _> = (0..50).map(|_| File::open("/dev/null")).collect();
        files.map_or(StatusCode::INTERNAL_SERVER_ERROR, |_| StatusCode::OK)
    };
    let busy = Arc::new(Barrier::new(BUSY + 1));
    let all_busy = busy.clone();
    let slow = async move || {
        busy.wait().await;
        pending::<()>().await;
    };
    // Opens as many files as possible once all slow requests are in progress, and closes them two
    // seconds later.
    let take = async move || {
        all_busy.wait().await;
        let files = iter::from_fn(|| File::open("/dev/null").ok());
        let files: Vec<_> = files.collect();
        tokio::spawn(async move {
            sleep(Duration::from_secs(2)).await;
            drop(files);
        });
    };
    let app = Router::new()
        .route("/", get(open))
        .route("/slow", get(slow))
        .route("/take", get(take));
    // The head timeout is long, so that idle connections do not time out during the attack.
    let server = Server::new(listener).head_timeout(10 * PATIENCE);
    server.serve(app, shutdown).await;
}

struct Started {
    child: Child,
    addr: String,
}

/// Starts the server in a process that has `own` files open.
fn start(own: usize) -> Started {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "files::child", "--nocapture"])
        .env(VARIABLE, own.to_string())
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

/// Attack: open more connections than the process has file descriptors, and send nothing on them.
#[tokio::test]
async fn idle_connections_leave_files_to_the_application() {
    // The server leaves an eighth of the 1,024 files to the application, which is less than the 300
    // that the process itself has open.
    for own in [0, 300] {
        attack(own).await;
    }
}

/// Connects from one of many addresses, so that no address exceeds its share of the connections.
async fn connect_from(peer: usize, addr: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(format!("127.0.1.{}:0", peer + 1).parse().unwrap())
        .unwrap();
    socket.connect(addr.parse().unwrap()).await.unwrap()
}

async fn attack(own: usize) {
    rlimit::increase_nofile_limit(2 * IDLE as u64).unwrap();
    let server = start(own);
    let mut idle = Vec::new();
    let start = Instant::now();
    for number in 0..IDLE {
        idle.push(connect_from(number % 50, &server.addr).await);
        if number % 100 == 0 {
            let mut honest = TcpStream::connect(&server.addr).await.unwrap();
            let response = exchange(&mut honest, HONEST).await;
            // Until the server notices the shortage, the application may run out of files.
            let is_served = response.starts_with("HTTP/1.1 200") || own > 0 && !response.is_empty();
            assert!(is_served, "{number}: {response}");
        }
    }
    let mut honest = TcpStream::connect(&server.addr).await.unwrap();
    let response = exchange(&mut honest, HONEST).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    println!("served after {:?}", start.elapsed());
    // The first idle connections were evicted to make room for the delivery.
    assert_eq!(to_the_end(&mut idle[0]).await, "");
    assert!(start.elapsed() < PATIENCE);
}

/// After the process has run out of file descriptors, new requests do not have to wait for those in
/// progress.
#[tokio::test]
async fn requests_in_progress_do_not_delay_others_after_a_shortage() {
    let server = start(0);
    let connect = async || TcpStream::connect(&server.addr).await.unwrap();
    let mut slow = Vec::new();
    for _ in 0..BUSY {
        let mut stream = connect().await;
        stream.write_all(SLOW.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let take = HONEST.replace(" / ", " /take ");
    let mut application = connect().await;
    exchange(&mut application, &take).await;
    // The server cannot accept the first of these connections until the handler has closed its
    // files.
    for _ in 0..10 {
        let response = exchange(&mut connect().await, HONEST).await;
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    }
}

//! `cargo bench -p soundhash-webhook-benches --bench past_one_machine`
//!
//! Measures the events per second that the examples `receiver`, `inbox` and `jetstream` accept, and
//! that their workers act on. Compare the figures within a run, not between machines. This needs
//! `postgresql` and `nats-server`: the servers, Postgres with `fsync` and three nodes of NATS, run
//! on this machine, too.

use std::{
    env,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use soundhash_webhook::Secret;
use soundhash_webhook_tests::{
    nats_cluster::NatsCluster,
    postgres_server::PostgresServer,
    process::{Process, example},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::sleep,
};

const SECRET: &str = "whsec_test";
const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(4);
const CONNECTIONS: usize = 32;
const BODY_LEN: usize = 700;

/// An example, and what it needs to run.
struct Example {
    program: PathBuf,
    variables: Vec<(&'static str, String)>,
    /// What a worker logs for each event. `None` if the receiver itself acts on the events.
    acted_on: Option<&'static str>,
}

/// Builds an example that is a package, and returns the path of its program.
fn package(name: &str) -> PathBuf {
    let name = format!("soundhash-webhook-{name}-example");
    // This program is at target/release/deps/past_one_machine-<hash>.
    let bench = env::current_exe().expect("the path of the benchmark");
    let profile = bench.ancestors().nth(2).expect("the profile's folder");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", &name])
        .arg("--target-dir")
        .arg(profile.parent().expect("the target folder"))
        .status();
    assert!(status.expect("cargo").success(), "{name} does not build");
    profile.join(name)
}

impl Example {
    fn command(&self, role: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(self.acted_on.map(|_| role))
            .env_remove("RUST_LOG")
            .env("SOUNDHASH_WEBHOOK_SECRET", SECRET)
            .envs(self.variables.iter().cloned());
        command
    }

    /// Starts a receiver, and returns the number of events that it accepted and the rate.
    async fn accept(&self) -> (u64, f64) {
        let server = Server::start(self.command("receive")).await;
        let (accepted, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let mut senders = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (accepted, addr) = (Arc::clone(&accepted), server.addr);
            senders.spawn(async move {
                let mut stream = TcpStream::connect(addr).await.expect("a connection");
                while start.elapsed() < TIME {
                    deliver(&mut stream).await;
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        senders.join_all().await;
        let accepted = accepted.load(Ordering::Relaxed);
        (accepted, rate(accepted, start))
    }

    /// Starts a worker, and returns the rate at which it acts on the accepted events.
    fn act(&self, accepted: u64) -> Option<f64> {
        let line = self.acted_on?;
        let start = Instant::now();
        let mut worker = Process::start(&mut self.command("work"));
        for _ in 0..accepted {
            worker.wait_for_log(line);
        }
        Some(rate(accepted, start))
    }
}

#[allow(clippy::cast_precision_loss, reason = "figures are rounded")]
fn rate(events: u64, start: Instant) -> f64 {
    events as f64 / start.elapsed().as_secs_f64()
}

/// A running receiver whose output is discarded. Dropping it kills the process.
struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    async fn start(mut command: Command) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        drop(listener);
        let child = command
            .env("SOUNDHASH_WEBHOOK_ADDR", addr.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.expect("the example starts");
        while TcpStream::connect(addr).await.is_err() {
            let ended = child.try_wait().expect("its status");
            assert!(ended.is_none(), "it does not listen: {ended:?}");
            sleep(Duration::from_millis(10)).await;
        }
        Self { child, addr }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends an event that was not sent before, and checks that it is accepted.
async fn deliver(stream: &mut TcpStream) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);

    let id = NUMBER.fetch_add(1, Ordering::Relaxed);
    let head = format!(r#"{{"id": "{id:022}", "type": "video.processed", "data": {{"title": ""#);
    let title = "x".repeat(BODY_LEN - head.len() - 3);
    let body = format!("{head}{title}\"}}}}");
    let request = format!(
        "POST /webhooks/soundhash HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY_LEN}\r\n\
         X-Webhook-Signature: {}\r\n\r\n{body}",
        Secret::new(SECRET).sign(body.as_bytes())
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut response = Vec::with_capacity(1024);
    while !response.ends_with(b"\r\n\r\n") {
        let read = stream.read_buf(&mut response).await.expect("a response");
        assert!(read > 0, "the connection was closed");
    }
    let accepted = ["HTTP/1.1 200 ", "HTTP/1.1 202 "];
    let is_accepted = accepted
        .iter()
        .any(|it| response.starts_with(it.as_bytes()));
    assert!(is_accepted, "{}", String::from_utf8_lossy(&response));
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo test --benches` runs benchmarks, too, and wants no figures.
    if !env::args().any(|argument| argument == "--bench") {
        return;
    }
    let postgres = PostgresServer::start_with("on");
    let nats = NatsCluster::start();
    let examples = [
        (
            "receiver",
            Example {
                program: example("receiver"),
                variables: Vec::new(),
                acted_on: None,
            },
        ),
        (
            "inbox",
            Example {
                program: package("inbox"),
                variables: vec![("SOUNDHASH_WEBHOOK_DATABASE", postgres.url())],
                acted_on: Some("acted on"),
            },
        ),
        (
            "jetstream",
            Example {
                program: package("jetstream"),
                variables: vec![("SOUNDHASH_WEBHOOK_NATS", nats.urls.clone())],
                acted_on: Some("done"),
            },
        ),
    ];
    let mut rates = [(); 3].map(|()| (Vec::new(), Vec::new()));
    // In turn, so that all meet the same machine.
    for _ in 0..ROUNDS {
        for ((_, example), (accepts, acts)) in examples.iter().zip(&mut rates) {
            let (accepted, rate) = example.accept().await;
            accepts.push(rate);
            acts.extend(example.act(accepted));
        }
    }

    println!(
        "events per second, medians of {ROUNDS} rounds of {TIME:?}: bodies of {BODY_LEN} bytes \
         over {CONNECTIONS} connections\n"
    );
    println!("| example | accepted | of `receiver` | acted on by one worker |");
    println!("| --- | ---: | ---: | ---: |");
    let receiver = median(&mut rates[0].0);
    for ((name, _), (accepts, acts)) in examples.iter().zip(&mut rates) {
        let accepted = median(accepts);
        let share = 100.0 * accepted / receiver;
        let acted = match acts.is_empty() {
            true => "before the response".to_owned(),
            false => format!("{:.0}", median(acts)),
        };
        println!("| `{name}` | {accepted:.0} | {share:.1} % | {acted} |");
    }
}

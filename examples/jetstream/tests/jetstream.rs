//! The example in several processes, on a cluster of three NATS servers that the tests start.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use async_nats::jetstream;
use reqwest::Client;
use serde_json::Value;
use soundhash_webhook::{SIGNATURE_HEADER, Secret};
use tokio::{task::JoinSet, time::sleep};

const SECRET: &str = "whsec_test";
/// The time that a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

// ---- servers and programs

/// Three servers that form a cluster. Dropping it kills them.
struct Cluster {
    folder: PathBuf,
    nodes: Vec<Option<Child>>,
    urls: String,
}

impl Cluster {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("soundhash-nats-{}", std::process::id()));
        let ports: Vec<[u16; 2]> = (0..3).map(|_| [free_port(), free_port()]).collect();
        let routes: Vec<_> = ports
            .iter()
            .map(|[_, route]| format!("\"nats-route://127.0.0.1:{route}\""))
            .collect();
        for (node, [client, route]) in ports.iter().enumerate() {
            let store = folder.join(node.to_string());
            fs::create_dir_all(&store).unwrap();
            let config = format!(
                "server_name: node{node}\nlisten: \"127.0.0.1:{client}\"\n\
                 jetstream {{ store_dir: \"{}\" }}\n\
                 cluster {{\n  name: test\n  listen: \"127.0.0.1:{route}\"\n  routes: [{}]\n}}\n",
                store.display(),
                routes.join(", ")
            );
            fs::write(folder.join(format!("{node}.conf")), config).unwrap();
        }
        let urls: Vec<_> = ports
            .iter()
            .map(|[client, _]| format!("nats://127.0.0.1:{client}"))
            .collect();
        let mut cluster = Self {
            folder,
            nodes: Vec::new(),
            urls: urls.join(","),
        };
        for node in 0..3 {
            let child = cluster.spawn(node);
            cluster.nodes.push(Some(child));
        }
        cluster
    }

    fn spawn(&self, node: usize) -> Child {
        let spawned = Command::new("nats-server")
            .arg("-c")
            .arg(self.folder.join(format!("{node}.conf")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        spawned.expect("nats-server (apt-get install nats-server)")
    }

    /// Kills a server with SIGKILL.
    fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.nodes[node].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn restart(&mut self, node: usize) {
        self.nodes[node] = Some(self.spawn(node));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 0..3 {
            self.kill(node);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn program(role: &str, urls: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_soundhash-webhook-jetstream-example"));
    program
        .arg(role)
        .env("SOUNDHASH_WEBHOOK_SECRET", SECRET)
        .env("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:0")
        .env("SOUNDHASH_WEBHOOK_NATS", urls)
        .env("RUST_LOG", "info,async_nats=error")
        .stdin(Stdio::null());
    program
}

/// A running `receive` or `work`. Dropping it kills the process.
struct Program {
    child: Child,
    /// The lines on stdout so far.
    lines: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// Starts the receiver, and returns its URL once it listens.
    fn receiver(cluster: &Cluster) -> (Self, String) {
        let mut child = program("receive", &cluster.urls)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let url = log
            .by_ref()
            .find_map(|line| Some(line.split_once("listening on ")?.1.to_owned()))
            .expect("the receiver listens");
        // Reads the pipe, so that the receiver never blocks on it.
        thread::spawn(move || log.for_each(drop));
        let lines = Arc::default();
        (Self { child, lines }, url)
    }

    fn worker(cluster: &Cluster) -> Self {
        let mut child = program("work", &cluster.urls)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = lines.clone();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn terminate(mut self) -> bool {
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args(["-s", "TERM", &id]).status();
        assert!(kill.unwrap().success());
        self.child.wait().unwrap().success()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `given-up` or `rerun` to its end.
fn run(role: &str, cluster: &Cluster) -> Output {
    let output = program(role, &cluster.urls).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// Sends one delivery, and returns the status if there is an answer.
async fn deliver(client: &Client, url: &str, body: &[u8]) -> Option<u16> {
    let request = client
        .post(url)
        .header(SIGNATURE_HEADER, Secret::new(SECRET).sign(body).to_string())
        .timeout(Duration::from_secs(30))
        .body(body.to_vec());
    Some(request.send().await.ok()?.status().as_u16())
}

fn event(id: &str) -> Vec<u8> {
    format!(r#"{{"type": "video.processed", "id": "{id}", "data": {{"video_id": 7}}}}"#).into()
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(100)).await;
    }
}

// ---- tests

/// A single cluster for all parts, because three servers take a while to elect their leaders.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_acted_on_whichever_server_dies() {
    let mut cluster = Cluster::start();
    let (receiver, url) = Program::receiver(&cluster);
    let worker = Program::worker(&cluster);
    let client = Client::new();

    a_copy_is_stored_once(&client, &url, &worker).await;
    only_signed_requests_are_stored(&client, &url).await;
    the_bytes_are_kept(&cluster, &client, &url, &worker).await;
    what_is_not_an_event_is_given_up(&cluster, &client, &url).await;
    let worker = every_server_dies_in_turn(&mut cluster, &client, &url, worker).await;

    assert!(receiver.terminate());
    assert!(worker.terminate());
}

async fn a_copy_is_stored_once(client: &Client, url: &str, worker: &Program) {
    for _ in 0..3 {
        assert_eq!(deliver(client, url, &event("copied")).await, Some(202));
    }
    assert_eq!(deliver(client, url, &event("after")).await, Some(202));
    let seen = |id: &str| {
        let id = format!(r#""id":"{id}""#);
        worker
            .lines()
            .iter()
            .filter(|line| line.contains(&id))
            .count()
    };
    eventually("both are acted on", || {
        seen("after") == 1 && seen("copied") > 0
    })
    .await;
    assert_eq!(seen("copied"), 1);
}

async fn only_signed_requests_are_stored(client: &Client, url: &str) {
    let forged = client
        .post(url)
        .header(SIGNATURE_HEADER, "0".repeat(64))
        .body(event("forged"));
    assert_eq!(forged.send().await.unwrap().status(), 401);
}

/// Sends a body that strict JSON rejects, with `NaN` and half a surrogate pair.
async fn the_bytes_are_kept(cluster: &Cluster, client: &Client, url: &str, worker: &Program) {
    let body =
        br#"{"type": "match.found", "id": "odd", "data": {"confidence": NaN, "title": "\ud83c"}}"#;
    assert_eq!(deliver(client, url, body).await, Some(202));
    let seen = || {
        worker
            .lines()
            .iter()
            .any(|line| line.contains(r#""id":"odd""#))
    };
    eventually("it is acted on", seen).await;
    let servers: Vec<_> = cluster.urls.split(',').collect();
    let nats = async_nats::connect(servers).await.unwrap();
    let stream = jetstream::new(nats).get_stream("SOUNDHASH").await.unwrap();
    let last = stream.get_last_raw_message_by_subject("soundhash.accepted");
    assert_eq!(last.await.unwrap().payload, body.as_slice());
}

async fn what_is_not_an_event_is_given_up(cluster: &Cluster, client: &Client, url: &str) {
    let given_up = || String::from_utf8(run("given-up", cluster).stdout).unwrap();
    assert_eq!(given_up(), "");
    assert_eq!(deliver(client, url, b"[\"no event\"]").await, Some(202));
    eventually("it is given up", || !given_up().is_empty()).await;
    let line: Value = serde_json::from_str(&given_up()).unwrap();
    assert_eq!(line["body"], "[\"no event\"]");
    let key = line["key"].as_str().unwrap().to_owned();
    run("rerun", cluster);
    eventually("it was tried again", || {
        given_up().contains(&format!(" {key}"))
    })
    .await;
    assert_eq!(given_up().lines().count(), 1);
}

/// Sends 1,000 events while each server, and a worker, is killed and started again.
async fn every_server_dies_in_turn(
    cluster: &mut Cluster,
    client: &Client,
    url: &str,
    worker: Program,
) -> Program {
    const EVENTS: usize = 1000;
    const SENDERS: usize = 8;
    let sent = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (client, url, sent) = (client.clone(), url.to_owned(), sent.clone());
        senders.spawn(async move {
            let mut attempts = 0;
            for number in (sender..EVENTS).step_by(SENDERS) {
                // Retries until there is a 2xx, as SoundHash does, but sooner.
                while deliver(&client, &url, &event(&format!("load {number}"))).await != Some(202) {
                    attempts += 1;
                    sleep(Duration::from_millis(250)).await;
                }
                sent.fetch_add(1, Ordering::Relaxed);
                // The pauses make the load last until every server has died.
                sleep(Duration::from_millis(200)).await;
            }
            attempts
        });
    }
    let mut workers = vec![worker, Program::worker(cluster)];
    for node in 0..3 {
        let goal = EVENTS * (node + 1) / 5;
        eventually("events go on", || sent.load(Ordering::Relaxed) >= goal).await;
        cluster.kill(node);
        if node == 1 {
            let mut killed = workers.pop().unwrap();
            killed.child.kill().unwrap();
            workers.push(killed);
            workers.push(Program::worker(cluster));
        }
        // The two remaining servers accept some of the events.
        let goal = sent.load(Ordering::Relaxed) + 20;
        eventually("two of three suffice", || {
            sent.load(Ordering::Relaxed) >= goal
        })
        .await;
        cluster.restart(node);
        // A majority has to be up to date before the next server dies.
        sleep(Duration::from_secs(5)).await;
    }
    let retries: usize = senders.join_all().await.into_iter().sum();

    let acted_on = || {
        let mut times: HashMap<String, usize> = HashMap::new();
        for line in workers.iter().flat_map(Program::lines) {
            let event: Value = serde_json::from_str(&line).expect("an event per line");
            let id = event["id"].as_str().unwrap_or_default();
            if id.starts_with("load ") {
                *times.entry(id.to_owned()).or_default() += 1;
            }
        }
        times
    };
    eventually("every accepted event is acted on", || {
        acted_on().len() == EVENTS
    })
    .await;
    let expected: HashSet<_> = (0..EVENTS).map(|number| format!("load {number}")).collect();
    let times = acted_on();
    assert!(times.keys().all(|id| expected.contains(id)));
    // An event is acted on twice only if a worker was killed or an acknowledgement was lost.
    let twice = times.values().filter(|&&times| times > 1).count();
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{EVENTS} events, {retries} retries, {twice} acted on more than once"
    )
    .unwrap();
    assert!(twice <= EVENTS / 10, "{twice} were acted on more than once");
    workers.remove(0)
}

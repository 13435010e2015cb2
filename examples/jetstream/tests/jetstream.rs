//! Runs the example in several processes, on a cluster of three NATS servers started by the tests.

use std::{
    collections::{HashMap, HashSet},
    env, fs,
    io::{self, Write},
    net::TcpListener,
    path::PathBuf,
    process::{self, Command},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    self, Context,
    consumer::{AckPolicy, pull},
    stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream},
};
use serde_json::{Value, json};
use soundhash_webhook_tests::{
    nats_cluster::{NatsCluster, free_port},
    process::{Process, Receiver},
    requests,
};
use tokio::{task::JoinSet, time::sleep};

const SECRET: &str = "whsec_test";
/// The maximum time that a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn program(role: &str, cluster: &NatsCluster) -> Command {
    program_at(role, &cluster.urls)
}

fn program_at(role: &str, urls: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_soundhash-webhook-jetstream-example"));
    program
        .arg(role)
        .env("SOUNDHASH_WEBHOOK_SECRET", SECRET)
        .env("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:0")
        .env("SOUNDHASH_WEBHOOK_NATS", urls)
        .env("RUST_LOG", "info,async_nats=error");
    program
}

/// A running worker, and the lines that it has printed so far.
struct Worker {
    process: Process,
    lines: Vec<String>,
}

impl Worker {
    fn start(cluster: &NatsCluster) -> Self {
        Self::of(&mut program("work", cluster))
    }

    fn of(program: &mut Command) -> Self {
        let process = Process::start(program);
        let lines = Vec::new();
        Self { process, lines }
    }

    /// Returns how many times this worker has printed the event.
    fn times(&mut self, id: &str) -> usize {
        let id = json!({"id": id}).to_string();
        let id = id.trim_matches(['{', '}']);
        let lines = self.lines().iter();
        lines.filter(|line| line.contains(id)).count()
    }

    fn lines(&mut self) -> &[String] {
        self.lines.extend(self.process.lines());
        &self.lines
    }
}

/// A server without a cluster, whose settings can change. Dropping it kills it and deletes its files.
struct SingleServer {
    folder: PathBuf,
    listen: String,
    process: Option<Process>,
}

impl SingleServer {
    /// Starts a server with these settings for `JetStream`, and other settings.
    fn start(jetstream: &str, others: &str) -> Self {
        let port = free_port();
        let folder = format!("soundhash-webhook-nats-{}-{port}", process::id());
        let mut server = Self {
            folder: env::temp_dir().join(folder),
            listen: format!("127.0.0.1:{port}"),
            process: None,
        };
        fs::create_dir_all(&server.folder).unwrap();
        server.restart(jetstream, others);
        server
    }

    /// Starts the server again, on the same port.
    fn restart(&mut self, jetstream: &str, others: &str) {
        self.process = None;
        self.configure(jetstream, others);
        let config = self.folder.join("nats.conf");
        let mut process = Process::start(Command::new("nats-server").arg("-c").arg(config));
        process.wait_for_log("Listening for client connections");
        self.process = Some(process);
    }

    fn reload(&mut self, jetstream: &str, others: &str) {
        self.configure(jetstream, others);
        let process = self.process.as_mut().unwrap();
        process.signal("HUP");
        process.wait_for_log("Reloaded server configuration");
    }

    fn configure(&self, jetstream: &str, others: &str) {
        let (listen, store) = (&self.listen, self.folder.display());
        let text = format!(
            "listen: \"{listen}\"\n\
             jetstream {{ store_dir: \"{store}\", sync_interval: always, {jetstream} }}\n\
             {others}\n"
        );
        fs::write(self.folder.join("nats.conf"), text).unwrap();
    }
}

impl Drop for SingleServer {
    fn drop(&mut self) {
        self.process = None;
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Runs `given-up` or `rerun` to completion.
fn run(role: &str, cluster: &NatsCluster) -> process::Output {
    let output = program(role, cluster).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// Waits for the program to fail on its own, and returns its log.
fn fails(program: &mut Command) -> String {
    let output = program.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

/// Sends one delivery and returns the status, if there is a response.
async fn deliver(url: &str, body: &[u8]) -> Option<u16> {
    requests::deliver(url, SECRET, body).await
}

fn event(id: &str) -> Vec<u8> {
    let event = json!({"type": "video.processed", "id": id, "data": {"video_id": 7}});
    event.to_string().into()
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// A URL with a port that nothing listens on. The password in the URL must not be printed.
const REFUSED: &str = "nats://soundhash:hunter2@127.0.0.1:1";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Waits until the cluster has elected its leaders, and creates streams with one replica.
async fn create_by_hand(cluster: &NatsCluster, max_age: Duration, per_subject: i64) -> Context {
    let urls: Vec<_> = cluster.urls.split(',').map(str::to_owned).collect();
    let mut options = async_nats::ConnectOptions::new().retry_on_initial_connect();
    options = options.connection_timeout(PATIENCE);
    let context = jetstream::new(options.connect(urls).await.unwrap());
    for (name, subject) in [
        ("SOUNDHASH", "soundhash.accepted"),
        ("SOUNDHASH_GIVEN_UP", "soundhash.given_up"),
    ] {
        let by_hand = Config {
            name: name.into(),
            subjects: vec![subject.into()],
            max_messages: 5,
            max_messages_per_subject: per_subject,
            max_age,
            ..Config::default()
        };
        while let Err(error) = context.create_stream(&by_hand).await {
            println!("the cluster is not ready yet: {error}");
            sleep(Duration::from_millis(200)).await;
        }
    }
    context
}

async fn config(context: &Context, stream: &str) -> Config {
    let mut stream = context.get_stream(stream).await.unwrap();
    stream.info().await.unwrap().config.clone()
}

/// Someone may have created the stream by hand, with a default that deletes accepted events.
#[tokio::test]
async fn the_settings_of_a_stream_that_exists_are_changed() {
    let cluster = NatsCluster::start();
    let context = create_by_hand(&cluster, DAY, 1).await;
    let body = event("before");
    let published = context.publish("soundhash.accepted", body.into()).await;
    published.unwrap().await.unwrap();
    let receiver = Receiver::listening(&mut program("receive", &cluster));
    for stream in ["SOUNDHASH", "SOUNDHASH_GIVEN_UP"] {
        let config = config(&context, stream).await;
        assert_eq!(config.discard, DiscardPolicy::New);
        assert_eq!(config.max_age, 30 * DAY);
        assert_eq!(config.max_messages, 5);
        assert_eq!(config.max_messages_per_subject, -1);
        // An event on a single disk could be lost.
        assert_eq!(config.num_replicas, 3);
        let gib = if stream == "SOUNDHASH" { 4 } else { 1 };
        assert_eq!(config.max_bytes, gib << 30);
    }
    // What does not fit is not accepted.
    let mut statuses = HashMap::new();
    for id in 0..5 {
        let status = deliver(&receiver.url(), &event(&id.to_string())).await;
        *statuses.entry(status.unwrap()).or_insert(0) += 1;
    }
    assert_eq!(statuses, HashMap::from([(202, 4), (503, 1)]));
    let mut worker = Worker::start(&cluster);
    for id in ["before", "0", "1", "2", "3"] {
        eventually("it is handled", || worker.times(id) == 1).await;
    }
}

/// If the program applied these settings, NATS would delete events at once, including events that
/// have not been handled.
#[tokio::test]
async fn settings_that_delete_events_are_not_applied() {
    const DAYS: Duration = Duration::from_secs(90 * 24 * 60 * 60);
    let cluster = NatsCluster::start();
    let context = create_by_hand(&cluster, DAYS, -1).await;
    for subject in ["soundhash.accepted", "soundhash.given_up"] {
        let event = event(&"x".repeat(1000));
        let published = context.publish(subject, event.into()).await;
        published.unwrap().await.unwrap();
    }
    let before = config(&context, "SOUNDHASH").await;
    let given_up = config(&context, "SOUNDHASH_GIVEN_UP").await;
    // These roles change nothing at all.
    run("given-up", &cluster);
    assert_eq!(config(&context, "SOUNDHASH").await, before);
    assert_eq!(config(&context, "SOUNDHASH_GIVEN_UP").await, given_up);
    run("rerun", &cluster);
    assert_eq!(config(&context, "SOUNDHASH").await, before);
    assert_eq!(config(&context, "SOUNDHASH_GIVEN_UP").await, given_up);

    let mut program = program("receive", &cluster);
    program.env("SOUNDHASH_WEBHOOK_NATS_MAX_BYTES", "1000");
    let mut receiver = Receiver::listening(&mut program);
    let after = config(&context, "SOUNDHASH").await;
    assert_eq!((after.max_age, after.max_bytes), (DAYS, -1));
    assert_eq!(after.discard, DiscardPolicy::New);
    let mut stream = context.get_stream("SOUNDHASH").await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, 2);
    let log = receiver.process.log();
    for command in [
        "`nats stream edit SOUNDHASH --max-age=2592000s` does so, and deletes",
        "`nats stream edit SOUNDHASH --max-bytes=1000` deletes",
        "`nats stream edit SOUNDHASH_GIVEN_UP --max-age=2592000s` does so, and deletes",
    ] {
        assert!(log.contains(command), "{command}: {log}");
    }
    // The stream that is empty can have any size.
    let given_up = config(&context, "SOUNDHASH_GIVEN_UP").await;
    assert_eq!(given_up.max_bytes, 250);
}

/// The servers have just enough space for both streams. If a stream used it up, NATS would stop the
/// stream, so that the workers would get no events either.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_rejects_events_and_the_workers_go_on() {
    const LARGE: usize = 100;
    let mut cluster = NatsCluster::start_with("max_file_store: 1500000");
    let urls = cluster.urls.clone();
    let start = |role, max_bytes| {
        let mut program = program_at(role, &urls);
        program.env("SOUNDHASH_WEBHOOK_NATS_MAX_BYTES", max_bytes);
        program
    };
    let mut receiver = Receiver::listening(&mut start("receive", "1000000"));
    let url = receiver.url();
    // More than the second stream can store. None of them is an event.
    for number in 0..LARGE {
        let body = format!("[\"{number} {}\"]", "x".repeat(5000));
        assert_eq!(deliver(&url, body.as_bytes()).await, Some(202));
    }
    let mut accepted = Vec::new();
    let rejected = loop {
        let id = format!("{} {}", accepted.len(), "x".repeat(20_000));
        let start = Instant::now();
        match deliver(&url, &event(&id)).await {
            Some(202) => accepted.push(id),
            status => {
                assert_eq!(status, Some(503));
                assert!(start.elapsed() < Duration::from_secs(10), "retried in vain");
                break id;
            }
        }
    };
    assert!(accepted.len() > 10, "{}", accepted.len());
    receiver.process.wait_for_log("SOUNDHASH is full");
    // A server that is killed must not come back with the rejected events instead of the accepted
    // ones.
    for node in 0..3 {
        for number in 0..50 {
            let more = format!("more {number} {}", "x".repeat(20_000));
            assert_eq!(deliver(&url, &event(&more)).await, Some(503));
        }
        cluster.kill(node);
        cluster.restart(node);
        sleep(Duration::from_secs(5)).await;
    }

    let process = Process::start(&mut start("work", "1000000"));
    let lines = Vec::new();
    let mut worker = Worker { process, lines };
    let line = worker.process.wait_for_log("cannot be given up");
    assert!(line.contains("SOUNDHASH_GIVEN_UP is full"), "{line}");
    let tried = Instant::now();
    eventually("all are handled", || {
        accepted.iter().all(|id| worker.times(id) == 1)
    })
    .await;
    assert!(
        tried.elapsed() < Duration::from_secs(15),
        "blocked by others"
    );
    // Those that could not be moved wait for space.
    let given_up = String::from_utf8(run("given-up", &cluster).stdout).unwrap();
    let given_up = given_up.lines().count();
    assert!((10..LARGE).contains(&given_up), "{given_up}");
    let stream = stream(&cluster).await;
    let pending = stream.consumer_info("workers").await.unwrap();
    assert_eq!(pending.num_ack_pending, LARGE - given_up);

    // A larger stream accepts events again.
    let receiver = Receiver::listening(&mut start("receive", "1150000"));
    assert_eq!(deliver(&receiver.url(), &event(&rejected)).await, Some(202));
    eventually("it is handled", || worker.times(&rejected) == 1).await;
}

/// Each start says what happens to events on a single server.
#[tokio::test]
async fn a_single_server_is_enough_if_it_has_space() {
    const SPACE: &str = "max_file_store: 1000000";
    let mut server = SingleServer::start(SPACE, "");
    let url = format!("nats://{}", server.listen);
    let mut receiver = Process::start(&mut program_at("receive", &url));
    let line = receiver.wait_for_log("max_file_store");
    assert!(line.contains("4294967296 bytes that SOUNDHASH"), "{line}");
    assert!(line.contains("SOUNDHASH_WEBHOOK_NATS_MAX_BYTES"), "{line}");
    drop(receiver);

    let mut program = program_at("receive", &url);
    for max_bytes in ["many", "-1", "0"] {
        program.env("SOUNDHASH_WEBHOOK_NATS_MAX_BYTES", max_bytes);
        let output = program.output().unwrap();
        assert!(!output.status.success());
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(log.contains("SOUNDHASH_WEBHOOK_NATS_MAX_BYTES"), "{log}");
    }
    program.env("SOUNDHASH_WEBHOOK_NATS_MAX_BYTES", "700000");

    let context = jetstream::new(async_nats::connect(&url).await.unwrap());
    let by_hand = Config {
        name: "SOUNDHASH".into(),
        subjects: vec!["soundhash.accepted".into()],
        ..Config::default()
    };
    let interest = Config {
        retention: RetentionPolicy::Interest,
        ..by_hand.clone()
    };
    let memory = Config {
        storage: StorageType::Memory,
        ..by_hand
    };
    // The receiver that did not start has created it, without the limit.
    context.delete_stream("SOUNDHASH").await.unwrap();
    for (config, error) in [
        (interest, "the retention Interest"),
        (memory, "the storage Memory"),
    ] {
        context.create_stream(config).await.unwrap();
        let mut refused = Process::start(&mut program);
        refused.wait_for_log(&format!("SOUNDHASH has {error}"));
        drop(refused);
        context.delete_stream("SOUNDHASH").await.unwrap();
    }

    for id in ["a", "b"] {
        let mut receiver = Receiver::listening(&mut program);
        assert_eq!(deliver(&receiver.url(), &event(id)).await, Some(202));
        let log = receiver.process.log();
        assert!(log.contains("From one server to three"), "{log}");
    }

    // An operator lowers the size of a message, and corrects the mistake while a delivery waits.
    let receiver = Receiver::listening(&mut program);
    let mut set_payload = |bytes: u32| server.reload(SPACE, &format!("max_payload: {bytes}"));
    set_payload(65_536);
    let receiver_url = receiver.url();
    let big = format!(
        r#"{{"id": "big", "type": "a", "data": "{}"}}"#,
        "x".repeat(100_000)
    );
    let delivery = tokio::spawn(async move { deliver(&receiver_url, big.as_bytes()).await });
    sleep(Duration::from_secs(3)).await;
    set_payload(1_048_576);
    assert_eq!(delivery.await.unwrap(), Some(202));

    // Without a worker, the receiver finds out that a stream has vanished, and does not need a new
    // connection for it.
    sleep(Duration::from_secs(2)).await;
    context.delete_stream("SOUNDHASH").await.unwrap();
    let start = Instant::now();
    assert_eq!(deliver(&receiver.url(), &event("c")).await, Some(202));
    assert!(start.elapsed() < Duration::from_secs(9), "reconnected");
}

/// The servers of an old cluster confirm events before they have synced them.
#[tokio::test]
async fn an_old_server_is_refused() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", server.local_addr().unwrap());
    thread::spawn(move || {
        for client in server.incoming() {
            let mut client = client.unwrap();
            let info = json!({
                "server_id": "a", "server_name": "a", "version": "2.11.9", "go": "go1.24",
                "host": "127.0.0.1", "port": 4222, "max_payload": 1_048_576, "proto": 1,
                "headers": true, "jetstream": true,
            });
            write!(client, "INFO {info}\r\nPONG\r\n").unwrap();
            // The client ends the connection.
            let _ = io::copy(&mut client, &mut io::sink());
        }
    });
    for role in ["receive", "work"] {
        let log = fails(&mut program_at(role, &url));
        assert!(
            log.contains("NATS 2.11.9 is too old: 2.12 or later"),
            "{log}"
        );
        assert!(!log.contains("waiting"), "{log}");
    }
}

/// A server that has less space than a stream reserves does not load the stream. When the stream is
/// created again, NATS adopts its files, and deletes what exceeds the new stream's limits.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_not_loaded_loses_no_event() {
    let mut server = SingleServer::start("max_file_store: 1500000", "");
    let url = format!("nats://{}", server.listen);
    let program = |role, max_bytes| {
        let mut program = program_at(role, &url);
        program.env("SOUNDHASH_WEBHOOK_NATS_MAX_BYTES", max_bytes);
        program
    };
    let receiver = Receiver::listening(&mut program("receive", "1000000"));
    let large = |id| {
        let filling = "x".repeat(100_000);
        format!(r#"{{"type": "a", "id": "{id}", "data": "{filling}"}}"#)
    };
    for id in 0..6 {
        let delivered = deliver(&receiver.url(), large(id).as_bytes()).await;
        assert_eq!(delivered, Some(202));
    }
    drop(receiver);

    server.restart("max_file_store: 900000", "");
    let _receiver = Receiver::listening(&mut program("receive", "200000"));
    let mut worker = Worker::of(&mut program("work", "200000"));
    for id in 0..6 {
        eventually("it is handled", || worker.times(&id.to_string()) == 1).await;
    }
}

/// A server that withdraws a permission ends the subscriptions of a connection, and does not bring
/// them back when it grants the permission again.
#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_granted_again_is_used_again() {
    let permission = |subscribe: &str| {
        format!(
            r#"authorization {{ users: [{{
                user: a, password: p, permissions: {{ publish: ">", subscribe: "{subscribe}" }}
            }}] }}"#
        )
    };
    let mut server = SingleServer::start("", &permission(">"));
    let url = format!("nats://a:p@{}", server.listen);
    let small = |role| {
        let mut program = program_at(role, &url);
        program.env("SOUNDHASH_WEBHOOK_NATS_MAX_BYTES", "10000000");
        program
    };
    let receiver = Receiver::listening(&mut small("receive"));
    let mut worker = Worker::of(&mut small("work"));
    assert_eq!(deliver(&receiver.url(), &event("before")).await, Some(202));
    eventually("the first event", || worker.times("before") == 1).await;

    server.reload("", &permission("none"));
    assert_eq!(deliver(&receiver.url(), &event("during")).await, Some(503));
    server.reload("", &permission(">"));
    let start = Instant::now();
    while deliver(&receiver.url(), &event("after")).await != Some(202) {
        assert!(start.elapsed() < PATIENCE, "the receiver does not recover");
    }
    eventually("the last event", || worker.times("after") == 1).await;
}

#[test]
fn a_signal_ends_it_while_it_connects() {
    // This server accepts connections, but never responds.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("nats://{}", server.local_addr().unwrap());
    for role in ["receive", "work", "given-up", "rerun"] {
        let start = |url: &str| {
            Process::start(program_at(role, url).env("RUST_LOG", "info,async_nats=off"))
        };
        let mut refused = start(REFUSED);
        let line = refused.wait_for_log("refused");
        let error = "SOUNDHASH_WEBHOOK_NATS: cannot connect to \"nats://***@127.0.0.1:1\": ";
        assert!(line.contains(error), "{line}");
        assert!(!line.contains("hunter2"), "{line}");
        let waiting = start(&silent);
        let _connection = server.accept().unwrap();
        for process in [refused, waiting] {
            process.signal("INT");
            let (status, _, log) = process.ended();
            // A script must not believe that the events run again.
            let is_done = !["given-up", "rerun"].contains(&role);
            assert_eq!(status.success(), is_done, "{role}: {log}");
        }
    }
}

#[test]
fn a_url_that_cannot_be_right_is_named() {
    for url in ["", "nats://", "nats://a:hunter2@127.0.0.1:99999"] {
        let log = fails(&mut program_at("work", url));
        assert!(
            log.contains("SOUNDHASH_WEBHOOK_NATS: cannot connect to"),
            "{log}"
        );
        assert!(!log.contains("hunter2"), "{log}");
    }
}

/// The user, password and token of a URL must not be printed, even though the log has all lines.
#[tokio::test]
async fn it_logs_in_as_the_url_says() {
    for (options, login, wrong) in [
        (
            "--user=soundhash --pass=hunter2/@",
            "soundhash:hunter2%2F%40",
            "soundhash:guessed",
        ),
        ("--auth=hunter2", "hunter2", "guessed"),
    ] {
        let folder = format!("soundhash-webhook-nats-{}{options}", process::id());
        let folder = env::temp_dir().join(folder.replace('/', ""));
        let mut server = Command::new("nats-server");
        server
            .args(["-a", "127.0.0.1", "-p", "-1", "-js", "-sd"])
            .arg(&folder);
        let mut server = Process::start(server.args(options.split(' ')));
        let line = server.wait_for_log("Listening for client connections");
        let addr = line.rsplit(' ').next().unwrap();
        server.wait_for_log("Server is ready");
        let program = |login: &str| {
            // The second server does not exist, and its URL has no user.
            let urls = format!("nats://{login}@{addr},nats://127.0.0.1:1");
            let mut program = program_at("receive", &urls);
            program.env("RUST_LOG", "trace");
            program
        };
        let log = fails(&mut program(wrong));
        assert!(log.contains("authorization violation"), "{log}");
        assert!(!log.contains("guessed"), "{log}");

        let receiver = Receiver::listening(&mut program(login));
        assert_eq!(deliver(&receiver.url(), &event("a")).await, Some(202));
        receiver.process.signal("TERM");
        let (status, _, log) = receiver.ended();
        assert!(status.success() && !log.contains("hunter2"), "{log}");
        drop(server);
        let _ = fs::remove_dir_all(folder);
    }
}

/// All parts of the test share a cluster, because three servers take a while to elect their
/// leaders.
#[tokio::test(flavor = "multi_thread")]
async fn accepted_events_are_handled_when_any_server_dies() {
    let mut cluster = NatsCluster::start();
    let receiver = Receiver::listening(&mut program("receive", &cluster));
    let url = receiver.url();
    let stream = stream(&cluster).await;
    create_a_limited_consumer(&stream).await;
    let mut worker = Worker::start(&cluster);

    a_copy_is_stored_once(&url, &mut worker).await;
    only_signed_requests_are_stored(&url).await;
    events_that_fail_do_not_hold_back_others(&stream).await;
    the_bytes_are_kept(&stream, &url, &mut worker).await;
    an_id_can_contain_any_character(&url, &mut worker).await;
    a_body_is_stored_or_rejected_at_once(&url, &mut worker).await;
    what_is_not_an_event_is_given_up(&cluster, &url).await;
    every_server_hangs_in_turn(&cluster, &url, &mut worker).await;
    let mut worker = every_server_dies_in_turn(&mut cluster, &url, worker).await;
    streams_that_vanish_are_recreated(&mut cluster, &url, &mut worker).await;

    for program in [receiver.process, worker.process] {
        program.signal("TERM");
        assert!(program.ended().0.success());
    }
}

async fn stream(cluster: &NatsCluster) -> Stream {
    let servers: Vec<_> = cluster.urls.split(',').collect();
    let nats = async_nats::connect(servers).await.unwrap();
    jetstream::new(nats).get_stream("SOUNDHASH").await.unwrap()
}

/// Creates the workers' consumer in advance, with the default limit of 1,000 pending events.
async fn create_a_limited_consumer(stream: &Stream) {
    let config = pull::Config {
        durable_name: Some("workers".into()),
        ack_policy: AckPolicy::Explicit,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.unwrap();
    assert_eq!(consumer.cached_info().config.max_ack_pending, 1000);
}

/// Checks that the worker has removed the limit on pending events, although the consumer already
/// existed.
async fn events_that_fail_do_not_hold_back_others(stream: &Stream) {
    let consumer = stream.consumer_info("workers").await.unwrap();
    assert_eq!(consumer.config.max_ack_pending, -1);
}

async fn a_copy_is_stored_once(url: &str, worker: &mut Worker) {
    for _ in 0..3 {
        assert_eq!(deliver(url, &event("copied")).await, Some(202));
    }
    assert_eq!(deliver(url, &event("after")).await, Some(202));
    eventually("both are handled", || {
        worker.times("after") == 1 && worker.times("copied") > 0
    })
    .await;
    assert_eq!(worker.times("copied"), 1);
}

async fn only_signed_requests_are_stored(url: &str) {
    let forged = requests::deliver(url, "whsec_guessed", &event("forged")).await;
    assert_eq!(forged, Some(401));
}

/// Sends a body that is not strict JSON: it has `NaN` and an unpaired surrogate.
async fn the_bytes_are_kept(stream: &Stream, url: &str, worker: &mut Worker) {
    let body =
        br#"{"type": "match.found", "id": "odd", "data": {"confidence": NaN, "title": "\ud83c"}}"#;
    assert_eq!(deliver(url, body).await, Some(202));
    eventually("it is handled", || worker.times("odd") == 1).await;
    let last = stream.get_last_raw_message_by_subject("soundhash.accepted");
    assert_eq!(last.await.unwrap().payload, body.as_slice());
}

/// Attack: an id that terminates the header, names another header, or is longer than any header.
async fn an_id_can_contain_any_character(url: &str, worker: &mut Worker) {
    let long = "é".repeat(50_000);
    let mut ids = vec!["\0\u{1f512} \\ %0D ".to_owned(), long];
    // If the server mistook these for its own headers, it would not recognize a duplicate.
    for header in [
        "Nats-Rollup: all",
        "Nats-Msg-Id: x",
        "Soundhash-Event-Key: x",
    ] {
        // Several ids are tried with each header, because a message's headers are in random order.
        for number in 0..6 {
            ids.push(format!("{number}\r\n{header}\r\n\r\nb"));
            ids.push(format!("{number} {header}"));
        }
    }
    for id in &ids {
        for _ in 0..2 {
            assert_eq!(deliver(url, &event(id)).await, Some(202));
        }
    }
    assert_eq!(deliver(url, &event("next")).await, Some(202));
    eventually("the last one is handled", || worker.times("next") == 1).await;
    for id in &ids {
        eventually("it is handled", || worker.times(id) > 0).await;
        assert_eq!(worker.times(id), 1, "{id}");
    }
}

async fn a_body_is_stored_or_rejected_at_once(url: &str, worker: &mut Worker) {
    // NATS accepts messages of up to 1 MiB, including their headers.
    let mut longest = None;
    for room in [16 * 1024, 0] {
        let id = format!("{room} less");
        let body = |title: &str| {
            json!({"type": "video.processed", "id": id, "data": {"title": title}}).to_string()
        };
        let body = body(&"x".repeat(1024 * 1024 - room - body("").len()));
        let start = Instant::now();
        match deliver(url, body.as_bytes()).await {
            Some(202) => longest = Some(id),
            status => assert_eq!(status, Some(413)),
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{room}");
    }
    let longest = longest.expect("a long body is stored");
    eventually("it is handled", || worker.times(&longest) == 1).await;
}

async fn what_is_not_an_event_is_given_up(cluster: &NatsCluster, url: &str) {
    let given_up = || {
        let lines = String::from_utf8(run("given-up", cluster).stdout).unwrap();
        let parse = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        lines.lines().map(parse).collect::<Vec<_>>()
    };
    assert_eq!(given_up(), [Value::Null; 0]);
    for body in ["[\"no event\"]", "[1]"] {
        assert_eq!(deliver(url, body.as_bytes()).await, Some(202));
        eventually("it is given up", || {
            given_up().iter().any(|line| line["body"] == body)
        })
        .await;
    }
    let mut before = given_up();
    // In each round, the rerun events fail again, and the workers give up on them again, under the
    // same keys.
    for _ in 0..2 {
        run("rerun", cluster);
        eventually("both were tried again", || {
            let after = given_up();
            let moved =
                |line: &Value| line["given_up_at"].as_str() > before[1]["given_up_at"].as_str();
            after.len() == 2 && after.iter().all(moved)
        })
        .await;
        let mut after = given_up();
        after.sort_by_key(|line| line["key"].to_string());
        before.sort_by_key(|line| line["key"].to_string());
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before["key"], after["key"]);
            assert_eq!(before["body"], after["body"]);
        }
        before = given_up();
    }
}

/// Stops the servers one at a time without closing their connections, as if their machines had
/// vanished. The receiver and the worker are each connected to one of the servers.
async fn every_server_hangs_in_turn(cluster: &NatsCluster, url: &str, worker: &mut Worker) {
    for node in 0..3 {
        cluster.signal(node, "STOP");
        let (id, start) = (format!("hangs {node}"), Instant::now());
        while deliver(url, &event(&id)).await != Some(202) {
            // With its default settings, the client would take two to three minutes to notice the
            // stopped server.
            assert!(start.elapsed() < Duration::from_secs(90), "{id}");
            sleep(Duration::from_millis(250)).await;
        }
        let accepted = start.elapsed();
        eventually("it is handled", || worker.times(&id) > 0).await;
        println!(
            "{id}: accepted after {accepted:?}, handled after {:?}",
            start.elapsed()
        );
        cluster.signal(node, "CONT");
        // A majority of the servers has to be up to date before the next one is stopped.
        sleep(Duration::from_secs(5)).await;
    }
}

/// Deletes the streams, and then starts all servers with empty disks.
async fn streams_that_vanish_are_recreated(
    cluster: &mut NatsCluster,
    url: &str,
    worker: &mut Worker,
) {
    let servers: Vec<_> = cluster.urls.split(',').collect();
    let nats = jetstream::new(async_nats::connect(servers).await.unwrap());
    for way in ["deleted", "lost"] {
        if way == "deleted" {
            for name in ["SOUNDHASH", "SOUNDHASH_GIVEN_UP"] {
                nats.delete_stream(name).await.unwrap();
            }
        } else {
            for node in 0..3 {
                cluster.kill(node);
            }
            for node in 0..3 {
                let disk = cluster.folder().join(node.to_string());
                fs::remove_dir_all(disk.join("jetstream")).unwrap();
                cluster.restart(node);
            }
        }
        let start = Instant::now();
        for body in [&*event(way), b"[\"no event\"]"] {
            while deliver(url, body).await != Some(202) {
                assert!(start.elapsed() < PATIENCE, "{way} streams are missing");
                sleep(Duration::from_millis(250)).await;
            }
        }
        let accepted = start.elapsed();
        eventually("it is handled", || worker.times(way) > 0).await;
        println!(
            "{way}: accepted after {accepted:?}, handled after {:?}",
            start.elapsed()
        );
        eventually("it is given up", || {
            // The program fails while the stream has no leader.
            let output = program("given-up", cluster).output();
            !output.unwrap().stdout.is_empty()
        })
        .await;
    }
}

/// Sends 1,000 events while every server and a worker are killed and restarted.
async fn every_server_dies_in_turn(cluster: &mut NatsCluster, url: &str, worker: Worker) -> Worker {
    const EVENTS: usize = 1000;
    const SENDERS: usize = 8;
    let sent = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (url, sent) = (url.to_owned(), sent.clone());
        senders.spawn(async move {
            let mut attempts = 0;
            for number in (sender..EVENTS).step_by(SENDERS) {
                // Like SoundHash, this retries until it gets a 2xx, but with shorter pauses.
                while deliver(&url, &event(&format!("load {number}"))).await != Some(202) {
                    attempts += 1;
                    sleep(Duration::from_millis(250)).await;
                }
                sent.fetch_add(1, Ordering::Relaxed);
                // The pauses spread the load out, so that it lasts until every server has been
                // killed.
                sleep(Duration::from_millis(200)).await;
            }
            attempts
        });
    }
    let mut workers = vec![worker, Worker::start(cluster)];
    for node in 0..3 {
        let goal = EVENTS * (node + 1) / 5;
        eventually("events go on", || sent.load(Ordering::Relaxed) >= goal).await;
        cluster.kill(node);
        if node == 1 {
            workers[1].process.signal("KILL");
            workers.push(Worker::start(cluster));
        }
        // Checks that the two remaining servers still accept events.
        let goal = sent.load(Ordering::Relaxed) + 20;
        eventually("two of three suffice", || {
            sent.load(Ordering::Relaxed) >= goal
        })
        .await;
        cluster.restart(node);
        // Before the next server is killed, a majority of the servers has to be up to date.
        sleep(Duration::from_secs(5)).await;
    }
    let retries: usize = senders.join_all().await.into_iter().sum();

    let mut acted_on = || {
        let mut times: HashMap<String, usize> = HashMap::new();
        for line in workers.iter_mut().flat_map(Worker::lines) {
            let event: Value = serde_json::from_str(line).expect("an event per line");
            let id = event["id"].as_str().unwrap_or_default();
            if id.starts_with("load ") {
                *times.entry(id.to_owned()).or_default() += 1;
            }
        }
        times
    };
    eventually("every accepted event is handled", || {
        acted_on().len() == EVENTS
    })
    .await;
    let expected: HashSet<_> = (0..EVENTS).map(|number| format!("load {number}")).collect();
    let times = acted_on();
    assert!(times.keys().all(|id| expected.contains(id)));
    // An event is handled twice only if a worker was killed or an acknowledgement was lost.
    let twice = times.values().filter(|&&times| times > 1).count();
    println!("{EVENTS} events, {retries} retries, {twice} handled more than once");
    assert!(twice <= EVENTS / 10, "{twice} were handled more than once");
    workers.remove(0)
}

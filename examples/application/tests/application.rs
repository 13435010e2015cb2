//! Tests of the application, which can serve as an example for your own.

use std::{
    fs,
    io::{self, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::FromRef,
    http::{Request, StatusCode},
    response::Response,
};
use futures_util::{FutureExt, future::join_all};
use http_body_util::BodyExt;
use metrics_exporter_prometheus::PrometheusBuilder;
use soundhash_webhook::{
    EventKind, Secret, Sender,
    testing::{SignedRequest, fresh_sample, hostile_requests},
};
use soundhash_webhook_application_example::{AppState, app, internal};
use soundhash_webhook_tests::{
    process::{Output, Process, Receiver, begin, exchange, response_head, status},
    requests,
};
use sqlx::SqlitePool;
use tokio::{
    io::AsyncWriteExt,
    time::{sleep, timeout},
};
use tower::ServiceExt;

const SECRET: &str = "whsec_test";

/// Returns the path of a database that does not exist yet.
fn new_file(name: &str) -> String {
    let file = format!("{}/{name}.db", env!("CARGO_TARGET_TMPDIR"));
    for end in ["", "-shm", "-wal"] {
        let _ = fs::remove_file(format!("{file}{end}"));
    }
    file
}

async fn open(file: &str) -> AppState {
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    AppState::open(file, metrics).await.unwrap()
}

async fn application(file: &str) -> Router {
    app(Secret::new(SECRET), open(file).await)
}

/// Returns a new event about a processed video.
fn processed(title: &str) -> String {
    let mut event = fresh_sample(EventKind::VideoProcessed, Sender::Portal);
    event["data"]["title"] = title.into();
    event.to_string()
}

/// Delivers an event, and returns the status.
async fn deliver(app: &Router, event: &str) -> StatusCode {
    let request = SignedRequest::new(SECRET).body(event.to_owned()).build();
    app.clone().oneshot(request).await.unwrap().status()
}

async fn get(app: &Router, path: &str) -> String {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.into()).unwrap()
}

#[tokio::test]
async fn a_repeated_event_adds_no_title_even_after_a_restart() {
    let file = new_file("comes_again");
    let song = processed("A song");
    for _ in 0..2 {
        let app = application(&file).await;
        assert_eq!(deliver(&app, &song).await, StatusCode::OK);
        assert_eq!(deliver(&app, &song).await, StatusCode::OK);
        assert_eq!(get(&app, "/titles").await, r#"["A song"]"#);
    }
}

#[tokio::test]
async fn an_event_whose_title_cannot_be_stored_is_stored_later() {
    let file = new_file("stored_later");
    let app = application(&file).await;
    let song = processed("A song");
    let database = SqlitePool::connect(&file).await.unwrap();
    let run = async |sql| sqlx::query(sql).execute(&database).await.unwrap();
    run("ALTER TABLE titles RENAME TO away").await;
    assert_eq!(deliver(&app, &song).await, StatusCode::SERVICE_UNAVAILABLE);
    run("ALTER TABLE away RENAME TO titles").await;
    // SoundHash retries.
    assert_eq!(deliver(&app, &song).await, StatusCode::OK);
    assert_eq!(get(&app, "/titles").await, r#"["A song"]"#);
}

#[tokio::test]
async fn hostile_requests_are_rejected() {
    let app = application(&new_file("hostile")).await;
    for hostile in hostile_requests(&Secret::new(SECRET)) {
        let request = hostile.request("/webhooks/soundhash");
        let response = app.clone().oneshot(request).await.unwrap();
        hostile.check(&response).unwrap();
    }
}

/// Attack: list the titles again and again, and read none of the responses.
#[tokio::test]
async fn only_the_latest_titles_are_listed() {
    let app = application(&new_file("many")).await;
    let endless = "x".repeat(100_000);
    for number in 0..=20 {
        let song = processed(&format!("Song {number} {endless}"));
        assert_eq!(deliver(&app, &song).await, StatusCode::OK);
    }
    let titles = get(&app, "/titles").await;
    let titles: Vec<String> = serde_json::from_str(&titles).unwrap();
    assert_eq!(titles.len(), 20);
    assert!(titles[0].starts_with("Song 20 x") && titles[19].starts_with("Song 1 x"));
    assert!(titles.iter().all(|title| title.len() == 100));

    // A compressor needs far more memory than these titles.
    let request = Request::get("/titles").header("accept-encoding", "gzip");
    let request = request.body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.headers().get("content-encoding"), None);
}

/// The delivery holds the only connection that may write while it waits for another writer.
#[tokio::test]
async fn unsigned_routes_have_their_own_connections() {
    let file = new_file("readers");
    let app = application(&file).await;
    let other = SqlitePool::connect(&file).await.unwrap();
    let writing = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let song = processed("A song");
    let mut delivery = Box::pin(deliver(&app, &song));
    let waits = timeout(Duration::from_millis(500), &mut delivery).await;
    assert!(waits.is_err(), "{waits:?}");
    tokio::select! {
        biased;
        status = &mut delivery => panic!("the list waited for the delivery: {status}"),
        titles = get(&app, "/titles") => assert_eq!(titles, "[]"),
    }
    writing.rollback().await.unwrap();
    assert_eq!(delivery.await, StatusCode::OK);
}

#[tokio::test]
async fn unsigned_requests_do_not_wait_for_each_other() {
    let state = open(&new_file("open")).await;
    let app = app(Secret::new(SECRET), state.clone());
    let list = || {
        let request = Request::get("/titles").body(Body::empty()).unwrap();
        app.clone().oneshot(request)
    };
    // All of these requests arrive while the database is busy.
    let reader = SqlitePool::from_ref(&state);
    let connections = reader.options().get_max_connections();
    let busy = join_all((0..connections).map(|_| reader.acquire())).await;
    let mut responses = join_all((0..20).map(|_| list()));
    assert!((&mut responses).now_or_never().is_none());
    drop(busy);
    let responses = responses.await;
    let is_ok = |response: &Response| response.status() == StatusCode::OK;
    let served = responses.iter().flatten().filter(|it| is_ok(it)).count();
    assert_eq!(served, 8);
    assert_eq!(get(&app, "/titles").await, "[]");
}

/// Attack: request the metrics, which cost more than a forged delivery.
#[tokio::test]
async fn the_internal_routes_are_not_public() {
    let file = new_file("internal");
    let state = open(&file).await;
    let (app, internal) = (app(Secret::new(SECRET), state.clone()), internal(state));
    let status = async |router: &Router, path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap().status()
    };
    for path in ["/healthz", "/metrics"] {
        assert_eq!(status(&internal, path).await, StatusCode::OK);
        assert_eq!(status(&app, path).await, StatusCode::NOT_FOUND);
    }
    let database = SqlitePool::connect(&file).await.unwrap();
    let drop = sqlx::query("DROP TABLE titles").execute(&database);
    drop.await.unwrap();
    let health = status(&internal, "/healthz").await;
    assert_eq!(health, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn deliveries_do_not_wait_for_the_reader_of_the_log() {
    let song = processed("A song");
    for (output, name) in [(Output::Unread, "unread"), (Output::Gone, "gone")] {
        let mut command = program(name);
        let program = Receiver::with_output(command.env("RUST_LOG", "trace"), output);
        for _ in 0..400 {
            let status = requests::deliver(&program.url(), SECRET, song.as_bytes()).await;
            assert_eq!(status, Some(200), "{output:?}");
        }
        program.process.signal("TERM");
        let (status, ..) = program.ended();
        assert!(status.success(), "{output:?}: {status}");
    }
}

/// Returns the command that starts the program with a new database.
fn program(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_soundhash-webhook-application-example"));
    command
        .env_remove("RUST_LOG")
        .env("SOUNDHASH_WEBHOOK_SECRET", SECRET)
        .env("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:0")
        .env("SOUNDHASH_WEBHOOK_METRICS_ADDR", "127.0.0.1:0")
        .env("SOUNDHASH_WEBHOOK_DATABASE", new_file(name));
    command
}

#[tokio::test]
async fn the_program_counts_deliveries_and_stops_at_a_signal() {
    let mut process = Process::start(&mut program("program"));
    let line = process.wait_for_log("metrics at http://");
    let metrics = line.split('/').nth(2).unwrap().to_owned();
    let program = Receiver::of_process(process);
    let song = processed("A song");
    for _ in 0..2 {
        let status = requests::deliver(&program.url(), SECRET, song.as_bytes()).await;
        assert_eq!(status, Some(200));
    }
    let mut stream = TcpStream::connect(metrics).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let metrics = io::read_to_string(stream).unwrap();
    for part in [
        r#"{reason="duplicate"} 1"#,
        "soundhash_webhook_body_bytes_bucket{",
    ] {
        assert!(metrics.contains(part), "{part}: {metrics}");
    }
    let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/program.db");
    let database = SqlitePool::connect(file).await.unwrap();
    let rename = sqlx::query("ALTER TABLE titles RENAME TO away");
    rename.execute(&database).await.unwrap();
    for _ in 0..5 {
        let status = requests::deliver(&program.url(), SECRET, processed("B").as_bytes()).await;
        assert_eq!(status, Some(503));
    }
    program.process.signal("TERM");
    let (status, _, log) = program.ended();
    assert!(status.success(), "{log}");
    let is_cause = |line: &&str| line.contains("transaction failed");
    let causes: Vec<_> = log.lines().filter(is_cause).collect();
    assert_eq!(causes.len(), 5, "{log}");
    assert!(causes[0].contains("no such table"), "{log}");
}

/// If a `-wal` file is left, SQLite applies it to a backup that is restored.
#[tokio::test]
async fn a_stopped_program_leaves_only_the_database() {
    // Without closing the database, the outcome is a matter of chance.
    for number in 0..5 {
        let name = format!("stopped-{number}");
        let program = Receiver::listening(&mut program(&name));
        let song = processed("A song");
        let status = requests::deliver(&program.url(), SECRET, song.as_bytes()).await;
        assert_eq!(status, Some(200));
        program.process.signal("TERM");
        let (status, _, log) = program.ended();
        assert!(status.success(), "{log}");
        let is_of_it = |file: &String| file.starts_with(&name);
        let files = fs::read_dir(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let files: Vec<String> = files.filter(is_of_it).collect();
        assert_eq!(files, [format!("{name}.db")]);
    }
}

#[tokio::test]
async fn a_connection_in_use_does_not_keep_the_program_from_ending() {
    let state = open(&new_file("in-use")).await;
    let _used = SqlitePool::from_ref(&state).acquire().await.unwrap();
    let closed = timeout(Duration::from_secs(20), state.close()).await;
    assert!(closed.is_ok());
}

/// A compose file passes an unset variable as an empty one. SQLite would open a private temporary
/// database for each connection.
#[tokio::test]
async fn events_are_stored_in_the_default_file_if_the_variable_is_empty() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("empty-variable");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let mut command = program("unused");
    command.env("SOUNDHASH_WEBHOOK_DATABASE", "");
    let program = Receiver::listening(command.current_dir(&folder));
    let status = requests::deliver(&program.url(), SECRET, processed("A song").as_bytes()).await;
    assert_eq!(status, Some(200));
    assert!(folder.join("application.db").exists());

    let memory = command.env("SOUNDHASH_WEBHOOK_DATABASE", ":memory:");
    let (status, _, log) = Process::start(memory).ended();
    assert!(!status.success() && log.contains("not in a file"), "{log}");
}

/// The command `soundhash-webhook` takes the URL from the same variable.
#[tokio::test]
async fn a_url_is_the_same_database_as_its_file() {
    let file = new_file("url");
    let song = processed("A song");
    let urls = [
        file.clone(),
        format!("sqlite:{file}"),
        format!("sqlite://{file}?mode=rwc"),
    ];
    for database in urls {
        let app = application(&database).await;
        assert_eq!(deliver(&app, &song).await, StatusCode::OK);
        assert_eq!(get(&app, "/titles").await, r#"["A song"]"#, "{database}");
    }
}

#[test]
fn a_wrong_database_stops_the_program_and_creates_no_file() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong-database");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    for (database, cause) in [
        (
            "postgres://soundhash:s3cret@localhost/soundhash",
            "sqlite:FILE",
        ),
        ("postgresql:///soundhash", "sqlite:FILE"),
        ("mysql:soundhash", "sqlite:FILE"),
        ("sqlite:application.db?password=s3cret", "password"),
        ("sqlite::memory:", "not in a file"),
        ("missing/application.db", "missing/application.db: "),
        ("sqlite:missing/application.db", "missing/application.db: "),
    ] {
        let mut command = program("unused");
        command.env("SOUNDHASH_WEBHOOK_DATABASE", database);
        let (status, _, log) = Process::start(command.current_dir(&folder)).ended();
        assert!(!status.success(), "{database}: {log}");
        for part in ["SOUNDHASH_WEBHOOK_DATABASE: ", cause] {
            assert!(log.contains(part), "{database}: {log}");
        }
        assert!(!log.contains("s3cret"), "{database}: {log}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

/// A load balancer that still got a 200 would choose this instance, whose port is closed.
#[tokio::test]
async fn the_health_check_fails_while_the_last_requests_are_completed() {
    let mut process = Process::start(&mut program("stopping"));
    let line = process.wait_for_log("metrics at http://");
    let private = line.split('/').nth(2).unwrap().to_owned();
    let program = Receiver::of_process(process);
    let healthz = || async {
        let head = exchange(&private, b"GET /healthz HTTP/1.0\r\n\r\n").await;
        status(&head).to_owned()
    };
    assert_eq!(healthz().await, "200");
    let song = processed("A song");
    let signature = Secret::new(SECRET).sign(song.as_bytes()).to_string();
    let mut delivery = begin(&program.addr, &requests::head(&signature, song.len())).await;
    program.process.signal("TERM");
    while TcpStream::connect(&program.addr).is_ok() {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(healthz().await, "503");
    delivery.write_all(song.as_bytes()).await.unwrap();
    assert_eq!(status(&response_head(&mut delivery).await), "200");
    let (status, _, log) = program.ended();
    assert!(status.success(), "{log}");
}

//! `events` on both databases, with an application that records the events it handles.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, SystemTime},
};

use axum::{Router, http::StatusCode, routing::post};
use serde_json::{Value, json};
use soundhash_webhook::{
    Delivery, SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, Key, MemoryStore},
};
use soundhash_webhook_sqlx::{Backend, EventFilter, EventLog, EventSummary};
use soundhash_webhook_tests::postgres_server::PostgresServer;
use sqlx::{Pool, Postgres, Sqlite, sqlite::SqliteConnectOptions};
use tokio::{net::TcpListener, runtime::Runtime};

use crate::reconcile::{ago, api, attempt, reconcile};
use crate::support::{
    App as Server, Process, Ran, Run, SECRET, bare, check, cli, closed_addr, deliver, folder,
    status,
};

/// A database that exists until its `Server` is dropped.
trait Fixture: Backend {
    type Server;
    fn start() -> (Self::Server, String);
    fn connect(url: &str) -> impl Future<Output = Pool<Self>> + Send;
}

impl Fixture for Postgres {
    type Server = PostgresServer;

    fn start() -> (PostgresServer, String) {
        let server = PostgresServer::start();
        let url = server.url();
        (server, url)
    }

    async fn connect(url: &str) -> Pool<Self> {
        Pool::connect(url).await.expect("a connection")
    }
}

impl Fixture for Sqlite {
    type Server = ();

    fn start() -> ((), String) {
        let file = folder("events").join("events.db");
        ((), format!("sqlite://{}", file.display()))
    }

    async fn connect(url: &str) -> Pool<Self> {
        let options: SqliteConnectOptions = url.parse().expect("a URL");
        let options = options
            .create_if_missing(true)
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
        Pool::connect_with(options).await.expect("a connection")
    }
}

macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod postgres {
            $(#[test] fn $test() { super::$test::<sqlx::Postgres>(); })*
        }
        mod sqlite {
            $(#[test] fn $test() { super::$test::<sqlx::Sqlite>(); })*
        }
    };
}

on_both!(
    events_are_listed_page_by_page_and_shown,
    events_run_again_by_key_window_and_type,
    an_event_that_fails_stays_stored_and_runs_later,
    a_run_that_is_killed_or_interrupted_can_be_continued,
    deliveries_of_the_same_events_do_not_disturb_a_run,
    recorded_events_are_compared_with_the_log_of_soundhash,
);

/// What the handler does before or instead of handling the event.
#[derive(Clone, Copy)]
enum Step {
    Respond(StatusCode),
    /// Waits until the test opens the gate.
    Wait,
}

type Steps = Arc<Mutex<BTreeMap<String, Step>>>;

struct App<DB: Fixture> {
    runtime: Runtime,
    log: EventLog<DB>,
    database: String,
    url: String,
    /// The keys of the handled events, in order.
    handled: Arc<Mutex<Vec<String>>>,
    steps: Steps,
    arrived: mpsc::Receiver<()>,
    gate: Arc<tokio::sync::Notify>,
    _server: DB::Server,
}

impl<DB: Fixture> App<DB> {
    fn start() -> Self {
        Self::with(|app| app)
    }

    fn with(layers: impl FnOnce(Router) -> Router) -> Self {
        let (server, database) = DB::start();
        let runtime = Runtime::new().unwrap();
        let log = runtime.block_on(async {
            let log = EventLog::new(DB::connect(&database).await);
            log.migrate().await.unwrap();
            log
        });
        let handled = Arc::new(Mutex::new(Vec::new()));
        let (steps, gate) = (Steps::default(), Arc::<tokio::sync::Notify>::default());
        let (arrival, arrived) = mpsc::channel();
        let state = (log.clone(), handled.clone(), steps.clone(), gate.clone());
        let receive = Arc::new(async move |delivery: Delivery| {
            let (log, handled, steps, gate) = &state;
            let key = Key::from(&delivery).to_string();
            let step = steps.lock().unwrap().get(&key).copied();
            match step {
                Some(Step::Respond(status)) => return status,
                Some(Step::Wait) => {
                    arrival.send(()).unwrap();
                    gate.notified().await;
                }
                None => {}
            }
            let mut tx = log.begin().await.unwrap();
            if !log.record(&mut tx, &delivery).await.unwrap().is_duplicate() {
                tx.commit().await.unwrap();
                handled.lock().unwrap().push(key);
            }
            StatusCode::OK
        });
        let receive = post(async move |delivery: Delivery| receive(delivery).await);
        let app = Router::new().route("/hooks", receive);
        let app = layers(app).layer(SoundHashWebhookLayer::new(SECRET));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        runtime.spawn(axum::serve(listener, app).into_future());
        Self {
            runtime,
            log,
            database,
            url,
            handled,
            steps,
            arrived,
            gate,
            _server: server,
        }
    }

    /// Delivers events `0`, `1`, and so on. Every third one has a different type.
    fn seed(&self, count: usize) {
        for id in 0..count {
            assert_eq!(status(&deliver(&self.url, "", &body(id))), "200");
        }
        self.handled.lock().unwrap().clear();
    }

    fn command(&self, arguments: &str) -> std::process::Command {
        let mut command = cli!("events {arguments}");
        if arguments.starts_with("run-again") && !arguments.contains("--url") {
            command.args(["--url", &self.url]);
        }
        command.env("SOUNDHASH_WEBHOOK_DATABASE", &self.database);
        command
    }

    fn events(&self, arguments: &str) -> Ran {
        self.command(arguments).reads("")
    }

    fn check(&self, rows: &str) {
        check(|arguments| self.command(arguments), rows);
    }

    fn json(&self, arguments: &str) -> Vec<Value> {
        let ran = self.events(&format!("{arguments} --json")).expect(0, "");
        let lines = ran.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Returns the ids of the events that were handled since the last call.
    fn handled(&self) -> Vec<String> {
        std::mem::take(&mut self.handled.lock().unwrap())
    }

    fn stored(&self) -> Vec<EventSummary> {
        let filter = EventFilter::new().limit(1_000);
        self.runtime.block_on(self.log.list(&filter)).unwrap()
    }

    fn forgotten(&self) -> usize {
        let stored = self.stored().into_iter();
        stored.filter(|event| event.is_forgotten).count()
    }

    /// Checks that no body was lost or changed.
    fn has_every_body(&self, count: usize) {
        for id in 0..count {
            let key = Key::new(&key(id));
            let event = self.runtime.block_on(self.log.get(&key)).unwrap();
            assert_eq!(event.expect("the event").body, body(id));
        }
    }
}

fn key(id: usize) -> String {
    format!("t{id}")
}

fn keys(ids: impl IntoIterator<Item = usize>) -> Vec<String> {
    ids.into_iter().map(key).collect()
}

fn body(id: usize) -> Vec<u8> {
    let kind = if id.is_multiple_of(3) {
        "match.found"
    } else {
        "video.processed"
    };
    // `NaN` is not strict JSON, and reserializing the body would lose the second space.
    format!(r#"{{"id": "{id}",  "type": "{kind}", "data": {{"confidence": NaN}}}}"#).into_bytes()
}

fn events_are_listed_page_by_page_and_shown<DB: Fixture>() {
    let app = App::<DB>::start();
    app.check("list | 0 | There are no such events.");
    app.seed(7);
    let ran = app
        .events("list")
        .expect(0, "RECEIVED | TYPE | KEY | match.found | t6");
    assert_eq!(ran.stdout.lines().count(), 8, "{ran:#?}");

    let mut listed = Vec::new();
    let mut more = String::new();
    loop {
        let page = app.json(&format!("list --limit 3{more}"));
        let keys = page.iter().map(|event| event["key"].as_str().unwrap());
        listed.extend(keys.map(str::to_owned));
        if page.len() < 3 {
            break;
        }
        more = format!(" --after {}", listed.last().unwrap());
    }
    listed.sort();
    assert_eq!(listed, keys(0..7));
    assert_eq!(app.json("list --type match.found").len(), 3);
    assert_eq!(app.json("list --since 1h").len(), 7);
    assert_eq!(app.json("list --until 1h").len(), 0);
    assert_eq!(app.json("list --endpoint acme").len(), 0);
    assert_eq!(app.json("list --forgotten").len(), 0);

    let bytes = body(3).len().to_string();
    app.check(&format!(
        "show t3 | 0 | type match.found | state recorded | {bytes} | NaN"
    ));
    assert_eq!(app.events("show t3 --raw").stdout.as_bytes(), body(3));
    let shown = &app.json("show t3")[0];
    assert_eq!(shown["type"], "match.found");
    assert_eq!(shown["forgotten"], false);
    assert_eq!(shown["body"], String::from_utf8(body(3)).unwrap());
    app.check("show t99 | 2 | no event with the key t99");
    app.check("list --table Other | 1 | no such table | --table");
}

fn recorded_events_are_compared_with_the_log_of_soundhash<DB: Fixture>() {
    let app = App::<DB>::start();
    let now = jiff::Timestamp::now();
    app.seed(2);
    let portal = br#"{"event": "match.found", "delivery_id": "del_1", "data": {}}"#;
    assert_eq!(status(&deliver(&app.url, "", portal)), "200");
    let attempts = (1..=3).map(|event| attempt(event, 1, "success", now));
    let api = api(attempts.collect());
    let mut command = reconcile(&api, "--until 0s --database");
    command
        .arg(&app.database)
        .expect(1, "delivered 3 | recorded 2 | missing at least 1");
    api.stored.lock().unwrap().deliveries.pop();
    let mut command = reconcile(&api, "--until 0s");
    command.env("SOUNDHASH_WEBHOOK_DATABASE", &app.database);
    command.expect(0, "recorded 2 | Every event arrived");
    reconcile(&api, "--database sqlite:missing.db").expect(2, "cannot open the database");
}

fn events_run_again_by_key_window_and_type<DB: Fixture>() {
    let app = App::<DB>::start();
    app.seed(7);
    let before = app.stored();
    app.check("run-again t4 | 0 | t4 | 200 OK");
    assert_eq!(app.handled(), keys([4]));

    // Rerunning several events requires confirmation, which is impossible without a terminal.
    app.check("run-again --type match.found | 2 | --yes");
    app.check("run-again --yes | 2 | which events");
    app.check("run-again --type job.failed --yes | 1 | no such events | handler failed");
    let ran = app.json("run-again --type match.found --yes");
    assert_eq!(app.handled(), keys([0, 3, 6]));
    let line =
        json!({"key": "t0", "type": "match.found", "ran": true, "status": 200, "error": null});
    assert_eq!((ran.len(), &ran[0]), (3, &line));

    let time = |event: &EventSummary| jiff::Timestamp::try_from(event.received_at).unwrap();
    // The latest event comes first in the list.
    let window = format!("--since {} --until {}", time(&before[4]), time(&before[1]));
    let start = SystemTime::now();
    app.events(&format!("run-again {window} --rate 10 --yes"))
        .expect(0, "200 OK");
    let took = start.elapsed().unwrap();
    assert!(took >= Duration::from_millis(200), "faster than the rate");
    assert_eq!(app.handled(), keys([2, 3, 4]));

    let after = app.stored();
    assert_eq!(app.forgotten(), 0);
    // Running the events again has not changed their times, so the window still selects the same
    // events.
    assert!(after.iter().map(time).eq(before.iter().map(time)));
    app.has_every_body(7);
}

fn an_event_that_fails_stays_stored_and_runs_later<DB: Fixture>() {
    let app = App::<DB>::start();
    app.seed(5);
    let failing = Step::Respond(StatusCode::INTERNAL_SERVER_ERROR);
    app.steps.lock().unwrap().insert(key(2), failing);
    let ran = app.events("run-again --since 1h --yes");
    ran.expect(1, "500 Internal Server Error | events list --forgotten");
    assert_eq!(app.handled(), keys([0, 1, 3, 4]));
    assert_eq!(app.json("list --forgotten")[0]["key"], "t2");
    app.check("list | 0 | STATE | forgotten");
    app.has_every_body(5);

    // A failure that affects every event stops the run. Events that were not sent remain unchanged.
    app.steps.lock().unwrap().clear();
    let nobody = format!("run-again --since 1h --yes --url http://{}/", closed_addr());
    app.events(&nobody)
        .expect(1, "cannot be reached | 4 more events were not sent");
    let mut wrong = app.command("run-again --since 1h --yes");
    wrong.env("SOUNDHASH_WEBHOOK_SECRET", "whsec_wrong");
    wrong.expect(1, "401 Unauthorized | rejects the signature | 4 more");
    let silent = Step::Respond(StatusCode::OK);
    app.steps.lock().unwrap().insert(key(0), silent);
    app.check("run-again --since 1h --yes | 1 | not recorded (200) | did not record | another `run-again` | 4 more");
    assert_eq!(app.handled(), [""; 0]);
    assert_eq!(app.forgotten(), 2);

    app.steps.lock().unwrap().clear();
    app.check("run-again --forgotten --yes | 0 | t0 | t2");
    assert_eq!(app.handled(), keys([0, 2]));
    assert_eq!(app.forgotten(), 0);

    // No other server receives the stored body, even if the application redirects to it.
    let other = Server::ok();
    for status in [302, 308] {
        let url = Server::redirecting(status, &other.to_string());
        let parts =
            format!("not recorded ({status}) | redirects ({status}) to {other}, where | 4 more");
        let arguments = format!("run-again --since 1h --yes --url {url}");
        app.events(&arguments).expect(1, parts);
    }
    assert!(other.requests().is_empty());
    assert_eq!(app.forgotten(), 1);
    app.has_every_body(5);
}

impl App<Sqlite> {
    /// Changes the database behind the application's back.
    fn execute(&self, sql: &'static str) {
        self.runtime.block_on(async {
            let pool = Sqlite::connect(&self.database).await;
            sqlx::query(sql).execute(&pool).await.unwrap();
        });
    }
}

#[test]
fn a_damaged_event_is_named_and_the_others_run() {
    let app = App::<Sqlite>::start();
    app.seed(3);
    let damage = "UPDATE soundhash_events SET uncompressed_len = 9000 WHERE event_key = 't1'";
    app.execute(damage);
    let damaged = "t1: the stored event is damaged";
    app.check(&format!(
        "run-again --since 1h --yes | 1 | t0 | t2 | warning: {damaged}
        show t1 | 1 | {damaged}"
    ));
    assert_eq!(app.handled(), keys([0, 2]));
    assert_eq!(app.forgotten(), 0);
    let ran = app.events("run-again --since 1h --yes --json");
    let lines = ran.expect(1, damaged).stdout;
    let line: Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    assert_eq!((&line["key"], &line["ran"]), (&json!("t1"), &json!(false)));
    assert!(
        line["error"].as_str().unwrap().starts_with(damaged),
        "{line}"
    );
}

#[test]
fn events_run_even_if_their_results_cannot_be_printed() {
    let app = App::<Sqlite>::start();
    app.seed(6);
    for arguments in ["", "--json"] {
        let (reader, unread) = io::pipe().unwrap();
        drop(reader);
        let full = File::create("/dev/full").unwrap();
        for (output, code) in [(Stdio::from(unread), 0), (Stdio::from(full), 1)] {
            let mut command = app.command(&format!("run-again --since 1h --yes {arguments}"));
            let ran = command.stdout(output).output().unwrap();
            assert_eq!(ran.status.code(), Some(code), "{ran:?}");
            assert_eq!(app.handled(), keys(0..6));
        }
    }
}

/// Each endpoint has its own secret, so its events would be signed for another tenant.
#[test]
fn events_of_several_endpoints_do_not_run_together() {
    let app = App::<Sqlite>::start();
    app.seed(3);
    let name = "UPDATE soundhash_events SET endpoint = 'acme' WHERE event_key = 't1'";
    app.execute(name);
    app.check("run-again --since 1h --yes | 2 | several endpoints");
    assert_eq!(app.forgotten(), 0);
    let api = api(Vec::new());
    let mut command = reconcile(&api, "--database");
    command.arg(&app.database).expect(2, "several endpoints");
    app.check("run-again --since 1h --endpoint acme --yes | 0 | t1 | 200 OK");
    assert_eq!(app.handled(), keys([1]));
}

/// SoundHash's log does not show the portal's deliveries, so they hide no missing event.
#[test]
fn an_endpoint_of_the_portal_does_not_prevent_a_comparison() {
    let app = App::<Sqlite>::start();
    app.seed(2);
    let name = "UPDATE soundhash_events SET endpoint = 'portal',
        event_key = 'd13:1764489600000;b' || hex(zeroblob(32)) WHERE event_key = 't1'";
    app.execute(name);
    let api = api(vec![attempt(1, 1, "success", ago(60))]);
    let mut command = reconcile(&api, "--database");
    command.arg(&app.database).expect(1, "missing 1");
}

/// A list can be the input of other programs, so no line of it may be dropped.
#[test]
fn a_long_list_waits_for_its_reader() {
    let app = App::<Sqlite>::start();
    app.seed(1);
    let copies = "WITH RECURSIVE numbers(n) AS (
                SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 9999)
            INSERT INTO soundhash_events (event_key, recorded, received_at, body)
            SELECT 'x' || n, recorded, received_at, body FROM soundhash_events, numbers";
    app.execute(copies);
    let mut list = app.command("list --json --limit 20000");
    let mut list = list.stdout(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_secs(1));
    let lines = io::read_to_string(list.stdout.take().unwrap()).unwrap();
    assert_eq!(lines.lines().count(), 10_000);
    assert_eq!(list.wait().unwrap().code(), Some(0));
}

fn a_run_that_is_killed_or_interrupted_can_be_continued<DB: Fixture>() {
    let app = App::<DB>::start();
    app.seed(4);
    app.steps.lock().unwrap().insert(key(1), Step::Wait);
    let all = "run-again --since 1h --yes";
    let process = Process::start(&mut app.command(all));
    app.arrived.recv().unwrap();
    // The event is marked as forgotten, but the application has not recorded it again yet.
    process.signal("KILL");
    let _ = process.ended();
    assert_eq!(app.handled(), keys([0]));
    assert_eq!(app.json("list --forgotten")[0]["key"], "t1");
    app.has_every_body(4);
    app.steps.lock().unwrap().clear();
    app.check("run-again --forgotten | 0 | t1 | 200 OK");
    assert_eq!(app.handled(), keys([1]));

    app.steps.lock().unwrap().insert(key(1), Step::Wait);
    let mut process = Process::start(&mut app.command(all));
    app.arrived.recv().unwrap();
    process.signal("INT");
    process.wait_for_log("Waiting for the current event");
    process.signal("INT");
    let (ended, _, log) = process.ended();
    assert_eq!(ended.code(), Some(130), "{log}");
    let left =
        "Interrupted at the event t1. 2 more events were not sent. To continue, add `--after 't0' ";
    assert!(log.contains(left) && log.contains("--forgotten"), "{log}");
    app.steps.lock().unwrap().clear();
    app.check("run-again --forgotten | 0 | t1 | 200 OK");
    assert_eq!(app.handled(), keys([0, 1]));

    app.steps.lock().unwrap().insert(key(1), Step::Wait);
    let mut process = Process::start(&mut app.command(all));
    app.arrived.recv().unwrap();
    process.signal("INT");
    process.wait_for_log("Waiting for the current event");
    app.gate.notify_one();
    let (ended, lines, log) = process.ended();
    assert_eq!(ended.code(), Some(130), "{log}");
    assert_eq!(lines.len(), 2, "{lines:?}");
    let left = "2 more events were not sent. To continue, add `--after 't1' ";
    let (_, end) = log.split_once(left).expect(&log);
    let (end, _) = end.split_once('`').unwrap();
    assert_eq!(app.handled(), keys([0, 1]));
    // An event that has arrived in the meantime does not run again.
    assert_eq!(status(&deliver(&app.url, "", &body(4))), "200");
    app.events(&format!("{all} --until 0s --after t1 {end}"))
        .expect(0, "t2 | t3");
    assert_eq!(app.handled(), keys([4, 2, 3]));
    assert_eq!(app.forgotten(), 0);
    app.has_every_body(5);
}

fn deliveries_of_the_same_events_do_not_disturb_a_run<DB: Fixture>() {
    let app = App::<DB>::start();
    app.seed(30);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let is_running = |_: &usize| !stop.load(Ordering::Relaxed);
                for id in (0..30).cycle().take_while(is_running) {
                    assert_eq!(status(&deliver(&app.url, "", &body(id))), "200");
                }
            });
        }
        app.check("run-again --since 1h --yes | 0 | 30 sent in | 30 200 OK");
        stop.store(true, Ordering::Relaxed);
    });
    let mut handled = app.handled();
    handled.sort();
    let mut expected = keys(0..30);
    expected.sort();
    assert_eq!(handled, expected, "each event runs again once");
    assert_eq!(app.forgotten(), 0);
    app.has_every_body(30);
}

#[test]
fn a_forgotten_event_that_was_handled_in_the_meantime_does_not_run_again() {
    let app = App::<Sqlite>::start();
    app.seed(3);
    for id in 0..3 {
        let key = Key::new(&key(id));
        assert!(app.runtime.block_on(app.log.forget(&key)).unwrap());
    }
    app.steps.lock().unwrap().insert(key(0), Step::Wait);
    let process = Process::start(&mut app.command("run-again --forgotten --yes --json"));
    app.arrived.recv().unwrap();
    assert_eq!(status(&deliver(&app.url, "", &body(1))), "200");
    app.gate.notify_one();
    let (ended, lines, log) = process.ended();
    assert_eq!(ended.code(), Some(0), "{log}");
    assert_eq!(app.handled(), keys([1, 0, 2]));
    assert!(lines[1].contains("has been handled since"), "{lines:?}");
}

/// Row-level security, or a trigger that protects the table, leaves the row as it is without an
/// error.
#[test]
fn an_event_that_cannot_be_marked_is_not_sent() {
    let app = App::<Sqlite>::start();
    app.seed(3);
    app.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE ON soundhash_events
        BEGIN SELECT RAISE(IGNORE); END",
    );
    app.check("run-again --since 1h --yes | 1 | t0: the event could not be marked | 2 more");
    assert_eq!(app.handled(), keys([]));
}

#[test]
fn an_event_that_another_store_still_has_did_not_run() {
    let app = App::<Sqlite>::with(|app| app.layer(IdempotencyLayer::new(MemoryStore::new(100))));
    app.seed(2);
    let ran = app.events("run-again --since 1h --yes");
    ran.expect(1, "not recorded (200) | An idempotency store | 1 more");
    assert_eq!(app.forgotten(), 1);
}

/// A `SecretProvider` that names the endpoint changes the keys of all later deliveries.
#[test]
fn an_event_whose_key_has_changed_is_not_said_not_to_run() {
    let app = App::<Sqlite>::start();
    app.seed(2);
    app.runtime.block_on(async {
        let pool = Sqlite::connect(&app.database).await;
        let rename = "UPDATE soundhash_events SET event_key = 'e4:acme;' || event_key";
        sqlx::query(rename).execute(&pool).await.unwrap();
    });
    let ran = app.events("run-again --since 1h --yes").expect(
        1,
        "not recorded (200) | differently now, its handler did run | under its key. 1 more",
    );
    assert!(!ran.all().contains("not run"), "{ran:?}");
    assert_eq!(app.handled(), keys([0]));
}

/// If a `-wal` file is left, SQLite applies it to a backup that is restored.
#[test]
fn a_command_leaves_only_the_database() {
    let ((), url) = <Sqlite as Fixture>::start();
    Runtime::new().unwrap().block_on(async {
        let pool = Sqlite::connect(&url).await;
        EventLog::new(pool.clone()).migrate().await.unwrap();
        pool.close().await;
    });
    let file = Path::new(url.strip_prefix("sqlite://").unwrap());
    // Without closing the database, the outcome is a matter of chance.
    for _ in 0..5 {
        let mut list = cli!("events list");
        list.env("SOUNDHASH_WEBHOOK_DATABASE", &url).expect(0, "");
        let files = fs::read_dir(file.parent().unwrap()).unwrap();
        let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        assert_eq!(files, [file]);
    }
}

#[test]
fn a_database_that_cannot_be_used_says_why() {
    let missing = folder("events").join("missing.db");
    let (addr, file) = (closed_addr(), missing.display());
    // An application's own URL can create the file.
    let created = format!("{file}?mode=rwc");
    let rows = format!(
        "| 2 | --database | SOUNDHASH_WEBHOOK_DATABASE
        --database postgres://app:pa55word@a/app | 2 | every user of this machine | PGPASSWORD
        --database mysql://localhost/app | 2 | not a URL such as
        --database postgres://app@{addr}/app | 1 | cannot open the database | refused
        --database sqlite:{file} | 1 | cannot open the database
        --database sqlite:{created} | 1 | cannot open the database"
    );
    check(|line| bare!("events list {line}"), &rows);
    let ran = bare!("events list --database postgres://app:pa55word@a/app").reads("");
    assert!(!ran.all().contains("pa55word"), "{ran:#?}");
    assert!(!missing.exists());
}

//! How the program exits when it receives a signal or is misconfigured.

use std::{
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    thread::sleep,
    time::{Duration, Instant},
};

use soundhash_webhook_tests::{
    postgres_server::PostgresServer,
    process::{Process, signal},
    requests,
};
use sqlx::{Connection, PgConnection};

use crate::support::{SECRET, command, deliver, event, output, start};

const DATABASE: &str = "SOUNDHASH_WEBHOOK_DATABASE";

/// The URL of a port that nothing listens on. Its password must not be printed.
const REFUSED: &str = "postgres://soundhash:hunter2@127.0.0.1:1/soundhash";

fn ended_by(process: Process, signal: &str) -> (ExitStatus, String) {
    process.signal(signal);
    let (status, _, log) = process.ended();
    (status, log)
}

#[test]
fn a_signal_ends_it_while_it_connects() {
    // This server accepts connections, but never replies.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("postgres://a:b@{}/a", server.local_addr().unwrap());
    for argument in ["", "receive", "work", "given-up", "run-again"] {
        let waiting = Process::start(&mut command(argument, &silent));
        let _connection = server.accept().unwrap();
        let (status, log) = ended_by(waiting, "INT");
        // A script must not believe that the jobs run again.
        let is_done = !["given-up", "run-again"].contains(&argument);
        assert_eq!(status.success(), is_done, "{argument}: {log}");
    }
    let mut refused = Process::start(&mut command("", REFUSED));
    let line = refused.wait_for_log("refused");
    for part in [DATABASE, "127.0.0.1:1", "trying again"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!line.contains("hunter2"), "{line}");
    let (status, log) = ended_by(refused, "TERM");
    assert!(status.success(), "{log}");
}

#[tokio::test]
async fn a_signal_ends_it_while_it_migrates() {
    let postgres = PostgresServer::start();
    let mut other = PgConnection::connect(&postgres.url()).await.unwrap();
    let mut tx = other.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('soundhash inbox'))")
        .execute(&mut *tx)
        .await
        .unwrap();
    for (waiting, argument) in (1..).zip(["", "receive", "work"]) {
        let migrating = Process::start(&mut command(argument, &postgres.url()));
        // While a Postgres backend waits for a lock, it does not notice that its client process has
        // exited.
        wait_for_locks(&mut tx, waiting).await;
        let (status, log) = ended_by(migrating, "TERM");
        assert!(status.success(), "{argument}: {log}");
    }
}

/// Waits until this many sessions wait for a lock.
async fn wait_for_locks(connection: &mut PgConnection, count: i64) {
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    let start = Instant::now();
    while sqlx::query_scalar::<_, i64>(waits)
        .fetch_one(&mut *connection)
        .await
        .unwrap()
        < count
    {
        assert!(start.elapsed() < Duration::from_mins(2), "nothing waits");
        sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn an_outage_while_the_queue_migrates_is_waited_out() {
    let mut postgres = PostgresServer::start();
    drop(start("receive", &postgres.url()));
    for signal in ["INT", "QUIT"] {
        let mut other = PgConnection::connect(&postgres.url()).await.unwrap();
        let mut tx = other.begin().await.unwrap();
        let lock = "LOCK TABLE graphile_worker.migrations";
        sqlx::query(lock).execute(&mut *tx).await.unwrap();
        let mut migrating = Process::start(&mut command("receive", &postgres.url()));
        wait_for_locks(&mut tx, 1).await;
        postgres.restart(signal);
        migrating.wait_for_log("trying again");
        migrating.wait_for_log("listening");
    }
}

/// After a failover, the address can still lead to a standby for a while.
#[tokio::test]
async fn a_standby_is_waited_out() {
    let mut postgres = PostgresServer::start();
    drop(start("receive", &postgres.url()));
    postgres.restart_as(true);
    let mut waiting = Process::start(&mut command("receive", &postgres.url()));
    let line = waiting.wait_for_log("trying again");
    assert!(line.contains("read-only"), "{line}");
    postgres.restart_as(false);
    waiting.wait_for_log("listening");
}

#[tokio::test]
async fn a_second_signal_ends_it_while_it_stops() {
    let postgres = PostgresServer::start();
    let both = start("", &postgres.url());
    assert_eq!(deliver(&both, SECRET, &event("a")).await, 202);
    stop_all_backends(&postgres).await;
    let (url, event) = (both.url(), event("b"));
    let waiting = tokio::spawn(async move { requests::deliver(&url, SECRET, &event).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    both.signal("INT");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (status, log) = ended_by(both.process, "TERM");
    assert_eq!(status.signal(), Some(15), "{log}");
    assert_eq!(waiting.await.unwrap(), None);
}

#[tokio::test]
async fn one_signal_ends_it_although_the_database_hangs() {
    let postgres = PostgresServer::start();
    let both = start("", &postgres.url());
    assert_eq!(deliver(&both, SECRET, &event("a")).await, 202);
    stop_all_backends(&postgres).await;
    both.signal("TERM");
    let (status, _, log) = both.ended();
    assert!(status.success(), "{log}");
}

/// Pauses the server's processes, so that they neither reply nor exit.
async fn stop_all_backends(postgres: &PostgresServer) {
    let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
    let backends = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()
                    AND backend_type = 'client backend'";
    let backends: Vec<i32> = sqlx::query_scalar(backends)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    for backend in backends {
        signal(backend.try_into().unwrap(), "STOP");
    }
    postgres.signal("STOP");
}

#[test]
fn a_mistake_is_named_with_what_to_do() {
    let fails = |argument, database: &str, (name, value): (&str, &str), parts: &[&str]| {
        let mut command = command(argument, database);
        if !name.is_empty() {
            command.env(name, value);
        }
        let (status, stdout, log) = Process::start(&mut command).ended();
        assert_eq!(status.code(), Some(1), "{argument}: {log}");
        assert!(stdout.is_empty(), "{stdout:?}");
        for part in parts {
            assert!(log.contains(part), "`{part}` is missing: {log}");
        }
        let hidden = ["hunter2", "Configuration("];
        assert!(!hidden.iter().any(|it| log.contains(it)), "{log}");
    };
    let usual = ("", "");
    for url in ["", "hunter2", "mysql://a:hunter2@b/c"] {
        let parts = [DATABASE, "postgres://user:password@host"];
        fails("work", url, usual, &parts);
    }
    for argument in ["given-up", "run-again"] {
        let parts = [DATABASE, "127.0.0.1:1", "refused", "start"];
        fails(argument, REFUSED, usual, &parts);
    }
    fails("frobnicate", REFUSED, usual, &["frobnicate", "--help"]);
    let secret = "SOUNDHASH_WEBHOOK_SECRET";
    fails("", REFUSED, (secret, ""), &[secret, "empty"]);

    let postgres = PostgresServer::start();
    let missing = postgres.url().replace("test@", "test:hunter2@") + "-missing";
    fails("", &missing, usual, &["-missing\" does not exist"]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let addr = "SOUNDHASH_WEBHOOK_ADDR";
    for (value, part) in [(&*taken, "in use"), ("nonsense", "127.0.0.1:3000")] {
        fails("", &postgres.url(), (addr, value), &[addr, value, part]);
    }
}

#[test]
fn help_names_all_arguments_and_variables() {
    for argument in ["--help", "-h", "help"] {
        let help = output(argument, "");
        for part in "receive work given-up run-again _SECRET _ADDR _DATABASE RUST_LOG".split(' ') {
            assert!(help.contains(part), "{help}");
        }
    }
}

/// Attack: send an id that looks like a second log line or controls the terminal.
#[tokio::test]
async fn a_senders_text_stays_in_its_field() {
    let postgres = PostgresServer::start();
    let mut both = start("", &postgres.url());
    let id = "a\n2026-01-01T00:00:00Z ERROR forged: \u{1b}[2J\u{202e}key=\"b\"";
    assert_eq!(deliver(&both, SECRET, &event(id)).await, 202);
    let line = both.wait_for_log("handled");
    assert!(line.contains(r"a\n2026-01-01"), "{line}");
    assert_eq!(deliver(&both, SECRET, &event(id)).await, 200);
    both.wait_for_log("duplicate");
    let log = both.log();
    assert!(
        !log.contains("\u{1b}[2J") && !log.contains('\u{202e}'),
        "{log}"
    );
    assert!(
        !log.lines().any(|line| line.starts_with("2026-01-01")),
        "{log}"
    );

    // Failed jobs are listed one per line, even if a key contains a line break.
    let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
    let fail = "SELECT graphile_worker.add_job('soundhash_event',
                json_build_object('key', 'a\nb\u{202e}'), max_attempts => 1)";
    sqlx::query(fail).execute(&mut connection).await.unwrap();
    both.wait_for_log("not handled");
    both.wait_for_log("not in the log");
    let listed = loop {
        let listed = output("given-up", &postgres.url());
        if !listed.is_empty() {
            break listed;
        }
    };
    assert_eq!(listed.lines().count(), 1, "{listed}");
    assert!(listed.starts_with(r#""a\nb\u{202e}" 1 "#), "{listed}");
}

//! After any failure, a pooled connection is either clean or closed.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use soundhash_webhook::{
    BoxError, Delivery,
    idempotency::{Claim, IdempotencyStore, Key},
};
use soundhash_webhook_sqlx::{EventLog, EventLogError, EventLogErrorKind, Recorded, SqlxStore};
use sqlx::{Pool, Postgres, Sqlite, SqlitePool, Transaction, pool::PoolOptions};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    child::rand_below,
    fixture::{Fixture, delivery, delivery_of, log, record},
    on_both,
};

const LEASE: Duration = Duration::from_mins(1);

/// A 3 MiB file system with an event log on it.
pub(crate) struct TinyDisk {
    pub(crate) folder: PathBuf,
}

impl TinyDisk {
    /// Returns `None` if the tests may not mount a file system.
    pub(crate) fn mount() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("soundhash-webhook-disk-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let options = ["-t", "tmpfs", "-o", "size=3m,mode=777", "tmpfs"];
        // Without `sudo`, only root may mount a file system.
        for command in [&["mount"][..], &["sudo", "-n", "mount"]] {
            let mut mount = Command::new(command[0]);
            mount.args(&command[1..]).args(options).arg(&folder);
            if mount.status().is_ok_and(|status| status.success()) {
                return Some(Self { folder });
            }
        }
        assert!(
            std::env::var_os("CI").is_none(),
            "cannot mount a file system: run the tests as root"
        );
        eprintln!("skipped: only root can mount a file system");
        None
    }

    pub(crate) async fn log(&self) -> (SqlitePool, EventLog<Sqlite>) {
        let url = format!("sqlite://{}/events.db", self.folder.display());
        let pool = Sqlite::pool(&url, 5).await;
        Sqlite::prepare(&pool).await;
        let log = EventLog::new(pool.clone());
        log.migrate().await.expect("a table");
        (pool, log)
    }

    /// Fills the remaining space with another file.
    pub(crate) fn fill(&self) {
        let mut len = 1 << 20;
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("filler"))
            .expect("a file");
        while len > 0 {
            if std::io::Write::write_all(&mut file, &vec![b'x'; len]).is_err() {
                len /= 2;
            }
        }
    }

    pub(crate) fn free(&self) {
        let _ = fs::remove_file(self.folder.join("filler"));
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        for command in [&["umount"][..], &["sudo", "-n", "umount"]] {
            let mut unmount = Command::new(command[0]);
            unmount.args(&command[1..]).arg("-l").arg(&self.folder);
            if unmount.status().is_ok_and(|status| status.success()) {
                break;
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns a delivery that is large enough to need new pages in the database file.
async fn large(id: &str) -> Delivery {
    let body = serde_json::json!({"id": id, "type": "a", "data": "x".repeat(10_000)});
    delivery_of(body.to_string()).await
}

/// How a handler begins its transaction.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Begin {
    Log,
    Pool,
}

async fn begin<DB: Fixture>(
    how: Begin,
    pool: &Pool<DB>,
    log: &EventLog<DB>,
) -> Result<Transaction<'static, DB>, EventLogError> {
    match how {
        Begin::Log => log.begin().await,
        Begin::Pool => Ok(pool.begin().await?),
    }
}

/// Handles an event, and returns the first error.
async fn handle<DB: Fixture>(
    how: Begin,
    pool: &Pool<DB>,
    log: &EventLog<DB>,
    delivery: &Delivery,
) -> Result<(), EventLogError> {
    let mut tx = begin(how, pool, log).await?;
    if log.record(&mut tx, delivery).await?.is_duplicate() {
        return Ok(());
    }
    DB::act(&mut tx, Key::from(delivery).as_str()).await?;
    tx.commit().await?;
    Ok(())
}

/// Reads through a connection outside the pool.
async fn acted(pool: &SqlitePool) -> Vec<String> {
    let fresh = SqlitePool::connect_with((*pool.connect_options()).clone())
        .await
        .expect("a connection");
    Sqlite::acted(&fresh).await
}

async fn fail_on_a_full_disk(
    disk: &TinyDisk,
    how: Begin,
    pool: &SqlitePool,
    log: &EventLog<Sqlite>,
) {
    disk.fill();
    let mut failed = 0;
    for number in 0..200 {
        let delivery = large(&format!("full-{number}")).await;
        failed += usize::from(handle(how, pool, log, &delivery).await.is_err());
        if failed >= 20 {
            break;
        }
    }
    assert_eq!(failed, 20, "the disk is not full");
    disk.free();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_after_a_full_disk_is_committed_or_an_error() {
    let Some(disk) = TinyDisk::mount() else {
        return;
    };
    let (pool, log) = disk.log().await;
    let store = SqlxStore::new(log.clone());
    let key = |number: usize| Key::new(&format!("k{number}"));
    let mut tokens = Vec::new();
    for number in 0..20 {
        match store.claim(&key(number), LEASE).await.unwrap() {
            Claim::Acquired(token) => tokens.push(token),
            other => panic!("{other:?}"),
        }
    }
    fail_on_a_full_disk(&disk, Begin::Pool, &pool, &log).await;
    for (number, token) in tokens.into_iter().enumerate() {
        let completed = store.complete(&key(number), token, LEASE).await;
        if completed.is_ok() {
            let fresh = SqlitePool::connect_with((*pool.connect_options()).clone());
            let other = SqlxStore::new(EventLog::new(fresh.await.unwrap()));
            let claim = other.claim(&key(number), LEASE).await.unwrap();
            assert_eq!(claim, Claim::Completed, "{number}");
        }
    }
}

/// After any sequence of failures, the pool is still usable, and there is a row for each 200
/// response.
#[tokio::test(flavor = "multi_thread")]
async fn after_any_sequence_of_failures_the_rows_are_the_accepted_events() {
    for how in [Begin::Log, Begin::Pool] {
        let Some(disk) = TinyDisk::mount() else {
            return;
        };
        let (pool, log) = disk.log().await;
        let (mut accepted, mut hung_up, mut steps) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_full = false;
        for number in 0..200 {
            let id = format!("{number:04}");
            // The first steps fill the disk, make many deliveries fail, and free the disk again.
            let step = match number {
                0 => 0,
                1..40 => 7,
                40 => 1,
                _ => rand_below(8),
            };
            steps.push(step);
            // Every third event is large enough to need new pages in the database file.
            let delivery = match number % 3 {
                0 => large(&id).await,
                _ => delivery(&id).await,
            };
            let key = Key::from(&delivery).to_string();
            match step {
                0 => {
                    disk.fill();
                    is_full = true;
                }
                1 | 2 => {
                    disk.free();
                    is_full = false;
                }
                3 | 4 => {
                    // The handler fails, or its transaction is dropped.
                    if let Ok(mut tx) = begin(how, &pool, &log).await {
                        let _ = log.record(&mut tx, &delivery).await;
                        let _ = Sqlite::act(&mut tx, &key).await;
                        if step == 3 {
                            let failed = sqlx::query("INSERT INTO missing VALUES (1)");
                            assert!(failed.execute(&mut *tx).await.is_err());
                        }
                    }
                }
                5 => {
                    // The sender hangs up before or after the commit, and retries later.
                    let wait = Duration::from_micros(rand_below(3_000));
                    match timeout(wait, handle(how, &pool, &log, &delivery)).await {
                        Ok(Ok(())) => accepted.push(key),
                        _ => hung_up.push(delivery),
                    }
                }
                _ => match handle(how, &pool, &log, &delivery).await {
                    Ok(()) => accepted.push(key),
                    Err(error) if how == Begin::Log => {
                        assert!(is_full, "{error:?}: {steps:?}");
                        assert_eq!(error.kind(), EventLogErrorKind::StorageFull, "{error:?}");
                    }
                    Err(_) => {}
                },
            }
        }
        disk.free();
        for number in 0..5 {
            hung_up.push(delivery(&format!("end-{number}")).await);
        }
        // Transactions that the crate did not begin may fail once per connection.
        let mut failures = if how == Begin::Log { 0 } else { 5 };
        for delivery in hung_up {
            while let Err(error) = handle(how, &pool, &log, &delivery).await {
                assert_ne!(failures, 0, "{how:?}: {error:?}: {steps:?}");
                failures -= 1;
            }
            accepted.push(Key::from(&delivery).to_string());
        }
        accepted.sort();
        assert_eq!(acted(&pool).await, accepted, "{how:?}: {steps:?}");
    }
}

on_both!(
    events_succeed_after_a_deferred_constraint_failed_at_commit,
    an_event_that_its_handler_recorded_can_be_completed,
    events_succeed_on_connections_with_changed_settings,
    a_claim_whose_caller_hung_up_is_undone,
    one_connection_is_enough,
    callers_that_gave_up_leave_the_queue,
    senders_that_hang_up_close_no_connection,
);

/// Three tasks deliver each event at the same time.
async fn one_connection_is_enough<DB: Fixture>() {
    let (database, _pool, _log) = log::<DB>().await;
    let pool = DB::pool(&DB::url(&database), 1).await;
    let log = EventLog::new(pool).lock_timeout(LEASE);
    let store = SqlxStore::new(log.clone()).deadline(LEASE);
    let mut tasks = JoinSet::new();
    for task in 0..30 {
        let (log, store) = (log.clone(), store.clone());
        tasks.spawn(async move {
            let mut new = 0;
            for number in 0..6 {
                let delivery = delivery(&format!("{}-{number}", task / 3)).await;
                let is_duplicate = match (task + number) % 2 {
                    0 => record(&log, &delivery).await.unwrap().is_duplicate(),
                    _ => log.accept(&delivery).await.unwrap().is_duplicate(),
                };
                new += usize::from(!is_duplicate);
                let claim = store.claim(&Key::from(&delivery), LEASE).await.unwrap();
                assert!(matches!(claim, Claim::Completed), "{claim:?}");
            }
            new
        });
    }
    let new: usize = tasks.join_all().await.into_iter().sum();
    assert_eq!(new, 10 * 6);
}

/// Attack: repeat a recorded delivery faster than the database can begin transactions. The
/// connections must not be spent on callers that have already responded with 503.
async fn callers_that_gave_up_leave_the_queue<DB: Fixture>() {
    let (_database, pool, _log) = log::<DB>().await;
    let taken = Arc::new(AtomicU32::new(0));
    let counter = taken.clone();
    let pool = PoolOptions::<DB>::new()
        .max_connections(1)
        .before_acquire(move |_, _| {
            counter.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(true) })
        })
        .connect_with((*pool.connect_options()).clone())
        .await
        .unwrap();
    let log = EventLog::new(pool).lock_timeout(LEASE);
    let held = log.begin().await.unwrap();
    let before = taken.load(Ordering::Relaxed);
    let mut callers = JoinSet::new();
    for _ in 0..500 {
        let log = log.clone();
        let wait = Duration::from_millis(100);
        callers.spawn(async move { timeout(wait, log.begin()).await.map(drop) });
    }
    for gave_up in callers.join_all().await {
        gave_up.unwrap_err();
    }
    drop(held);
    let recorded = record(&log, &delivery("a").await).await.unwrap();
    assert_eq!(recorded, Recorded::New);
    // The callers at the head of the queue have tasks that return their connection.
    let taken = taken.load(Ordering::Relaxed) - before;
    assert!(taken < 300, "{taken}");
}

/// Attack: repeat a recorded delivery and hang up. Opening connections takes long, so honest
/// deliveries would wait.
async fn senders_that_hang_up_close_no_connection<DB: Fixture>() {
    let (_database, pool, _log) = log::<DB>().await;
    let opened = Arc::new(AtomicU32::new(0));
    let counter = opened.clone();
    let pool = PoolOptions::<DB>::new()
        .max_connections(2)
        .after_connect(move |_, _| {
            counter.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(()) })
        })
        .connect_with((*pool.connect_options()).clone())
        .await
        .unwrap();
    let log = EventLog::new(pool).lock_timeout(LEASE);
    let store = SqlxStore::new(log.clone()).deadline(LEASE);
    let old = delivery("old").await;
    assert_eq!(record(&log, &old).await.unwrap(), Recorded::New);
    for _ in 0..1_000 {
        let wait = Duration::from_micros(rand_below(2_000));
        let _ = timeout(wait, store.claim(&Key::from(&old), LEASE)).await;
        let _ = timeout(wait, log.begin()).await;
    }
    let claim = store.claim(&Key::from(&old), LEASE).await.unwrap();
    assert!(matches!(claim, Claim::Completed), "{claim:?}");
    let opened = opened.load(Ordering::Relaxed);
    assert!(opened <= 2, "{opened}");
}

async fn three_more<DB: Fixture>(log: &EventLog<DB>, pool: &Pool<DB>) {
    for id in ["x", "y", "z"] {
        handle(Begin::Log, pool, log, &delivery(id).await)
            .await
            .unwrap();
    }
    let acted = DB::acted(pool).await;
    assert_eq!(
        acted
            .iter()
            .filter(|key| key.ends_with(['x', 'y', 'z']))
            .count(),
        3
    );
}

async fn few_connections<DB: Fixture>() -> (DB::Database, Pool<DB>, EventLog<DB>) {
    let (database, _pool, _log) = log::<DB>().await;
    let pool = DB::pool(&DB::url(&database), 2).await;
    (database, pool.clone(), EventLog::new(pool))
}

async fn events_succeed_after_a_deferred_constraint_failed_at_commit<DB: Fixture>() {
    let (_database, pool, log) = few_connections::<DB>().await;
    let tables = "CREATE TABLE a (id integer PRIMARY KEY);
        CREATE TABLE b (id integer REFERENCES a DEFERRABLE INITIALLY DEFERRED)";
    DB::run(&pool, tables).await.unwrap();
    for how in [Begin::Log, Begin::Pool] {
        for id in ["a", "b"] {
            let mut tx = begin(how, &pool, &log).await.unwrap();
            let _ = log.record(&mut tx, &delivery(id).await).await.unwrap();
            DB::run_on(&mut tx, "INSERT INTO b VALUES (7)")
                .await
                .unwrap();
            tx.commit().await.expect_err("the constraint fails");
        }
    }
    three_more(&log, &pool).await;
}

/// Handles an event in the given way, and returns whether it is new.
pub(crate) async fn is_new<DB: Fixture>(
    log: &EventLog<DB>,
    way: &str,
    delivery: &Delivery,
) -> Result<bool, BoxError> {
    Ok(match way {
        "record" => !record(log, delivery).await?.is_duplicate(),
        "accept" => !log.accept(delivery).await?.is_duplicate(),
        _ => {
            let store = SqlxStore::new(log.clone());
            let claim = store.claim(&Key::from(delivery), LEASE).await?;
            matches!(claim, Claim::Acquired(_))
        }
    })
}

async fn events_succeed_on_connections_with_changed_settings<DB: Fixture>() {
    let (database, pool, log) = few_connections::<DB>().await;
    let others = EventLog::new(DB::pool(&DB::url(&database), 1).await);
    let settings: &[&str] = match DB::IS_SQLITE {
        true => &["PRAGMA query_only = TRUE", "BEGIN"],
        false => &[
            "SET default_transaction_read_only = on",
            "SET search_path = pg_catalog",
            "SET ROLE pg_monitor",
            "SET SESSION AUTHORIZATION pg_monitor",
            "SET statement_timeout = '1ms'",
            "BEGIN",
            "BEGIN; SELECT 1 / 0",
        ],
    };
    if !DB::IS_SQLITE {
        let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
                AS 'BEGIN PERFORM pg_sleep(0.03); RETURN new; END';
            CREATE TRIGGER slow BEFORE INSERT ON soundhash_events
                FOR EACH ROW EXECUTE FUNCTION slow()";
        DB::run(&pool, slow).await.unwrap();
    }
    for sql in settings {
        for way in ["record", "accept", "claim"] {
            // On Postgres, the store does not notice a `BEGIN` in the user's own SQL.
            if (*sql, way, DB::IS_SQLITE) == ("BEGIN", "claim", false) {
                break;
            }
            let mut both = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
            for connection in &mut both {
                // The previous round's transaction may still be open.
                let _ = DB::run_on(&mut *connection, sql).await;
            }
            drop(both);
            while pool.num_idle() < 2 {
                sleep(Duration::from_millis(5)).await;
            }
            let delivery = delivery(&format!("{way}-{sql}")).await;
            let handled = is_new(&log, way, &delivery).await;
            assert!(
                matches!(handled, Ok(true)),
                "{way} after {sql}: {handled:?}"
            );
            let committed = others.get(&Key::from(&delivery)).await.unwrap();
            assert!(committed.is_some() || way == "claim", "{way} after {sql}");
        }
    }
    three_more(&log, &pool).await;
}

/// A handler can record its event in the table of the store that guards it.
async fn an_event_that_its_handler_recorded_can_be_completed<DB: Fixture>() {
    let (_database, _pool, log) = log::<DB>().await;
    let (store, delivery) = (SqlxStore::new(log.clone()), delivery("a").await);
    let key = Key::from(&delivery);
    let Claim::Acquired(token) = store.claim(&key, LEASE).await.unwrap() else {
        panic!("not acquired");
    };
    assert!(is_new(&log, "accept", &delivery).await.unwrap());
    let copy = store.claim(&key, LEASE).await.unwrap();
    assert!(matches!(copy, Claim::Completed), "{copy:?}");
    assert!(store.complete(&key, token, LEASE).await.unwrap());
}

/// SQLite opens a file that it may not write to for reading. This does not change when the file's
/// permissions do.
#[tokio::test]
async fn a_connection_that_was_opened_without_permission_to_write_is_replaced() {
    let (_database, pool, _log) = log::<Sqlite>().await;
    let options = (*pool.connect_options()).clone();
    for way in ["record", "accept", "claim"] {
        let read_only = options.clone().read_only(true);
        let one = PoolOptions::<Sqlite>::new().max_connections(1);
        let pool = one.connect_with(read_only).await.unwrap();
        let (log, delivery) = (EventLog::new(pool.clone()), delivery(way).await);
        is_new(&log, way, &delivery).await.unwrap_err();
        pool.set_connect_options(options.clone());
        assert!(is_new(&log, way, &delivery).await.unwrap(), "{way}");
    }
}

/// A constraint on the user's table rolls back the whole transaction.
#[tokio::test(flavor = "multi_thread")]
async fn events_succeed_after_a_constraint_rolled_back() {
    let (_database, pool, log) = few_connections::<Sqlite>().await;
    let table = "CREATE TABLE once (id integer UNIQUE ON CONFLICT ROLLBACK);
        INSERT INTO once VALUES (1)";
    Sqlite::run(&pool, table).await.unwrap();
    for how in [Begin::Log, Begin::Pool, Begin::Log] {
        if let Ok(mut tx) = begin(how, &pool, &log).await
            && log.record(&mut tx, &delivery("a").await).await.is_ok()
        {
            let failed = Sqlite::run_on(&mut tx, "INSERT INTO once VALUES (1)").await;
            assert!(failed.is_err());
            // The handler ignores the error. None of its statements may be committed on their own.
            let again = log.record(&mut tx, &delivery("b").await).await;
            assert!(again.is_err(), "recorded outside of a transaction");
        }
    }
    three_more(&log, &pool).await;
    assert!(
        log.get(&Key::from(&delivery("b").await))
            .await
            .unwrap()
            .is_none()
    );
}

async fn a_claim_whose_caller_hung_up_is_undone<DB: Fixture>() {
    let (_database, _pool, log) = log::<DB>().await;
    let store = SqlxStore::new(log.clone());
    for micros in (0..3_000).step_by(60) {
        let key = Key::new(&format!("dropped-{micros}"));
        let claim = store.claim(&key, LEASE);
        if timeout(Duration::from_micros(micros), claim).await.is_ok() {
            continue;
        }
        let again = timeout(Duration::from_secs(10), async {
            loop {
                match store.claim(&key, LEASE).await.unwrap() {
                    Claim::Acquired(_) => break,
                    _ => sleep(Duration::from_millis(20)).await,
                }
            }
        });
        again
            .await
            .expect("the claim is undone long before its lease ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_waits_return_their_connections() {
    let (_database, pool, log) = log::<Postgres>().await;
    let log = log.lock_timeout(Duration::from_mins(5));
    let delivery = delivery("a").await;
    let mut first = log.begin().await.unwrap();
    let _ = log.record(&mut first, &delivery).await.unwrap();
    for _ in 0..5 {
        let mut second = log.begin().await.unwrap();
        let waiting = log.record(&mut second, &delivery);
        assert!(timeout(Duration::from_millis(200), waiting).await.is_err());
    }
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let none = timeout(Duration::from_secs(30), async {
        while sqlx::query_scalar::<_, i64>(waiting)
            .fetch_one(&pool)
            .await
            .unwrap()
            > 0
        {
            sleep(Duration::from_millis(50)).await;
        }
    });
    none.await.expect("the server stops waiting");
    // The first transaction is not affected.
    Postgres::act(&mut first, "a").await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(Postgres::acted(&pool).await, ["a"]);
}

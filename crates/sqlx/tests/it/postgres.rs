//! Behavior that is specific to Postgres.

use std::time::{Duration, SystemTime};

use soundhash_webhook::idempotency::{Claim, IdempotencyStore, Key};
use soundhash_webhook_sqlx::{Accepted, EventLog, EventLogErrorKind, Recorded, SqlxStore};
use soundhash_webhook_tests::proxy::HangingProxy;
use sqlx::{
    Connection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::fixture::{Fixture, PostgresDatabase, delivery, log, open, record};

const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn the_lock_timeout_of_the_caller_is_restored() {
    let (_database, _pool, log) = log::<Postgres>().await;
    let a = delivery("a").await;
    for commit in [false, true] {
        let mut first = log.begin().await.unwrap();
        assert_eq!(log.record(&mut first, &a).await.unwrap(), Recorded::New);
        let mut tx = log.begin().await.unwrap();
        Postgres::run_on(&mut tx, "SET LOCAL lock_timeout = '77ms'")
            .await
            .unwrap();
        let end = async {
            sleep(Duration::from_millis(300)).await;
            match commit {
                true => first.commit().await,
                false => first.rollback().await,
            }
        };
        // `record` waits for longer than the caller's own `lock_timeout`.
        let (recorded, ended) = tokio::join!(log.record(&mut tx, &a), end);
        ended.unwrap();
        assert_eq!(recorded.unwrap().is_duplicate(), commit);
        let left = sqlx::query_scalar("SHOW lock_timeout").fetch_one(&mut *tx);
        let left: String = left.await.unwrap();
        assert_eq!(left, "77ms");
        tx.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn a_record_can_be_made_in_a_nested_transaction() {
    let (_database, pool, log) = log::<Postgres>().await;
    let mut tx = log.begin().await.unwrap();
    let mut nested = tx.begin().await.unwrap();
    let _ = log.record(&mut nested, &delivery("a").await).await.unwrap();
    Postgres::act(&mut nested, "a").await.unwrap();
    nested.rollback().await.unwrap();
    let recorded = log.record(&mut tx, &delivery("a").await).await.unwrap();
    assert!(!recorded.is_duplicate());
    tx.commit().await.unwrap();
    assert_eq!(Postgres::acted(&pool).await, [""; 0]);
}

#[tokio::test]
async fn a_timeout_in_a_nested_transaction_does_not_affect_the_outer_one() {
    let (_database, pool, log) = log::<Postgres>().await;
    let log = log.lock_timeout(Duration::from_millis(100));
    let mut holder = log.begin().await.unwrap();
    let _ = log.record(&mut holder, &delivery("a").await).await.unwrap();

    let mut tx = log.begin().await.unwrap();
    sqlx::query("SET LOCAL lock_timeout = '77ms'")
        .execute(&mut *tx)
        .await
        .unwrap();
    let mut nested = tx.begin().await.unwrap();
    let late = log.record(&mut nested, &delivery("a").await).await;
    assert_eq!(late.unwrap_err().kind(), EventLogErrorKind::LockTimeout);
    nested.rollback().await.unwrap();
    let left: String = sqlx::query_scalar("SHOW lock_timeout")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    assert_eq!(left, "77ms");
    let _ = log.record(&mut tx, &delivery("b").await).await.unwrap();
    Postgres::act(&mut tx, "b").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(Postgres::acted(&pool).await, ["b"]);
}

/// Runs two concurrent transactions at this isolation level, and returns the result of the second.
async fn second_at(level: &'static str, commit: bool) -> Result<Recorded, EventLogErrorKind> {
    let (_database, pool, log) = log::<Postgres>().await;
    let delivery = delivery("a").await;
    let begin = format!("BEGIN ISOLATION LEVEL {level}");
    let mut first = pool
        .begin_with(sqlx::AssertSqlSafe(begin.clone()))
        .await
        .unwrap();
    let _ = log.record(&mut first, &delivery).await.unwrap();
    let waiting = tokio::spawn({
        let (pool, log, delivery) = (pool.clone(), log.clone(), delivery.clone());
        async move {
            let mut second = pool.begin_with(sqlx::AssertSqlSafe(begin)).await.unwrap();
            // The second transaction takes its snapshot before the first one ends.
            let recorded = log.record(&mut second, &delivery).await;
            let recorded = recorded.map_err(|error| error.kind())?;
            second.commit().await.unwrap();
            Ok(recorded)
        }
    });
    Postgres::wait_for_contention(&pool).await;
    assert!(!waiting.is_finished(), "it does not wait at {level}");
    if commit {
        first.commit().await.unwrap();
    } else {
        first.rollback().await.unwrap();
    }
    let learned = waiting.await.unwrap();
    // In every case, the event is recorded exactly once.
    let third = record(&log, &delivery).await.unwrap();
    assert_eq!(third, Recorded::Duplicate);
    learned
}

#[tokio::test]
async fn at_stricter_isolation_levels_a_concurrent_duplicate_is_a_conflict() {
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let learned = second_at(level, true).await;
        assert_eq!(learned, Err(EventLogErrorKind::Conflict), "{level}");
        assert_eq!(second_at(level, false).await, Ok(Recorded::New), "{level}");
    }
}

/// Creates a pool whose transactions are serializable by default.
async fn serializable() -> (PostgresDatabase, PgPool) {
    let database = Postgres::create().await;
    let set = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation
        = serializable', current_database()); END $$";
    let url = Postgres::url(&database);
    let pool = <Postgres as Fixture>::pool(&url, 1).await;
    Postgres::run(&pool, set).await.unwrap();
    (database, <Postgres as Fixture>::pool(&url, 13).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn serializable_steps_do_not_fail_because_of_other_events() {
    const LEASE: Duration = Duration::from_mins(1);

    let (_database, pool) = serializable().await;
    let log = EventLog::new(pool);
    log.migrate().await.unwrap();
    let mut tasks = JoinSet::new();
    for task in 0..12 {
        let log = log.clone();
        let store = SqlxStore::new(log.clone()).deadline(LEASE);
        tasks.spawn(async move {
            for number in 0..40 {
                let delivery = delivery(&format!("{task}-{number}")).await;
                let key = Key::from(&delivery);
                if task == 0 {
                    log.purge(SystemTime::UNIX_EPOCH).await.unwrap();
                } else if task % 3 == 0 {
                    assert_eq!(log.accept(&delivery).await.unwrap(), Accepted::New);
                } else {
                    let claim = store.claim(&key, LEASE).await.unwrap();
                    let Claim::Acquired(token) = claim else {
                        panic!("a new key cannot be claimed: {claim:?}");
                    };
                    assert!(store.complete(&key, token, LEASE).await.unwrap());
                }
                assert_eq!(store.forget(&key).await.unwrap(), task > 0);
            }
        });
    }
    tasks.join_all().await;
}

/// A conflict can recur as long as both transactions are serializable.
#[tokio::test]
async fn steps_that_conflict_are_retried_at_read_committed() {
    const LEASE: Duration = Duration::from_mins(1);

    let (_database, pool) = serializable().await;
    let log = EventLog::new(pool.clone());
    log.migrate().await.unwrap();
    let conflict = "CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF current_setting('transaction_isolation') = 'serializable' THEN
            RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001';
        END IF;
        RETURN NULL;
    END $$";
    Postgres::run(&pool, conflict).await.unwrap();
    let trigger = "CREATE TRIGGER conflict BEFORE INSERT OR UPDATE OR DELETE ON soundhash_events
        EXECUTE FUNCTION conflict()";
    Postgres::run(&pool, trigger).await.unwrap();

    let store = SqlxStore::new(log.clone());
    let (one, other) = (delivery("a").await, delivery("b").await);
    let both = tokio::join!(log.accept(&one), log.accept(&other));
    assert_eq!(both.0.unwrap(), Accepted::New);
    assert_eq!(both.1.unwrap(), Accepted::New);
    assert_eq!(log.accept(&one).await.unwrap(), Accepted::Duplicate);
    let key = Key::from(&delivery("c").await);
    let Claim::Acquired(token) = store.claim(&key, LEASE).await.unwrap() else {
        panic!("a new key cannot be claimed");
    };
    assert!(store.complete(&key, token, LEASE).await.unwrap());
    assert!(store.forget(&key).await.unwrap());
    assert_eq!(log.purge(SystemTime::now()).await.unwrap(), 3);
}

#[tokio::test]
async fn a_serializable_event_that_another_transaction_records_is_a_duplicate() {
    let (_database, pool) = serializable().await;
    let log = EventLog::new(pool);
    log.migrate().await.unwrap();
    let delivery = delivery("a").await;
    let mut first = log.begin().await.unwrap();
    let _ = log.record(&mut first, &delivery).await.unwrap();
    let commit = async {
        sleep(Duration::from_millis(300)).await;
        first.commit().await
    };
    let (accepted, committed) = tokio::join!(log.accept(&delivery), commit);
    committed.unwrap();
    assert_eq!(accepted.unwrap(), Accepted::Duplicate);
}

/// Every process has begun its migration by the time the first one applies it.
#[tokio::test]
async fn processes_can_migrate_at_once_if_transactions_are_serializable() {
    let (_database, pool) = serializable().await;
    let log = EventLog::new(pool.clone());
    let logs = [log.clone(), log.clone().schema("Hooks").unwrap()];
    let mut lock = pool.begin().await.unwrap();
    let take = "SELECT pg_advisory_xact_lock(hashtextextended('soundhash_webhook', 0))";
    Postgres::run_on(&mut lock, take).await.unwrap();
    let mut processes = JoinSet::new();
    for log in logs.iter().cycle().take(10) {
        let log = log.clone();
        processes.spawn(async move { log.migrate().await });
    }
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let all_wait = timeout(Duration::from_mins(1), async {
        while sqlx::query_scalar::<_, i64>(waiting)
            .fetch_one(&pool)
            .await
            .unwrap()
            < 10
        {
            sleep(Duration::from_millis(20)).await;
        }
    });
    all_wait.await.expect("every migration waits for the lock");
    lock.rollback().await.unwrap();
    for migrated in processes.join_all().await {
        migrated.unwrap();
    }
}

/// Attack: repeat a recorded delivery. If each copy wrote to the event's row, all connections would
/// wait for each other's commits.
#[tokio::test]
async fn a_duplicate_writes_nothing_until_its_retention_has_to_be_renewed() {
    let (_database, pool, log) = log::<Postgres>().await;
    let store = SqlxStore::new(log);
    let key = Key::from(&delivery("a").await);
    let Claim::Acquired(token) = store.claim(&key, PATIENCE).await.unwrap() else {
        panic!("a new key cannot be claimed");
    };
    let hours = |hours| Duration::from_hours(hours);
    assert!(store.complete(&key, token, hours(24)).await.unwrap());
    let version = async || -> (String, f64) {
        let row = "SELECT xmin::text, extract(epoch FROM claimed_until - now())::float8 / 3600
            FROM soundhash_events";
        sqlx::query_as(row).fetch_one(&pool).await.unwrap()
    };
    let before = version().await;
    for _ in 0..3 {
        let claim = store.claim(&key, PATIENCE).await.unwrap();
        assert!(matches!(claim, Claim::Completed), "{claim:?}");
    }
    assert_eq!(version().await.0, before.0);

    let pass = "UPDATE soundhash_events SET claimed_until = claimed_until - interval '1 hour'";
    sqlx::query(pass).execute(&pool).await.unwrap();
    let claim = store.claim(&key, PATIENCE).await.unwrap();
    assert!(matches!(claim, Claim::Completed), "{claim:?}");
    let (_, left) = version().await;
    assert!((23.9..=24.0).contains(&left), "{left}");
}

/// Waits until this many connections wait for a lock on the table.
async fn wait_for_the_table(pool: &PgPool, connections: u32) {
    // The databases of other tests have tables with the same OID.
    let waiting = "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
        WHERE NOT granted AND relation = 'soundhash_events'::regclass
        AND datname = current_database()";
    let count = async || -> i64 { sqlx::query_scalar(waiting).fetch_one(pool).await.unwrap() };
    while count().await < i64::from(connections) {
        sleep(Duration::from_millis(10)).await;
    }
}

/// Locks the table until the transaction ends.
async fn lock_the_table(pool: &PgPool) -> Transaction<'static, Postgres> {
    let mut tx = pool.begin().await.unwrap();
    let lock = "LOCK TABLE soundhash_events";
    Postgres::run_on(&mut tx, lock).await.unwrap();
    tx
}

/// Connects to a database through a proxy whose connections can be made to hang.
async fn connect_through_proxy(
    database: &PostgresDatabase,
    pool: PgPoolOptions,
) -> (HangingProxy, PgPool) {
    let options: PgConnectOptions = Postgres::url(database).parse().unwrap();
    let proxy = HangingProxy::start(options.get_port()).await;
    let pool = pool.connect_with(options.port(proxy.port)).await;
    (proxy, pool.unwrap())
}

/// A proxy loses its server, but keeps its clients' connections open.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_hang_are_replaced() {
    const CONNECTIONS: u32 = 5;
    let (database, direct, _log) = log::<Postgres>().await;
    let options = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .min_connections(CONNECTIONS);
    let (proxy, pool) = connect_through_proxy(&database, options).await;
    let log = EventLog::new(pool.clone()).lock_timeout(Duration::from_secs(1));
    let store = SqlxStore::new(log.clone()).deadline(Duration::from_secs(20));
    open(&pool, CONNECTIONS).await;

    // First, the connections hang while all of them are idle in the pool.
    proxy.hang();
    let accepted = log
        .clone()
        .lock_timeout(PATIENCE)
        .accept(&delivery("a").await)
        .await;
    assert_eq!(accepted.unwrap(), Accepted::New);

    // Then, they hang in the middle of a statement, which waits for this lock.
    let tx = lock_the_table(&direct).await;
    let mut claims = JoinSet::new();
    for number in 0..CONNECTIONS {
        let (store, delivery) = (store.clone(), delivery(&number.to_string()).await);
        claims.spawn(async move { store.claim(&Key::from(&delivery), PATIENCE).await });
    }
    wait_for_the_table(&direct, CONNECTIONS).await;
    proxy.hang();
    tx.rollback().await.unwrap();
    for claim in claims.join_all().await {
        claim.unwrap_err();
    }
    let mut tx = log.begin().await.unwrap();
    let recorded = log.record(&mut tx, &delivery("b").await).await;
    assert_eq!(recorded.unwrap(), Recorded::New);
    tx.commit().await.unwrap();
}

/// The server goes on with a statement whose connection was closed. If the pool replaced all of
/// them, it would use up the server's connections.
#[tokio::test]
async fn statements_that_hang_do_not_use_up_the_servers_connections() {
    const CONNECTIONS: u32 = 2;
    let (_database, direct, _log) = log::<Postgres>().await;
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS);
    let pool = pool.connect_with((*direct.connect_options()).clone());
    let store = SqlxStore::new(EventLog::new(pool.await.unwrap()));
    let store = store.deadline(Duration::from_secs(1));
    let tx = lock_the_table(&direct).await;
    let key = Key::new("a");
    for _ in 0..8 {
        store.forget(&key).await.unwrap_err();
    }
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
        AND datname = current_database()";
    let count: i64 = sqlx::query_scalar(waiting)
        .fetch_one(&direct)
        .await
        .unwrap();
    assert_eq!(count, i64::from(2 * CONNECTIONS));
    tx.rollback().await.unwrap();
    assert!(!store.deadline(PATIENCE).forget(&key).await.unwrap());
}

/// A server vanishes while its connections are kept, and another one takes its place.
#[tokio::test]
async fn connections_that_are_kept_are_replaced_if_their_server_has_gone() {
    const CONNECTIONS: u32 = 2;
    let (database, direct, _log) = log::<Postgres>().await;
    let options = PgPoolOptions::new().max_connections(CONNECTIONS);
    let (proxy, pool) = connect_through_proxy(&database, options).await;
    let store = SqlxStore::new(EventLog::new(pool));
    let tx = lock_the_table(&direct).await;
    let key = Key::new("a");
    let hasty = store.clone().deadline(Duration::from_secs(1));
    for _ in 0..8 {
        hasty.forget(&key).await.unwrap_err();
    }
    wait_for_the_table(&direct, 2 * CONNECTIONS).await;
    proxy.hang();
    tx.rollback().await.unwrap();
    assert!(!store.deadline(PATIENCE).forget(&key).await.unwrap());
}

/// A server vanishes while transactions begin, and a proxy keeps the connections open. Nobody waits
/// for these transactions any more when their connections are given up.
#[tokio::test]
async fn connections_that_hang_while_a_transaction_begins_are_replaced() {
    const CONNECTIONS: u32 = 2;
    let (database, direct, _log) = log::<Postgres>().await;
    let options = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .after_release(|connection, _| {
            Box::pin(async move {
                match timeout(Duration::from_secs(5), connection.ping()).await {
                    Ok(ping) => ping.map(|()| true),
                    Err(late) => Err(sqlx::Error::Io(late.into())),
                }
            })
        });
    let (proxy, pool) = connect_through_proxy(&database, options).await;
    let log = EventLog::new(pool);
    let tx = lock_the_table(&direct).await;
    let mut begins = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let log = log.clone();
        begins.spawn(async move { log.begin().await.map(drop) });
    }
    wait_for_the_table(&direct, CONNECTIONS).await;
    proxy.hang();
    tx.rollback().await.unwrap();
    // The callers, the transactions and the pings each reach their time limit.
    tokio::time::pause();
    for _ in 0..8 {
        tokio::time::advance(Duration::from_mins(1)).await;
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
    for begun in begins.join_all().await {
        begun.unwrap_err();
    }
    let recorded = record(&log.lock_timeout(PATIENCE), &delivery("a").await).await;
    assert_eq!(recorded.unwrap(), Recorded::New);
}

/// Without a limit, all connections would wait for as long as the table is locked.
#[tokio::test]
async fn a_transaction_that_cannot_begin_ends_its_wait_on_the_server() {
    let (_database, pool, log) = log::<Postgres>().await;
    let begins = ["SET lock_timeout = 0", "SET lock_timeout = '7s'"];
    for (set, shown) in begins.into_iter().zip(["0", "7s"]) {
        let options = (*pool.connect_options()).clone();
        let one = PgPoolOptions::new().max_connections(1);
        let one = one.connect_with(options).await.unwrap();
        Postgres::run(&one, set).await.unwrap();
        let mut tx = EventLog::new(one).begin().await.unwrap();
        let timeout: String = sqlx::query_scalar("SHOW lock_timeout")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        assert_eq!(timeout, shown);
    }
    let tx = lock_the_table(&pool).await;
    let (begun, waits) = tokio::join!(log.begin(), async {
        wait_for_the_table(&pool, 1).await;
        let limit = "SELECT query LIKE '%59999ms%' FROM pg_stat_activity
            WHERE wait_event_type = 'Lock' AND datname = current_database()";
        let limits: Vec<bool> = sqlx::query_scalar(limit).fetch_all(&pool).await.unwrap();
        tx.rollback().await.unwrap();
        limits
    });
    begun.unwrap();
    assert_eq!(waits, [true]);
}

/// Attack: hang up while a delivery waits for another one of the same event, when the wait is about
/// to end. The same connection then serves another delivery.
#[tokio::test]
async fn a_wait_that_was_given_up_cancels_no_other() {
    let (_database, direct, others) = log::<Postgres>().await;
    let one = PgPoolOptions::new().max_connections(1);
    let one = one.connect_with((*direct.connect_options()).clone());
    let log = EventLog::new(one.await.unwrap());
    for round in 0..5 {
        let a = delivery("a").await;
        let b = delivery(&round.to_string()).await;
        let mut first = others.begin().await.unwrap();
        let _ = others.record(&mut first, &a).await.unwrap();
        let mut second = others.begin().await.unwrap();
        let _ = others.record(&mut second, &b).await.unwrap();
        let given_up = tokio::spawn({
            let (log, a) = (log.clone(), a.clone());
            async move { record(&log, &a).await }
        });
        Postgres::wait_for_contention(&direct).await;
        given_up.abort();
        first.rollback().await.unwrap();
        let (recorded, ()) = tokio::join!(record(&log, &b), async {
            Postgres::wait_for_contention(&direct).await;
            sleep(Duration::from_millis(300)).await;
            second.rollback().await.unwrap();
        });
        assert_eq!(recorded.unwrap(), Recorded::New);
    }
}

/// A client can hang up at any point, which drops the handler. If this happens during sqlx's
/// `BEGIN`, sqlx leaves a transaction open, and later statements on that connection are never
/// committed.
#[tokio::test]
async fn a_handler_that_is_dropped_while_it_begins_leaves_no_transaction_behind() {
    let (database, _pool, log) = log::<Postgres>().await;
    // A connection with an open transaction would not count itself.
    let other = <Postgres as Fixture>::pool(&Postgres::url(&database), 1).await;
    let open = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    let count = async || -> i64 { sqlx::query_scalar(open).fetch_one(&other).await.unwrap() };
    for micros in (0..2_000).step_by(4) {
        let _ = timeout(Duration::from_micros(micros), log.begin()).await;
        // The next handler on the same connection would end a transaction that was left behind.
        let all_end = timeout(PATIENCE, async {
            while count().await > 0 {
                sleep(Duration::from_millis(1)).await;
            }
        });
        all_end.await.expect("every transaction ends");
    }
}

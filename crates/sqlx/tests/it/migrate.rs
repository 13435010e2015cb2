//! Migrations that many processes run at once, with other table names, and with minimal privileges.

use std::time::Duration;

use soundhash_webhook_sqlx::{EventLog, EventLogErrorKind, Recorded};
use sqlx::{Pool, Postgres, Sqlite};
use tokio::task::JoinSet;

use crate::{
    fixture::{Fixture, delivery, record, sqlite_options},
    on_both,
};

on_both!(
    many_processes_can_migrate_at_once,
    without_a_migration_the_error_says_so,
    a_table_of_a_later_version_stays_unchanged,
    a_table_that_was_lost_is_created_again,
    a_table_whose_migrations_are_unknown_is_kept,
);

async fn works<DB: Fixture>(log: &EventLog<DB>) {
    let recorded = record(log, &delivery("a").await).await;
    assert_eq!(recorded.unwrap(), Recorded::New);
}

async fn many_processes_can_migrate_at_once<DB: Fixture>() {
    let database = DB::create().await;
    let mut processes = JoinSet::new();
    for _ in 0..16 {
        let url = DB::url(&database);
        processes.spawn(async move {
            let log = EventLog::new(DB::pool(&url, 2).await);
            log.migrate().await.expect("a migration");
            log.migrate().await.expect("nothing to do");
        });
    }
    processes.join_all().await;
    works(&EventLog::new(DB::pool(&DB::url(&database), 2).await)).await;
}

async fn without_a_migration_the_error_says_so<DB: Fixture>() {
    let database = DB::create().await;
    let log = EventLog::new(DB::pool(&DB::url(&database), 2).await);
    let delivery = delivery("a").await;
    let error = record(&log, &delivery).await.expect_err("no table");
    assert_eq!(error.kind(), EventLogErrorKind::NotMigrated, "{error:?}");
    let error = log.accept(&delivery).await.expect_err("no table");
    assert_eq!(error.kind(), EventLogErrorKind::NotMigrated, "{error:?}");
}

/// A partial restore, or `DROP TABLE`, can lose the events.
async fn a_table_that_was_lost_is_created_again<DB: Fixture>() {
    let database = DB::create().await;
    let pool: Pool<DB> = DB::pool(&DB::url(&database), 2).await;
    let log = EventLog::new(pool.clone());
    log.migrate().await.unwrap();
    DB::run(&pool, "DROP TABLE soundhash_events").await.unwrap();
    for _ in 0..2 {
        log.migrate().await.unwrap();
    }
    works(&log).await;
}

async fn a_table_of_a_later_version_stays_unchanged<DB: Fixture>() {
    let database = DB::create().await;
    let pool: Pool<DB> = DB::pool(&DB::url(&database), 2).await;
    let log = EventLog::new(pool.clone());
    log.migrate().await.unwrap();
    DB::run(&pool, "INSERT INTO soundhash_events_migrations VALUES (99)")
        .await
        .unwrap();
    log.migrate().await.unwrap();
    works(&log).await;
}

/// Some test suites truncate all tables, and a restored dump may lack the migrations table.
async fn a_table_whose_migrations_are_unknown_is_kept<DB: Fixture>() {
    let database = DB::create().await;
    let pool: Pool<DB> = DB::pool(&DB::url(&database), 2).await;
    let log = EventLog::new(pool.clone());
    log.migrate().await.unwrap();
    works(&log).await;
    let table = "soundhash_events_migrations";
    for sql in [
        format!("DELETE FROM {table}"),
        format!("DROP TABLE {table}"),
    ] {
        DB::run(&pool, sql.leak()).await.unwrap();
        log.migrate().await.unwrap();
        log.migrate().await.unwrap();
        let again = record(&log, &delivery("a").await).await;
        assert_eq!(again.unwrap(), Recorded::Duplicate);
    }
}

#[tokio::test]
async fn a_database_that_cannot_store_all_text_is_rejected() {
    let database = Postgres::create().await;
    let pool = Postgres::pool(&Postgres::url(&database), 1).await;
    let name: String = sqlx::query_scalar("SELECT current_database() || '_latin1'")
        .fetch_one(&pool)
        .await
        .unwrap();
    let create = format!(
        "CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    );
    Postgres::run(&pool, create.leak()).await.unwrap();
    let options = (*pool.connect_options()).clone().database(&name);
    let log = EventLog::new(sqlx::PgPool::connect_with(options).await.unwrap());
    let error = log.migrate().await.expect_err("another encoding");
    assert_eq!(error.kind(), EventLogErrorKind::Encoding, "{error:?}");
    assert!(error.to_string().contains("ENCODING 'UTF8'"), "{error}");
}

/// Without this check, an event could be recorded in the private database of one connection, which
/// is lost with the connection.
#[tokio::test]
async fn an_in_memory_database_is_only_for_one_connection_that_stays_open() {
    let kept = || {
        let options = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
        options.idle_timeout(None).max_lifetime(None)
    };
    let rejected = Some(EventLogErrorKind::InMemory);
    for url in ["sqlite:", "sqlite::memory:", "sqlite://?mode=memory"] {
        for (options, kind) in [
            (kept().max_connections(2), rejected),
            (kept().idle_timeout(Duration::from_hours(1)), rejected),
            (kept().max_lifetime(Duration::from_hours(1)), rejected),
            (kept(), None),
        ] {
            let pool = options.connect(url).await.unwrap();
            let migrated = EventLog::new(pool).migrate().await;
            assert_eq!(migrated.err().map(|error| error.kind()), kind, "{url}");
        }
    }
}

#[tokio::test]
async fn a_role_without_the_right_to_create_can_start() {
    let database = Postgres::create().await;
    let url = Postgres::url(&database);
    let pool = Postgres::pool(&url, 2).await;
    EventLog::new(pool.clone())
        .schema("Hooks")
        .unwrap()
        .migrate()
        .await
        .unwrap();
    // The tests share the server, and roles are server-wide, so the name must be unique.
    let role = format!("app_{}", url.rsplit_once('/').unwrap().1);
    let grant = format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA \"Hooks\" TO {role}; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \"Hooks\" TO {role}"
    );
    Postgres::run(&pool, grant.leak()).await.unwrap();
    let url = url.replace("test@", &format!("{role}@"));
    let log = EventLog::new(Postgres::pool(&url, 2).await)
        .schema("Hooks")
        .unwrap();
    log.migrate().await.unwrap();
    works(&log).await;
}

#[tokio::test]
async fn a_schema_on_sqlite_is_an_attached_file() {
    let database = Sqlite::create().await;
    let attach = format!("ATTACH '{}/more.db' AS more", database.folder.display());
    let pool = sqlx::sqlite::SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(sqlite_options(&Sqlite::url(&database)))
        .await
        .unwrap();
    Sqlite::run(&pool, attach.leak()).await.unwrap();
    let log = EventLog::new(pool).schema("more").unwrap();
    log.migrate().await.unwrap();
    log.migrate().await.unwrap();
    works(&log).await;
}

#[tokio::test]
async fn a_name_that_would_need_quoting_is_an_error() {
    let database = Sqlite::create().await;
    let log = EventLog::new(Sqlite::pool(&Sqlite::url(&database), 1).await);
    let [longest, too_long] = [48, 49].map(|len| "x".repeat(len));
    for name in ["_e", "Events2", &longest] {
        assert!(log.clone().table(name).is_ok(), "{name}");
    }
    for name in [
        "",
        "a b",
        "a\"; DROP TABLE acted; --",
        "a.b",
        "a\0",
        "1st",
        "é",
        &too_long,
    ] {
        let error = log.clone().table(name).expect_err(name);
        assert_eq!(error.kind(), EventLogErrorKind::InvalidName);
        assert!(log.clone().schema(name).is_err());
    }
}

//! PgBouncer in front of Postgres. The tests are skipped if it is not installed.

use std::{env, fs, os::unix::fs::MetadataExt, process::Command, time::Duration};

use soundhash_webhook::idempotency::{Claim, IdempotencyStore, Key};
use soundhash_webhook_sqlx::{EventLog, EventLogErrorKind, SqlxStore};
use soundhash_webhook_tests::proxy::Proxy;
use sqlx::{PgPool, Postgres};
use tokio::task::JoinSet;

use crate::fixture::{Fixture, delivery};

const PATIENCE: Duration = Duration::from_mins(1);

/// Returns PgBouncer's version, such as `[1, 18]`, or `None` if it is not installed.
fn version() -> Option<Vec<u32>> {
    let Ok(output) = Command::new("pgbouncer").arg("--version").output() else {
        assert!(env::var_os("CI").is_none(), "pgbouncer is not installed");
        eprintln!("skipped: pgbouncer is not installed (apt-get install pgbouncer)");
        return None;
    };
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = output.split_whitespace().nth(1).expect("PgBouncer 1.2.3");
    Some(
        version
            .split('.')
            .map_while(|part| part.parse().ok())
            .collect(),
    )
}

/// Starts PgBouncer in front of the database at `url`, and returns PgBouncer's own URL.
fn start(url: &str, settings: &str) -> (Proxy, String) {
    let (server, database) = url.rsplit_once('/').expect("the name of a database");
    let (_, server_port) = server.rsplit_once(':').expect("a port");
    let bouncer = Proxy::start(|folder, addr| {
        fs::write(folder.join("users"), "\"test\" \"\"\n").expect("a file");
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={server_port}\n[pgbouncer]\n\
             listen_addr = {ip}\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {folder}/users\ndefault_pool_size = 5\n\
             ignore_startup_parameters = extra_float_digits\n{settings}\n",
            ip = addr.ip(),
            port = addr.port(),
            folder = folder.display(),
        );
        let mut command = Command::new("pgbouncer");
        if folder.metadata().expect("a folder").uid() == 0 {
            command.args(["-u", "postgres"]);
        }
        (command, config)
    });
    let bouncer = bouncer.expect("pgbouncer starts");
    let url = format!(
        "{}/{database}",
        bouncer.url.replace("http://", "postgres://test@")
    );
    (bouncer, url)
}

/// Handles many events concurrently, using both `record` and `accept`, and returns the kinds of the
/// errors.
async fn handle_events(pool: &PgPool, direct: &PgPool) -> Vec<EventLogErrorKind> {
    let log = EventLog::new(pool.clone());
    let mut events = JoinSet::new();
    for number in 0..60 {
        let (log, delivery) = (log.clone(), delivery(&format!("{number:02}")).await);
        events.spawn(async move {
            let key = Key::from(&delivery);
            let handled = async {
                let mut tx = log.begin().await?;
                let is_new = !log.record(&mut tx, &delivery).await?.is_duplicate();
                Postgres::act(&mut tx, key.as_str()).await?;
                tx.commit().await?;
                assert!(is_new, "{key}");
                assert!(log.accept(&delivery).await?.is_duplicate(), "{key}");
                Ok::<_, soundhash_webhook_sqlx::EventLogError>(())
            };
            (key.to_string(), handled.await.map_err(|error| error.kind()))
        });
    }
    let (mut accepted, mut kinds) = (Vec::new(), Vec::new());
    for (key, handled) in events.join_all().await {
        match handled {
            Ok(()) => accepted.push(key),
            Err(kind) => kinds.push(kind),
        }
    }
    let acted = Postgres::acted(direct).await;
    println!(
        "{} accepted, {} rows, {kinds:?}",
        accepted.len(),
        acted.len()
    );
    for key in &accepted {
        assert_eq!(acted.iter().filter(|it| *it == key).count(), 1, "{key}");
    }
    kinds
}

/// Returns a pool that connects directly, and one that connects through PgBouncer with these
/// settings.
async fn setup(settings: &str) -> (<Postgres as Fixture>::Database, PgPool, Proxy, PgPool) {
    let database = Postgres::create().await;
    let url = Postgres::url(&database);
    let direct = Postgres::pool(&url, 2).await;
    Postgres::prepare(&direct).await;
    let (bouncer, url) = start(&url, settings);
    let pool = Postgres::pool(&url, 5).await;
    (database, direct, bouncer, pool)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_session_mode_is_supported() {
    if version().is_none() {
        return;
    }
    let (_database, direct, _bouncer, pool) = setup("pool_mode = session").await;
    let log = EventLog::new(pool.clone());
    log.migrate().await.unwrap();
    assert_eq!(handle_events(&pool, &direct).await, []);
    let claim = SqlxStore::new(log).claim(&Key::new("new"), PATIENCE).await;
    assert!(matches!(claim, Ok(Claim::Acquired(_))), "{claim:?}");
}

/// PgBouncer has supported prepared statements since version 1.21.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_mixes_up_prepared_statements_is_rejected() {
    let Some(version) = version() else {
        return;
    };
    let knows_statements = version >= vec![1, 21];
    let disabled = match knows_statements {
        true => "pool_mode = transaction\nmax_prepared_statements = 0",
        false => "pool_mode = transaction",
    };
    let (_database, direct, _bouncer, pool) = setup(disabled).await;
    // sqlx names its statements even without the cache.
    for capacity in [100, 0] {
        let options = (*pool.connect_options()).clone();
        let options = options.statement_cache_capacity(capacity);
        let pool = PgPool::connect_with(options).await.unwrap();
        let error = EventLog::new(pool).migrate().await.unwrap_err();
        let kind = EventLogErrorKind::PreparedStatements;
        assert_eq!(error.kind(), kind, "{capacity}: {error:?}");
        assert!(
            error.to_string().contains("`max_prepared_statements`"),
            "{error}"
        );
    }
    // Another program may have migrated the table through a direct connection.
    EventLog::new(direct.clone()).migrate().await.unwrap();
    let kinds = handle_events(&pool, &direct).await;
    assert!(
        kinds.contains(&EventLogErrorKind::PreparedStatements),
        "{kinds:?}"
    );

    if knows_statements {
        let enabled = "pool_mode = transaction\nmax_prepared_statements = 100";
        let (_database, direct, _bouncer, pool) = setup(enabled).await;
        EventLog::new(pool.clone()).migrate().await.unwrap();
        assert_eq!(handle_events(&pool, &direct).await, []);
    }
}

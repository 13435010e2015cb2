//! Tests the server settings and user permissions that `connect` checks.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use redis::{Client, aio::MultiplexedConnection, cmd};
use soundhash_webhook::{
    idempotency::{IdempotencyLayer, Key},
    testing::store_conformance,
};
use soundhash_webhook_redis::RedisStore;
use soundhash_webhook_tests::{
    idempotency::{DUPLICATE, IN_PROGRESS, RUN, STORE_UNAVAILABLE, app, event, send},
    log::Log,
    redis_server::RedisServer,
};
use tokio::time::sleep;
use tracing::Level;

const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a server and opens a connection for changing its settings.
async fn server() -> (RedisServer, MultiplexedConnection) {
    let server = RedisServer::start();
    let client = Client::open(server.url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    (server, connection)
}

async fn run(connection: &MultiplexedConnection, command: &str) {
    let mut words = command.split(' ');
    let mut command = cmd(words.next().unwrap());
    command.arg(words.collect::<Vec<_>>());
    command.exec_async(&mut connection.clone()).await.unwrap();
}

/// Connects as a user with the given permissions.
async fn connect_as(
    (server, connection): &(RedisServer, MultiplexedConnection),
    rights: &str,
) -> Result<RedisStore, String> {
    run(
        connection,
        &format!("ACL SETUSER webhooks reset on >password {rights}"),
    )
    .await;
    let url = server.url().replace("//", "//webhooks:password@");
    let store = RedisStore::connect(url).await;
    store
        .map_err(|error| error.to_string())
        .map(|store| store.deadline(PATIENCE))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_the_right_to_run_scripts_is_an_error() {
    let server = server().await;
    // Scripts that another user has loaded run without the right to load them.
    let _ = RedisStore::connect(server.0.url()).await.unwrap();
    for rights in [
        "~* +@all -@scripting",
        "~* +@all -script|load",
        "~* +@all -evalsha",
        "~* +evalsha +script|load +get +set +del",
    ] {
        let error = connect_as(&server, rights).await.unwrap_err();
        assert!(error.contains("grant `+evalsha +script|load "), "{error}");
        assert!(!error.contains("password"), "{error}");
    }
    // The keys can have another prefix.
    let rights = "~webhooks:* +evalsha +script|load +get +set +del +pexpire";
    let store = connect_as(&server, rights).await.unwrap();
    store_conformance(store.prefix("webhooks:")).await;
    // The permissions given in the documentation.
    let rights = "~soundhash-webhook:* +evalsha +script|load +get +set +del +pexpire";
    store_conformance(connect_as(&server, rights).await.unwrap()).await;
}

/// A server can temporarily reject the password, for example while it is being rotated, or after a
/// restart in which the server has lost the user.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_password_was_rejected_recovers() {
    let server = server().await;
    let store = connect_as(&server, "~* +@all").await.unwrap();
    let patient = app(IdempotencyLayer::new(store.clone()), || async {
        StatusCode::OK
    });
    let app = app(
        IdempotencyLayer::new(store.deadline(Duration::from_secs(1))),
        || async { StatusCode::OK },
    );
    assert_eq!(send(&patient, event("a")).await, RUN);
    run(&server.1, "ACL SETUSER webhooks resetpass >other").await;
    run(&server.1, "CLIENT KILL USER webhooks").await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        assert_eq!(send(&app, event("b")).await, STORE_UNAVAILABLE);
        sleep(Duration::from_millis(50)).await;
    }
    run(&server.1, "ACL SETUSER webhooks resetpass >password").await;
    while send(&app, event("b")).await != RUN {
        assert!(start.elapsed() < PATIENCE);
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(send(&patient, event("a")).await, DUPLICATE);
}

/// Each cluster node holds only some of the hash slots. This one holds none.
#[tokio::test]
async fn a_node_of_a_cluster_is_an_error() {
    let server = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    let error = RedisStore::connect(server.url()).await.unwrap_err();
    let advice = "use a server without `cluster-enabled yes`";
    assert!(error.to_string().contains(advice), "{error}");
    // This user may not run `INFO`.
    let client = Client::open(server.url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let rights = "~soundhash-webhook:* +evalsha +script|load +get +set +del +pexpire";
    let error = connect_as(&(server, connection), rights).await.unwrap_err();
    assert!(error.contains(advice), "{error}");
}

/// Operators and hosting providers rename commands to nothing to forbid them.
#[tokio::test]
async fn a_server_without_a_command_is_an_error() {
    for (command, reason) in [
        ("PEXPIRE", "rename-command"),
        ("EVALSHA", "rename-command"),
        ("SCRIPT", "runs no scripts"),
    ] {
        let renamed = Box::new(["--rename-command", command, ""]);
        let server = RedisServer::start_with(Box::leak(renamed));
        let error = RedisStore::connect(server.url()).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{command}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_may_evict_events_is_logged() {
    let (server, connection) = server().await;
    let log = Log::up_to(Level::WARN);
    for (policy, limit, is_logged) in [
        ("noeviction", "100mb", false),
        ("allkeys-lru", "100mb", true),
        ("volatile-ttl", "100mb", true),
        // Without a memory limit, Redis never evicts keys.
        ("allkeys-lru", "0", false),
    ] {
        run(
            &connection,
            &format!("CONFIG SET maxmemory-policy {policy}"),
        )
        .await;
        run(&connection, &format!("CONFIG SET maxmemory {limit}")).await;
        RedisStore::connect(server.url()).await.unwrap();
        let lines = log.take();
        assert_eq!(
            lines.contains("set `maxmemory-policy` to `noeviction`"),
            is_logged,
            "{lines}"
        );
        assert_eq!(lines.contains(policy), is_logged, "{lines}");
    }
}

/// When the memory is full, completed events do not run again, and new events are not acknowledged.
#[tokio::test]
async fn a_server_whose_memory_is_full_remembers_completed_events() {
    let (server, connection) = server().await;
    let fill = connection.clone();
    let handler = || async { StatusCode::OK };
    let store = RedisStore::connect(server.url())
        .await
        .unwrap()
        .deadline(PATIENCE);
    let filled = app(IdempotencyLayer::new(store.clone()), handler);
    assert_eq!(send(&filled, event("a")).await, RUN);

    run(&connection, "CONFIG SET maxmemory 1").await;
    let log = Log::up_to(Level::WARN);
    RedisStore::connect(server.url()).await.unwrap();
    let lines = log.take();
    assert!(lines.contains("raise `maxmemory`"), "{lines}");
    assert_eq!(send(&filled, event("a")).await, DUPLICATE);
    assert_eq!(send(&filled, event("b")).await, STORE_UNAVAILABLE);
    assert!(store.forget(&Key::new("ta")).await.unwrap());

    run(&connection, "CONFIG SET maxmemory 0").await;
    assert_eq!(send(&filled, event("b")).await, RUN);
    // The memory fills up while the handler is running.
    let filling = app(IdempotencyLayer::new(store), move || {
        let fill = fill.clone();
        async move {
            run(&fill, "CONFIG SET maxmemory 1").await;
            StatusCode::OK
        }
    });
    assert_eq!(send(&filling, event("c")).await, RUN);
    assert_eq!(send(&filled, event("c")).await, IN_PROGRESS);
    let left: u64 = cmd("PTTL")
        .arg("soundhash-webhook:tc")
        .query_async(&mut connection.clone())
        .await
        .unwrap();
    assert!(left > 3_600_000, "the event may run again");
}

//! Completes each SoundHash event once across a fleet of processes, using Redis or Valkey.
//!
//! [`RedisStore`] is an idempotency store for the
//! [`IdempotencyLayer`](soundhash_webhook::idempotency::IdempotencyLayer).

#![forbid(unsafe_code)]

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use redis::{
    Client, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, Script, ScriptInvocation,
    ServerErrorKind,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cmd,
};
use soundhash_webhook::{
    BoxError,
    idempotency::{Claim, ClaimToken, IdempotencyStore, Key},
};
use tokio::{runtime::Handle, sync, time::timeout};
use tracing::warn;

// A key's value is the token of its claim, or `completed` followed by its retention in
// milliseconds. Redis itself expires the key. Each step is a single script, which Redis runs
// atomically.
//
// A claim may be repeated with the same token, because the reply to the first call can be lost.
//
// A server that is out of memory rejects `SET`, but not `GET`, `PEXPIRE` or `DEL`.

const CLAIM: &str = r"
local value = redis.call('GET', KEYS[1])
if not value then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return 'acquired'
end
if value == ARGV[1] then return 'acquired' end
local retention = string.match(value, '^completed (%d+)$')
if not retention then return 'in progress' end
redis.call('PEXPIRE', KEYS[1], retention)
return 'completed'";

// If the memory is full, the completion cannot be stored. The event then stays in progress for the
// retention period, so that it is not handled again.
const COMPLETE: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if redis.pcall('SET', KEYS[1], 'completed ' .. ARGV[2], 'PX', ARGV[2]).err then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1";

const RELEASE: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])";

const FORGET: &str = r"
local value = redis.call('GET', KEYS[1])
if not value or not string.find(value, '^completed ') then return 0 end
return redis.call('DEL', KEYS[1])";

const PREFIX: &str = "soundhash-webhook:";

/// The timeout for a single connection attempt. The pauses between attempts are short, because
/// every delivery that arrives in the meantime is rejected with a 503.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const CONNECT_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_CONNECT_PAUSE: Duration = Duration::from_millis(200);
const CONNECT_RETRIES: usize = 3;
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long calls may fail before the connection is replaced. `ConnectionManager` itself reconnects
/// only after I/O errors. It does not reconnect if a proxy keeps the connection open after its
/// server has gone, or if the server has rejected the password of a new connection.
const FAILURE_LIMIT: Duration = Duration::from_secs(5);

/// The number of keys that `connect` probes to detect a cluster. In a cluster, at least one of them
/// is on another node, unless a single node holds almost all keys.
const CHECKED_KEYS: u64 = 16;

/// The longest expiry. Redis rejects expiries that overflow its 64-bit clock.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// An [`IdempotencyStore`] on Redis (6.2 or newer) or Valkey, shared by all processes of a fleet.
///
/// ```no_run
/// use soundhash_webhook::{BoxError, idempotency::IdempotencyLayer};
/// use soundhash_webhook_redis::RedisStore;
///
/// # async fn connect() -> Result<(), BoxError> {
/// let store = RedisStore::connect("redis://127.0.0.1:6379").await?;
/// let layer = IdempotencyLayer::new(store);
/// # Ok(())
/// # }
/// ```
///
/// Each step takes one round trip. If the server does not reply within the
/// [`deadline`](Self::deadline), the response is a 503. The store reconnects in the background if
/// the connection is lost, if all calls have failed for 5 seconds, or if the server replies with
/// `READONLY`, as a former master does after a failover. The server's address can therefore move to
/// another machine.
///
/// # Server settings
///
/// - Set `maxmemory-policy` to `noeviction`, which is the default in Redis, but not at every
///   hosting provider. With any other policy, Redis evicts claims and completed events when its
///   memory is full, and those events run again. [`connect`](Self::connect) logs a warning in this
///   case.
/// - Give Redis enough memory. Each event takes up about 200 bytes until its retention period ends.
///   When the memory is full, new events get a 503, while duplicates of completed events still get
///   a 200. An event that completes while the memory is full counts as in progress until its
///   retention period ends, so its duplicates get a 503.
/// - The user needs permission to run scripts and the commands they contain, for example `ACL
///   SETUSER webhooks on >password ~soundhash-webhook:* +evalsha +script|load +get +set +del
///   +pexpire`. [`connect`](Self::connect) also needs `+info` to check the server's settings. Save
///   the user with `ACL SAVE` or `CONFIG REWRITE`. Otherwise, the user is gone after a restart.
/// - Use `appendonly yes`. Redis then keeps all events across restarts, and loses at most the last
///   second if the machine fails. An event that Redis has lost runs again when it is redelivered. On
///   a server that has events already, run `CONFIG SET appendonly yes` before you change its
///   configuration file: if you only restart it with the changed file, it starts without them.
/// - A replica that becomes the master may lack the former master's last writes, because
///   replication is asynchronous.
/// - Redis Cluster is not supported. [`connect`](Self::connect) returns an error if it finds a key
///   that belongs to another node.
///
/// # Major versions
///
/// `redis` is part of this crate's public API, so a new major version of `redis` requires a new
/// major version of this crate. `soundhash-webhook` itself does not change.
///
/// # TLS
///
/// For `rediss://` URLs, depend on the same version of the `redis` crate and enable its
/// `tokio-rustls-comp` or `tokio-native-tls-comp` feature. With `tokio-rustls-comp`, also depend on
/// the same version of `rustls` and enable its `ring` or `aws_lc_rs` feature. Otherwise,
/// [`connect`](Self::connect) panics.
#[derive(Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
    prefix: Arc<str>,
    deadline: Duration,
}

struct Shared {
    current: Mutex<Current>,
    /// The client and settings for opening a new connection in place of a failing one. `None` if
    /// the user opened the connection.
    reconnect: Option<(Client, ConnectionManagerConfig)>,
    claim: Script,
    complete: Script,
    release: Script,
    forget: Script,
    /// The number of times that the store has reconnected because the server had become read-only.
    failovers: sync::Mutex<u64>,
}

struct Current {
    connection: ConnectionManager,
    /// When the first call since the last successful one started.
    failing_since: Option<Instant>,
}

impl Shared {
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> ConnectionManager {
        self.current().connection.clone()
    }

    /// Replaces the connection if calls have been failing for too long.
    fn leave_failing_connection(&self) {
        let mut current = self.current();
        let failing = current.failing_since.map(|since| since.elapsed());
        if failing.is_none_or(|time| time < FAILURE_LIMIT) {
            return;
        }
        let Some((client, config)) = self.reconnect.clone() else {
            return;
        };
        // The new connection is not established until its first use.
        if let Ok(connection) = ConnectionManager::new_lazy_with_config(client, config) {
            warn!(
                "calls to Redis have failed for {FAILURE_LIMIT:?}, so a new connection is opened"
            );
            *current = Current {
                connection,
                failing_since: None,
            };
        }
    }
}

impl RedisStore {
    /// Connects to the server at `url`, such as `redis://user:password@host:6379/0`.
    ///
    /// Logs a warning if the server is a read-only replica, if it may evict keys, or if its memory is
    /// full.
    ///
    /// # Errors
    ///
    /// Returns an error if `url` is invalid, if the server cannot be reached or is a Redis Cluster
    /// node or a Sentinel, or if the user may not run the scripts and their commands. The commands are
    /// checked only if the user may access keys with the default [`prefix`](Self::prefix).
    pub async fn connect(url: impl IntoConnectionInfo) -> Result<Self, BoxError> {
        let mut info = url.into_connection_info()?;
        info = info.set_tcp_settings(tcp_settings());
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            // The response time is already limited by `RedisStore::deadline`.
            .set_response_timeout(None)
            .set_min_delay(CONNECT_PAUSE)
            .set_max_delay(LONGEST_CONNECT_PAUSE)
            .set_number_of_retries(CONNECT_RETRIES);
        let client = Client::open(info)?;
        let connection = ConnectionManager::new_with_config(client.clone(), config.clone()).await?;
        match timeout(CHECK_TIMEOUT, check(connection.clone())).await {
            Ok(checked) => checked?,
            Err(_) => return Err(format!("no reply from Redis within {CHECK_TIMEOUT:?}").into()),
        }
        Ok(Self::new(connection, Some((client, config))))
    }

    /// Uses an existing connection.
    ///
    /// The connection's own timeouts apply in addition to the [`deadline`](Self::deadline).
    /// Deliveries get a 503 while the connection pauses between reconnection attempts, so keep
    /// these pauses short. If all calls fail, the store cannot replace this connection, as it would
    /// replace one opened by [`connect`](Self::connect).
    #[must_use]
    pub fn from_connection(connection: ConnectionManager) -> Self {
        Self::new(connection, None)
    }

    fn new(
        connection: ConnectionManager,
        reconnect: Option<(Client, ConnectionManagerConfig)>,
    ) -> Self {
        let current = Mutex::new(Current {
            connection,
            failing_since: None,
        });
        Self {
            shared: Arc::new(Shared {
                current,
                reconnect,
                claim: Script::new(CLAIM),
                complete: Script::new(COMPLETE),
                release: Script::new(RELEASE),
                forget: Script::new(FORGET),
                failovers: sync::Mutex::new(0),
            }),
            prefix: PREFIX.into(),
            deadline: Duration::from_secs(5),
        }
    }

    /// Sets the prefix of all keys in Redis. The default is `soundhash-webhook:`.
    ///
    /// Applications that share a server, such as staging and production, need different prefixes.
    /// Otherwise, an event that one of them has handled is a duplicate for the other.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets how long each step may take, including the time to reconnect. The default is 5 s.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Prepares a script call for a key.
    fn prepare<'a>(&self, script: &'a Script, key: &Key) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        call.key(format!("{}{key}", self.prefix));
        call
    }

    async fn run<T: redis::FromRedisValue>(
        &self,
        mut connection: ConnectionManager,
        call: &ScriptInvocation<'_>,
        is_repeatable: bool,
    ) -> Result<T, BoxError> {
        let start = Instant::now();
        self.shared.current().failing_since.get_or_insert(start);
        let reply = self.invoke(&mut connection, call, is_repeatable);
        let error = match timeout(self.deadline, reply).await {
            Ok(Ok(reply)) => {
                self.shared.current().failing_since = None;
                return Ok(reply);
            }
            Ok(Err(error)) => error.into(),
            Err(_) => format!("no reply from Redis within {:?}", self.deadline).into(),
        };
        self.shared.leave_failing_connection();
        Err(error)
    }

    async fn invoke<T: redis::FromRedisValue>(
        &self,
        connection: &mut ConnectionManager,
        call: &ScriptInvocation<'_>,
        is_repeatable: bool,
    ) -> RedisResult<T> {
        let failovers = *self.shared.failovers.lock().await;
        match call.invoke_async(connection).await {
            // The replica rejected the call without writing anything, so the call can be repeated.
            Err(error) if is_read_only(&error) => self.leave_replica(connection, failovers).await,
            // Servers and proxies close connections that are idle. `ConnectionManager` reconnects
            // only after a call has failed.
            Err(error) if is_repeatable && error.is_connection_dropped() => {}
            result => return result,
        }
        call.invoke_async(connection).await
    }

    /// Reconnects, unless another call has reconnected since `failovers` was read.
    async fn leave_replica(&self, connection: &mut ConnectionManager, failovers: u64) {
        let mut current = self.shared.failovers.lock().await;
        if *current != failovers {
            return;
        }
        // `ConnectionManager` has no method to reconnect. QUIT makes the server close the
        // connection, PING then fails, and the manager reconnects.
        let _: RedisResult<()> = cmd("QUIT").query_async(connection).await;
        let _: RedisResult<()> = cmd("PING").query_async(connection).await;
        *current += 1;
    }

    async fn release_on(
        &self,
        connection: ConnectionManager,
        key: &Key,
        token: ClaimToken,
    ) -> Result<bool, BoxError> {
        let mut call = self.prepare(&self.shared.release, key);
        call.arg(token.to_string());
        self.run(connection, &call, false).await
    }
}

const MISSING_RIGHTS: &str = "Redis user may not run scripts, or their commands: grant \
    `+evalsha +script|load +get +set +del +pexpire` with `ACL SETUSER`";

/// Runs the commands of the other scripts on a key that no event has.
const CHECK: &str = "redis.call('SET', KEYS[1], '', 'PX', 1) redis.call('GET', KEYS[1]) \
    redis.call('PEXPIRE', KEYS[1], 1) redis.call('DEL', KEYS[1])";

/// Returns whether a server, a script or a proxy such as Envoy says that a command does not exist.
fn is_unknown_command(text: &str) -> bool {
    let text = text.to_lowercase();
    [
        "unknown command",
        "unknown redis command",
        "unsupported command",
    ]
    .iter()
    .any(|known| text.contains(known))
}

/// Checks the user's permissions and the server's settings.
async fn check(mut connection: ConnectionManager) -> Result<(), BoxError> {
    let script = Script::new(CHECK);
    // A script that another client has loaded runs without the permission to load it.
    let allowed = script.prepare_invoke().load_async(&mut connection).await;
    // Other errors may be temporary, for example while the server is still loading its data.
    if let Err(error) = allowed {
        let text = error.to_string();
        if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) {
            return Err(format!("{MISSING_RIGHTS}: {text}").into());
        }
        if is_unknown_command(&text) {
            return Err(format!("this server, such as a Sentinel, runs no scripts: {text}").into());
        }
    }
    for number in 0..CHECKED_KEYS {
        let call = script.key(format!("{PREFIX}{number}"));
        let checked: RedisResult<()> = call.invoke_async(&mut connection).await;
        let Err(error) = checked else { continue };
        let text = error.to_string();
        if error.is_cluster_error() {
            return Err(format!(
                "Redis is a node of a cluster, which has only some of the keys: use a server without \
                 `cluster-enabled yes`: {text}"
            )
            .into());
        }
        // Redis 7 and Redis 6 say this. If the user may not access these keys, which is right with
        // another prefix, the error is a different one.
        if text.contains("permissions to run") || text.contains("can't run this command") {
            return Err(format!("{MISSING_RIGHTS}: {text}").into());
        }
        if is_unknown_command(&text) {
            return Err(format!(
                "Redis does not have a command that this store needs: check `rename-command`, and \
                 use no proxy that knows only some commands: {text}"
            )
            .into());
        }
        if is_read_only(&error) {
            warn!("Redis is a read-only replica, so deliveries get a 503: connect to the primary");
            break;
        }
    }
    let info: RedisResult<String> = cmd("INFO").arg("memory").query_async(&mut connection).await;
    // Some hosting providers do not allow `INFO`.
    let Ok(info) = info else { return Ok(()) };
    let field = |name: &str| {
        let mut fields = info.lines().filter_map(|line| line.split_once(':'));
        fields.find_map(|(key, value)| (key == name).then_some(value))
    };
    let bytes = |name| field(name).and_then(|value| value.parse::<u64>().ok());
    let (Some(used), Some(limit @ 1..)) = (bytes("used_memory"), bytes("maxmemory")) else {
        return Ok(());
    };
    match field("maxmemory_policy") {
        Some(policy) if policy != "noeviction" => warn!(
            policy,
            "Redis may evict events, which then run again: set `maxmemory-policy` to `noeviction`"
        ),
        _ if used >= limit => warn!(
            used_bytes = used,
            limit_bytes = limit,
            "memory of Redis is full, so new events get a 503: raise `maxmemory`, or delete keys"
        ),
        _ => {}
    }
    Ok(())
}

/// Returns whether the server is read-only. In scripts, Redis before 7.0 reports this error as
/// text.
fn is_read_only(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || error
            .detail()
            .is_some_and(|text| text.contains("-READONLY "))
}

/// Returns TCP settings that detect a dead machine within seconds instead of the usual 15 minutes.
fn tcp_settings() -> redis::io::tcp::TcpSettings {
    use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};

    const PATIENCE: Duration = Duration::from_secs(5);
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(TcpKeepalive::new().with_time(PATIENCE));
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(PATIENCE);
    settings
}

fn millis(time: Duration) -> u64 {
    // The time is rounded up, because Redis rejects 0.
    let millis = time.min(LONGEST).as_nanos().div_ceil(1_000_000).max(1);
    u64::try_from(millis).unwrap_or(u64::MAX)
}

impl RedisStore {
    /// Forgets that the event with this `key` was completed, so that its next delivery runs the
    /// handler again. Returns whether the key was completed.
    ///
    /// A claimed key stays claimed, because its handler may still be running.
    ///
    /// # Errors
    ///
    /// Returns an error if the key may still be marked as completed.
    pub async fn forget(&self, key: &Key) -> Result<bool, BoxError> {
        let call = self.prepare(&self.shared.forget, key);
        self.run(self.shared.connection(), &call, false).await
    }
}

impl IdempotencyStore for RedisStore {
    async fn claim(&self, key: &Key, lease: Duration) -> Result<Claim, BoxError> {
        let token = ClaimToken::generate()?;
        let connection = self.shared.connection();
        // A hanging server may still execute the claim after the deadline.
        let mut undo = UndoClaim {
            store: self,
            connection: connection.clone(),
            key,
            token,
            armed: true,
        };
        let mut call = self.prepare(&self.shared.claim, key);
        call.arg(token.to_string()).arg(millis(lease));
        let answer: String = self.run(connection, &call, true).await?;
        undo.armed = false;
        Ok(match answer.as_str() {
            "acquired" => Claim::Acquired(token),
            "completed" => Claim::Completed,
            _ => Claim::InProgress,
        })
    }

    async fn complete(
        &self,
        key: &Key,
        token: ClaimToken,
        retention: Duration,
    ) -> Result<bool, BoxError> {
        let mut call = self.prepare(&self.shared.complete, key);
        call.arg(token.to_string()).arg(millis(retention));
        self.run(self.shared.connection(), &call, false).await
    }

    async fn release(&self, key: &Key, token: ClaimToken) -> Result<bool, BoxError> {
        self.release_on(self.shared.connection(), key, token).await
    }
}

/// Releases the key if the claim got no reply, because the server may have executed the claim
/// anyway. The release uses the same connection, so it reaches the server after the claim.
struct UndoClaim<'a> {
    store: &'a RedisStore,
    connection: ConnectionManager,
    key: &'a Key,
    token: ClaimToken,
    armed: bool,
}

impl Drop for UndoClaim<'_> {
    fn drop(&mut self) {
        if let (true, Ok(runtime)) = (self.armed, Handle::try_current()) {
            let (store, connection) = (self.store.clone(), self.connection.clone());
            let (key, token) = (self.key.clone(), self.token);
            // If the release fails, the claim still ends when its lease expires.
            runtime.spawn(async move { store.release_on(connection, &key, token).await });
        }
    }
}

/// Omits the server's address and password.
impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

use std::{fmt, sync::Arc, time::Duration};

use axum_core::BoxError;
use redis::{
    Client, IntoConnectionInfo, RedisError, Script, ScriptInvocation,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::{runtime::Handle, time::timeout};

use super::{
    key::Key,
    store::{Claim, IdempotencyStore},
    token::Token,
};

// A key holds the token of its claim, or `completed`, and Redis itself lets it expire. Each
// step is one script, which Redis runs without anything in between.

const CLAIM: &str = r"
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 'acquired' end
if redis.call('GET', KEYS[1]) == 'completed' then return 'completed' end
return 'in progress'";

const COMPLETE: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], 'completed', 'PX', ARGV[2])
return 1";

const RELEASE: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])";

/// How long a connection may take to be made, and the pauses before the next attempts. They
/// are short: each delivery in the meantime is answered with 503.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const CONNECT_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_CONNECT_PAUSE: Duration = Duration::from_millis(200);
const CONNECT_RETRIES: usize = 3;

/// Redis refuses an expiry that does not fit its clock's 64 bits: 100 years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// An [`IdempotencyStore`] on Redis (6.2 or newer) or Valkey, for all processes of a fleet.
///
/// ```no_run
/// use soundhash_webhook::{
///     BoxError,
///     idempotency::{IdempotencyLayer, RedisStore},
/// };
///
/// # async fn connect() -> Result<(), BoxError> {
/// let store = RedisStore::connect("redis://127.0.0.1:6379").await?;
/// let layer = IdempotencyLayer::new(store);
/// # Ok(())
/// # }
/// ```
///
/// Each step is one round trip. A server that does not answer within the
/// [`deadline`](Self::deadline) leads to 503, and when it is back, so is the store: lost
/// connections are made anew in the background.
///
/// # What the server has to be like
///
/// - Its `maxmemory-policy` is `noeviction` (the default) or one that only evicts keys without
///   an expiry, if there is any. Otherwise it may evict claims when memory is short, and
///   events are acted on twice.
/// - What it forgets when it restarts is acted on again if it is sent again. With
///   `appendonly yes` it forgets nothing, or a second at most when the machine dies.
/// - A replica that takes over has not seen what its master did last. Redis Cluster is not
///   supported.
///
/// # TLS
///
/// `rediss://` works when the feature `tokio-rustls-comp` or `tokio-native-tls-comp` of the
/// crate `redis` is on, by a dependency of your own on the same version.
#[derive(Clone)]
pub struct RedisStore {
    connection: ConnectionManager,
    scripts: Arc<Scripts>,
    prefix: Arc<str>,
    deadline: Duration,
}

struct Scripts {
    claim: Script,
    complete: Script,
    release: Script,
}

impl RedisStore {
    /// Connects to the server at `url`, such as `redis://user:password@host:6379/0`.
    ///
    /// # Errors
    ///
    /// If that is no such URL, or if the server cannot be reached now: at the start of a
    /// service it is better to hear of it.
    pub async fn connect(url: impl IntoConnectionInfo) -> Result<Self, BoxError> {
        let mut info = url.into_connection_info()?;
        info = info.set_tcp_settings(tcp_settings());
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            // Ours is the deadline.
            .set_response_timeout(None)
            .set_min_delay(CONNECT_PAUSE)
            .set_max_delay(LONGEST_CONNECT_PAUSE)
            .set_number_of_retries(CONNECT_RETRIES);
        let connection = ConnectionManager::new_with_config(Client::open(info)?, config).await?;
        Ok(Self::from_connection(connection))
    }

    /// Uses a connection that is there already.
    ///
    /// Its own time-outs apply beside the [`deadline`](Self::deadline), and its pauses between
    /// attempts to connect are for how long deliveries may still be refused when the server
    /// is back: keep them short.
    #[must_use]
    pub fn from_connection(connection: ConnectionManager) -> Self {
        Self {
            connection,
            scripts: Arc::new(Scripts {
                claim: Script::new(CLAIM),
                complete: Script::new(COMPLETE),
                release: Script::new(RELEASE),
            }),
            prefix: "soundhash-webhook:".into(),
            deadline: Duration::from_millis(500),
        }
    }

    /// What the names of its keys begin with: `soundhash-webhook:` by default.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long each step may take, reconnecting included: 500 ms by default.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The script, with the name of the key.
    fn prepare<'a>(&self, script: &'a Script, key: &Key) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        call.key(format!("{}{key}", self.prefix));
        call
    }

    async fn run<T: redis::FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, BoxError> {
        let mut connection = self.connection.clone();
        match timeout(self.deadline, call.invoke_async(&mut connection)).await {
            Ok(answer) => answer.map_err(RedisError::into),
            Err(_) => Err(format!("no answer from Redis within {:?}", self.deadline).into()),
        }
    }
}

/// A connection to a machine that vanished is noticed after seconds, not after the quarter of
/// an hour for which TCP would repeat itself.
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
    // Never 0, which Redis refuses, and never shorter than asked for.
    let millis = time.min(LONGEST).as_nanos().div_ceil(1_000_000).max(1);
    u64::try_from(millis).unwrap_or(u64::MAX)
}

impl IdempotencyStore for RedisStore {
    async fn claim(&self, key: &Key, lease: Duration) -> Result<Claim, BoxError> {
        let token = Token::unique();
        // A server that hangs may hear of the claim after we gave up on it.
        let mut undo = Undo {
            store: self,
            key,
            token,
            armed: true,
        };
        let mut call = self.prepare(&self.scripts.claim, key);
        call.arg(token.to_string()).arg(millis(lease));
        let answer: String = self.run(&call).await?;
        undo.armed = false;
        Ok(match answer.as_str() {
            "acquired" => Claim::Acquired(token),
            "completed" => Claim::Completed,
            _ => Claim::InProgress,
        })
    }

    async fn complete(&self, key: &Key, token: Token, time: Duration) -> Result<bool, BoxError> {
        let mut call = self.prepare(&self.scripts.complete, key);
        call.arg(token.to_string()).arg(millis(time));
        self.run(&call).await
    }

    async fn release(&self, key: &Key, token: Token) -> Result<bool, BoxError> {
        let mut call = self.prepare(&self.scripts.release, key);
        call.arg(token.to_string());
        self.run(&call).await
    }
}

/// Releases what a claim without an answer may have claimed. It goes the same way, so the
/// server hears of it after the claim.
struct Undo<'a> {
    store: &'a RedisStore,
    key: &'a Key,
    token: Token,
    armed: bool,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if let (true, Ok(runtime)) = (self.armed, Handle::try_current()) {
            let (store, key, token) = (self.store.clone(), self.key.clone(), self.token);
            // If it fails, the lease runs out.
            runtime.spawn(async move { store.release(&key, token).await });
        }
    }
}

/// Shows neither the server's address nor its password.
impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

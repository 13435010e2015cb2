//! The streams of accepted deliveries and of deliveries that the workers gave up on.

use std::{env, error::Error, fmt, io, sync::Arc, time::Duration};

use async_nats::{
    ConnectError, ConnectErrorKind, ConnectOptions, HeaderMap, HeaderValue, ServerAddr,
    connection::State,
    header::NATS_MESSAGE_ID,
    jetstream::{
        self, Context, ErrorCode,
        consumer::{AckPolicy, PullConsumer, pull},
        stream::{ConsumerErrorKind, Info, Stream},
    },
};
use axum::body::Bytes;
use example_program::{cannot_connect, causes};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use soundhash_webhook::BoxError;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout_at},
};
use tracing::{info, warn};

use crate::settings::{
    ACCEPTED, GIVEN_UP, Settings, create, create_if_vanished, existing, max_bytes,
};

const URLS: &str = "SOUNDHASH_WEBHOOK_NATS";
const CONSUMER: &str = "workers";

/// The oldest version of NATS that this program works with. Before version 2.10.23, the servers of
/// a cluster confirm events before they have synced them, whatever their settings.
const OLDEST_VERSION: [u32; 2] = [2, 12];

/// How long NATS waits for a worker to acknowledge an event or report progress before it delivers
/// the event to another worker. This time starts when NATS sends the event.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(30);

/// The time for which publishing is retried while the cluster elects a new leader. SoundHash waits
/// 30 s for a response.
pub(crate) const PUBLISH_DEADLINE: Duration = Duration::from_secs(20);

/// The time between two pings. If a server hangs or its machine vanishes, the client connects to
/// another one after three pings without a reply. With the default interval, this takes up to three
/// minutes.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// The shortest time between two reconnections that this program causes.
const RECONNECT_PAUSE: Duration = Duration::from_secs(5);

/// The header with the event's key, which stays the same when a delivery is moved back to the
/// workers. The key is percent-encoded, because the sender chooses it.
const KEY: &str = "Soundhash-Event-Key";

/// The space reserved for a message's headers, in addition to its body. A key is at most 272 bytes
/// long, or three times as long if every byte is percent-encoded.
const HEADERS: usize = 8 * 1024;
const START_DEADLINE: Duration = Duration::from_secs(60);

/// The two streams of a NATS cluster.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    context: Context,
    accepted: Stream,
    given_up: Stream,
    /// The stream of accepted deliveries, for requests with a short timeout. A stream without a
    /// leader does not respond.
    prompt: Stream<()>,
    /// The space for accepted deliveries, if this program creates and changes the streams.
    max_bytes: Option<i64>,
    /// Locked while a task recreates streams that have vanished.
    restoring: Arc<Mutex<()>>,
    /// Locked while a task reconnects.
    reconnecting: Arc<Mutex<()>>,
    space: Arc<Mutex<Space>>,
}

/// The space in the stream of accepted deliveries.
#[derive(Debug, Default)]
struct Space {
    checked_at: Option<Instant>,
    /// How many bytes may be published before the space is checked again.
    bytes: i64,
}

impl Streams {
    /// Connects to the cluster.
    ///
    /// Missing streams are created and the settings of others are changed only if `is_owner`.
    /// Otherwise, the streams must exist.
    ///
    /// A new cluster needs a few seconds to elect its leaders, so failures are retried for a
    /// minute.
    ///
    /// # Errors
    ///
    /// Returns an error if a variable is invalid, if the cluster does not respond within a minute,
    /// or if its servers are too old or lack the space for the streams.
    pub(crate) async fn connect(is_owner: bool) -> Result<Self, BoxError> {
        let max_bytes = is_owner.then(max_bytes).transpose()?;
        let urls = env::var(URLS).unwrap_or_else(|_| "nats://127.0.0.1:4222".into());
        let (servers, options) =
            parse(&urls).map_err(|error| cannot_connect(URLS, &urls, error))?;
        let start = Instant::now();
        let mut last = String::new();
        loop {
            let error = match Self::try_connect(&servers, options.clone(), max_bytes).await {
                Ok(streams) => return Ok(streams),
                Err(error) => error,
            };
            let is_refused = error.downcast_ref::<ConnectError>().is_some_and(|error| {
                use ConnectErrorKind::{Authentication, AuthorizationViolation};
                matches!(error.kind(), Authentication | AuthorizationViolation)
            }) || error.is::<TooOld>();
            let error = cannot_connect(URLS, &urls, causes(&*error)).to_string();
            if is_refused || start.elapsed() > START_DEADLINE {
                return Err(error.into());
            }
            if error != last {
                info!("waiting for NATS JetStream: {error}");
                last = error;
            }
            sleep(4 * RETRY_PAUSE).await;
        }
    }

    async fn try_connect(
        servers: &[ServerAddr],
        options: ConnectOptions,
        max_bytes: Option<i64>,
    ) -> Result<Self, BoxError> {
        let client = options.connect(servers).await?;
        check_version(&client.server_info().version)?;
        let mut context = jetstream::new(client);
        context.set_timeout(Duration::from_secs(5));
        let open = async |settings| match max_bytes {
            Some(max_bytes) => create(&context, settings, max_bytes).await,
            None => existing(&context, settings).await,
        };
        let (accepted, given_up) = (open(ACCEPTED).await?, open(GIVEN_UP).await?);
        let mut prompt = context.clone();
        prompt.set_timeout(CHECK_TIMEOUT);
        let prompt = prompt.get_stream_no_info(ACCEPTED.name).await?;
        Ok(Self {
            prompt,
            context,
            accepted,
            given_up,
            max_bytes,
            restoring: Arc::default(),
            reconnecting: Arc::default(),
            space: Arc::default(),
        })
    }

    /// Returns the size of the largest body that fits into a message.
    #[must_use]
    pub(crate) fn max_body_size(&self) -> usize {
        let server = self.context.client().server_info();
        server.max_payload.saturating_sub(HEADERS)
    }

    /// Stores a delivery. Returns `false` if the stream already contains a message with this id.
    ///
    /// The id is the event's key, unless the delivery is being moved back to the workers.
    ///
    /// # Errors
    ///
    /// Returns an error if the stream is full, or if a majority of the replicas did not store the
    /// delivery within 20 s. The delivery may still be stored later, so a retry must use the same
    /// id.
    pub(crate) async fn accept(&self, id: &str, key: &str, body: Bytes) -> Result<bool, BoxError> {
        self.publish(ACCEPTED, id, key, body).await
    }

    /// Stores a delivery that the workers gave up on in the separate stream for such deliveries.
    ///
    /// # Errors
    ///
    /// Returns an error for the same reasons as [`accept`](Self::accept).
    pub(crate) async fn give_up(&self, id: &str, key: &str, body: Bytes) -> Result<bool, BoxError> {
        self.publish(GIVEN_UP, id, key, body).await
    }

    async fn publish(
        &self,
        stream: &'static Settings,
        id: &str,
        key: &str,
        body: Bytes,
    ) -> Result<bool, BoxError> {
        let start = Instant::now();
        loop {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, encode(id));
            headers.insert(KEY, encode(key));
            let published = async {
                if !self.has_space(stream, body.len()).await? {
                    return Ok(None);
                }
                let publication =
                    self.context
                        .publish_with_headers(stream.subject, headers, body.clone());
                Ok::<_, BoxError>(Some(publication.await?.await?))
            };
            let error = match timeout_at(start + PUBLISH_DEADLINE, published).await {
                Ok(Ok(Some(stored))) => return Ok(!stored.duplicate),
                Ok(Ok(None)) => return Err(is_full(stream, "nine tenths of its max_bytes")),
                Ok(Err(error)) => error,
                Err(_) => return Err("no response from NATS in time".into()),
            };
            let text = causes(&*error);
            if text.contains("no stream found") || text.contains("stream not found") {
                self.restore();
            }
            // A client learns the size of a message and its permissions only when it connects, and
            // an operator may have corrected them since.
            if text.contains("Payload size limit") || start.elapsed() >= PUBLISH_DEADLINE / 2 {
                self.reconnect();
            }
            // Space is made only by an operator, or when the oldest deliveries expire.
            if text.contains("maximum bytes exceeded") || text.contains("maximum messages exceeded")
            {
                return Err(is_full(stream, &text));
            }
            // Publishing again is safe, because NATS recognizes the id of a message that it has
            // already stored.
            if start.elapsed() >= PUBLISH_DEADLINE {
                return Err(error);
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Returns whether a message of this size can be published. A stream counts as full at nine
    /// tenths of its limit.
    ///
    /// NATS must not be the one to reject a message. Before version 2.14, every server of a cluster
    /// decides for itself whether a message exceeds the limit. If one is killed, the servers can
    /// then disagree about which events the stream has, and lose accepted ones.
    async fn has_space(&self, stream: &Settings, bytes: usize) -> Result<bool, BoxError> {
        let bytes = i64::try_from(bytes)?;
        if stream.name == GIVEN_UP.name {
            return Ok(bytes_left(&self.given_up.get_info().await?) >= bytes);
        }
        let mut space = self.space.lock().await;
        let is_recent = space
            .checked_at
            .is_some_and(|at| at.elapsed() < CHECK_INTERVAL);
        if !is_recent || space.bytes < bytes {
            let left = bytes_left(&self.prompt.get_info().await?);
            if left < bytes {
                return Ok(false);
            }
            space.checked_at = Some(Instant::now());
            // Other receivers publish, too.
            space.bytes = left / 10;
        }
        space.bytes -= bytes;
        Ok(true)
    }

    /// Returns the consumer shared by all workers, creating or updating it if necessary.
    ///
    /// # Errors
    ///
    /// Returns an error if the cluster does not respond.
    pub(crate) async fn consumer(&self) -> Result<PullConsumer, BoxError> {
        let config = pull::Config {
            durable_name: Some(CONSUMER.into()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            // Failed events stay pending until their next attempt. By default, NATS delivers no
            // more events once 1,000 are pending.
            max_ack_pending: -1,
            ..pull::Config::default()
        };
        let consumer = self.accepted.create_consumer(config).await;
        if let Err(error) = &consumer
            && let ConsumerErrorKind::JetStream(error) = error.kind()
            && error.error_code() == ErrorCode::STREAM_NOT_FOUND
        {
            self.restore();
        }
        Ok(consumer?)
    }

    /// Recreates streams that have vanished, in the background and at most once a second.
    ///
    /// A publication also finds no stream while the cluster elects a leader, so this function first
    /// asks the cluster which streams exist.
    fn restore(&self) {
        let Some(max_bytes) = self.max_bytes else {
            return;
        };
        let Ok(guard) = self.restoring.clone().try_lock_owned() else {
            return;
        };
        let context = self.context.clone();
        tokio::spawn(async move {
            for settings in [ACCEPTED, GIVEN_UP] {
                if let Err(error) = create_if_vanished(&context, settings, max_bytes).await {
                    warn!(error, "cannot look up or recreate {}", settings.name);
                }
            }
            sleep(4 * RETRY_PAUSE).await;
            drop(guard);
        });
    }

    /// Reconnects in a task, unless the client is reconnecting already or has just done so.
    pub(crate) fn reconnect(&self) {
        let Ok(guard) = self.reconnecting.clone().try_lock_owned() else {
            return;
        };
        let client = self.context.client();
        if client.connection_state() != State::Connected {
            return;
        }
        tokio::spawn(async move {
            if let Err(error) = client.force_reconnect().await {
                warn!(%error, "cannot reconnect");
            }
            sleep(RECONNECT_PAUSE).await;
            drop(guard);
        });
    }

    /// Returns the stream of deliveries that the workers gave up on.
    #[must_use]
    pub(crate) const fn given_up(&self) -> &Stream {
        &self.given_up
    }
}

/// A server of a version that is not supported.
#[derive(Debug)]
struct TooOld(String);

impl fmt::Display for TooOld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor] = OLDEST_VERSION;
        let version = &self.0;
        write!(
            f,
            "NATS {version} is too old: {major}.{minor} or later is needed"
        )
    }
}

impl Error for TooOld {}

fn check_version(version: &str) -> Result<(), TooOld> {
    // A version can end with a suffix, such as `-RC.1`.
    let numbers = version
        .split(['.', '-'])
        .map_while(|part| part.parse().ok());
    let numbers: Vec<u32> = numbers.collect();
    match numbers.as_slice() < OLDEST_VERSION.as_slice() {
        true => Err(TooOld(version.to_owned())),
        false => Ok(()),
    }
}

/// Returns the bytes that are left until a stream counts as full.
fn bytes_left(info: &Info) -> i64 {
    let bytes = i64::try_from(info.state.bytes).unwrap_or(i64::MAX);
    match info.config.max_bytes {
        // The stream is not limited.
        ..=0 => i64::MAX,
        max_bytes => max_bytes / 10 * 9 - bytes,
    }
}

fn is_full(stream: &Settings, why: &str) -> BoxError {
    let name = stream.name;
    format!("{name} is full ({why}): see \"Disk space\" in the README of this example").into()
}

/// Returns the message's id, by which the stream recognizes duplicates, along with the event's key.
pub(crate) fn id_and_key(headers: &HeaderMap) -> (String, String) {
    let text = |name: &str| {
        let text = headers.get(name).map_or("", HeaderValue::as_str);
        percent_decode_str(text).decode_utf8_lossy().into_owned()
    };
    (text(NATS_MESSAGE_ID.as_ref()), text(KEY))
}

/// Percent-encodes text from a sender, so that it can be used as a header value.
///
/// The server finds a header by searching the whole header block for its name. A value that
/// contains a header name, such as `Nats-Msg-Id:`, would therefore hide the real header, even
/// without a line break.
fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Parses comma-separated URLs.
///
/// `async_nats` ignores the user and password in a URL, and logs them. They are therefore moved
/// from the URLs to the options. All servers of a cluster have the same users, so the first URL
/// with a user decides.
fn parse(urls: &str) -> io::Result<(Vec<ServerAddr>, ConnectOptions)> {
    let mut options = ConnectOptions::new()
        .name("soundhash-webhook")
        .ping_interval(PING_INTERVAL);
    let mut servers = Vec::new();
    let mut has_login = false;
    for url in urls.split(',') {
        let server: ServerAddr = url.trim().parse()?;
        if server.host().is_empty() {
            return Err(io::Error::other("the URL has no host"));
        }
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (user, password) = (server.username().map(decode), server.password().map(decode));
        if let Some(user) = user.filter(|_| !has_login) {
            has_login = true;
            options = match password {
                Some(password) => options.user_and_password(user, password),
                None => options.token(user),
            };
        }
        let mut url = server.into_inner();
        // Both calls fail only if the URL has no host.
        let _ = (url.set_username(""), url.set_password(None));
        servers.push(ServerAddr::from_url(url)?);
    }
    Ok((servers, options))
}

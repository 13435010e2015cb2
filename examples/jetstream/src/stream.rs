//! The streams of accepted deliveries, and of deliveries that the workers gave up.

use std::time::Duration;

use async_nats::{
    ConnectOptions, HeaderMap, HeaderValue,
    header::NATS_MESSAGE_ID,
    jetstream::{
        self, Context,
        consumer::{AckPolicy, PullConsumer, pull},
        context::CreateStreamErrorKind,
        stream::{Config, DiscardPolicy, Stream},
    },
};
use axum::body::Bytes;
use soundhash_webhook::BoxError;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// The stream that holds every accepted delivery, and its only subject.
const ACCEPTED: &str = "SOUNDHASH";
const ACCEPTED_SUBJECT: &str = "soundhash.accepted";

/// The stream of deliveries that the workers gave up, and its only subject.
const GIVEN_UP: &str = "SOUNDHASH_GIVEN_UP";
pub(crate) const GIVEN_UP_SUBJECT: &str = "soundhash.given_up";

const CONSUMER: &str = "workers";
const REPLICAS: usize = 3;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The time for which NATS recognizes a key. SoundHash's retries end after 9 minutes, but an
/// operator's retry job can repeat a delivery days later. NATS keeps these keys in memory.
const DUPLICATE_WINDOW: Duration = DAY;

/// The time for which deliveries are kept, whether they were handled or not.
const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The time that a worker may take for an event before NATS gives the event to another worker.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// The time for which a publication is retried while the cluster elects a new leader. SoundHash
/// waits 30 s.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(20);
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The header of the event's key, which stays the same when a delivery is moved back to the workers.
const KEY: &str = "Soundhash-Event-Key";

/// The size that a message's headers can have besides its body. A key has at most 272 bytes, and
/// five times as many if every character is escaped.
const HEADERS: usize = 8 * 1024;
const START_DEADLINE: Duration = Duration::from_secs(60);

/// The two streams of a NATS cluster.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    context: Context,
    accepted: Stream,
    given_up: Stream,
}

impl Streams {
    /// Connects to the cluster at these comma-separated URLs, and creates the streams that do not
    /// exist yet.
    ///
    /// A new cluster needs some seconds to elect its leaders, so failures are retried for a minute.
    ///
    /// # Errors
    ///
    /// Returns an error if a URL is not valid or the cluster does not answer within a minute.
    pub(crate) async fn connect(urls: &str) -> Result<Self, BoxError> {
        let servers: Vec<_> = urls.split(',').map(str::trim).collect();
        let client = ConnectOptions::new()
            .name("soundhash-webhook")
            .retry_on_initial_connect()
            .connect(servers)
            .await?;
        let mut context = jetstream::new(client);
        context.set_timeout(Duration::from_secs(5));
        let start = Instant::now();
        loop {
            let created = async {
                let accepted = create(&context, ACCEPTED, ACCEPTED_SUBJECT).await?;
                let given_up = create(&context, GIVEN_UP, GIVEN_UP_SUBJECT).await?;
                Ok::<_, BoxError>((accepted, given_up))
            };
            match created.await {
                Ok((accepted, given_up)) => {
                    return Ok(Self {
                        context,
                        accepted,
                        given_up,
                    });
                }
                Err(error) if start.elapsed() > START_DEADLINE => return Err(error),
                Err(error) => {
                    info!(%error, "waiting for NATS JetStream");
                    sleep(4 * RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Returns the size of the largest body that fits into a message.
    #[must_use]
    pub(crate) fn max_body_size(&self) -> usize {
        let server = self.context.client().server_info();
        server.max_payload.saturating_sub(HEADERS)
    }

    /// Stores a delivery, and returns `false` if the stream already has the id.
    ///
    /// The id is the event's key, except for a delivery that is moved back to the workers.
    ///
    /// # Errors
    ///
    /// Returns an error if a majority of the replicas did not store the delivery within 20 s. It
    /// may still be stored later, so a retry has to use the same id.
    pub(crate) async fn accept(&self, id: &str, key: &str, body: Bytes) -> Result<bool, BoxError> {
        self.publish(ACCEPTED_SUBJECT, id, key, body).await
    }

    /// Stores a delivery in the stream of deliveries that were given up.
    ///
    /// # Errors
    ///
    /// Returns an error for the same reasons as [`accept`](Self::accept).
    pub(crate) async fn give_up(&self, id: &str, key: &str, body: Bytes) -> Result<bool, BoxError> {
        self.publish(GIVEN_UP_SUBJECT, id, key, body).await
    }

    async fn publish(
        &self,
        subject: &'static str,
        id: &str,
        key: &str,
        body: Bytes,
    ) -> Result<bool, BoxError> {
        let start = Instant::now();
        loop {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, id);
            headers.insert(KEY, key);
            let published = async {
                let publication = self
                    .context
                    .publish_with_headers(subject, headers, body.clone());
                publication.await?.await
            };
            match published.await {
                Ok(stored) => return Ok(!stored.duplicate),
                // A second publication is safe: NATS recognizes the key.
                Err(_) if start.elapsed() < PUBLISH_DEADLINE => sleep(RETRY_PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns the consumer that all workers share.
    ///
    /// # Errors
    ///
    /// Returns an error if the cluster does not answer.
    pub(crate) async fn consumer(&self) -> Result<PullConsumer, BoxError> {
        let config = pull::Config {
            durable_name: Some(CONSUMER.into()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            ..pull::Config::default()
        };
        let consumer = self.accepted.get_or_create_consumer(CONSUMER, config);
        Ok(consumer.await?)
    }

    /// Returns the stream of deliveries that the workers gave up.
    #[must_use]
    pub(crate) const fn given_up(&self) -> &Stream {
        &self.given_up
    }
}

/// Returns the message's id, by which the stream recognizes copies, and the event's key.
pub(crate) fn id_and_key(headers: &HeaderMap) -> (String, String) {
    let text = |name: &str| headers.get(name).map_or("", HeaderValue::as_str).to_owned();
    (text(NATS_MESSAGE_ID.as_ref()), text(KEY))
}

/// Returns the stream, after creating it with three replicas if it does not exist.
async fn create(context: &Context, name: &str, subject: &str) -> Result<Stream, BoxError> {
    let config = |num_replicas| Config {
        name: name.into(),
        subjects: vec![subject.into()],
        num_replicas,
        duplicate_window: DUPLICATE_WINDOW,
        max_age: MAX_AGE,
        // A full stream rejects new deliveries, which SoundHash retries. By default, NATS would
        // delete accepted deliveries instead.
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    match context.get_or_create_stream(config(REPLICAS)).await {
        Err(error) if is_not_clustered(error.kind()) => {
            warn!(
                "NATS runs without a cluster: {name} has only one replica, so a failed disk loses \
                 its deliveries"
            );
            Ok(context.get_or_create_stream(config(1)).await?)
        }
        stream => Ok(stream?),
    }
}

fn is_not_clustered(error: CreateStreamErrorKind) -> bool {
    // JSStreamReplicasNotSupportedErr: "replicas > 1 not supported in non-clustered mode".
    const REPLICAS_NOT_SUPPORTED: u64 = 10074;
    matches!(error, CreateStreamErrorKind::JetStream(error)
        if error.error_code().0 == REPLICAS_NOT_SUPPORTED)
}

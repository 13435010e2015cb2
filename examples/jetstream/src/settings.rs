//! The two streams' settings, and the functions that create the streams or change their settings.

use std::{
    env,
    time::{Duration, SystemTime},
};

use async_nats::jetstream::{
    Context, ErrorCode,
    context::{CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind},
    stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream},
};
use example_program::causes;
use soundhash_webhook::BoxError;
use tracing::warn;

const MAX_BYTES: &str = "SOUNDHASH_WEBHOOK_NATS_MAX_BYTES";

/// The default of `SOUNDHASH_WEBHOOK_NATS_MAX_BYTES`, which is 4 GiB.
const DEFAULT_MAX_BYTES: i64 = 4 * 1024 * 1024 * 1024;

/// The name and settings of a stream with a single subject.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) name: &'static str,
    pub(crate) subject: &'static str,
    max_age: Duration,
    /// The stream gets `SOUNDHASH_WEBHOOK_NATS_MAX_BYTES`, divided by this number.
    divisor: i64,
}

/// The stream of all accepted deliveries.
pub(crate) const ACCEPTED: &Settings = &Settings {
    name: "SOUNDHASH",
    subject: "soundhash.accepted",
    max_age: MAX_AGE,
    divisor: 1,
};

/// The stream of deliveries that the workers gave up on.
pub(crate) const GIVEN_UP: &Settings = &Settings {
    name: "SOUNDHASH_GIVEN_UP",
    subject: "soundhash.given_up",
    max_age: GIVEN_UP_MAX_AGE,
    divisor: 4,
};

const REPLICAS: usize = 3;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The time for which NATS remembers a key. SoundHash's retries end after 9 minutes, but an
/// operator's retry job can repeat a delivery days later. The window does not cover these repeats,
/// because NATS keeps all keys in memory.
const DUPLICATE_WINDOW: Duration = DAY;

/// The time for which deliveries are kept, whether or not they have been handled.
const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The time for which deliveries that the workers gave up on are kept.
const GIVEN_UP_MAX_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Returns the space for accepted deliveries.
pub(crate) fn max_bytes() -> Result<i64, BoxError> {
    let text = env::var(MAX_BYTES).unwrap_or_else(|_| DEFAULT_MAX_BYTES.to_string());
    let max_bytes = text.parse().ok().filter(|&bytes| bytes >= GIVEN_UP.divisor);
    max_bytes.ok_or_else(|| format!("{MAX_BYTES}: {text:?} is not a number of bytes").into())
}

/// Returns a stream, without creating or changing it.
pub(crate) async fn existing(context: &Context, settings: &Settings) -> Result<Stream, BoxError> {
    let stream = context.get_stream(settings.name).await;
    stream.map_err(|error| {
        let (name, error) = (settings.name, causes(&error));
        format!("{name}: {error} (`receive` and `work` create the streams)").into()
    })
}

/// Creates the stream if it does not exist.
pub(crate) async fn create_if_vanished(
    context: &Context,
    settings: &Settings,
    max_bytes: i64,
) -> Result<(), BoxError> {
    let Err(error) = context.get_stream(settings.name).await else {
        return Ok(());
    };
    match error.kind() {
        GetStreamErrorKind::JetStream(error)
            if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
        {
            create(context, settings, max_bytes).await?;
            let name = settings.name;
            warn!("{name} had vanished along with its events, so it was recreated");
            Ok(())
        }
        _ => Err(error.into()),
    }
}

/// Returns the stream, creating it with three replicas if it does not exist. If it exists, its
/// settings are changed, except where NATS would then delete events.
pub(crate) async fn create(
    context: &Context,
    settings: &Settings,
    max_bytes: i64,
) -> Result<Stream, BoxError> {
    let &Settings { name, max_age, .. } = settings;
    let max_bytes = max_bytes / settings.divisor;
    // A server that did not load a stream at its start adopts the files of that stream here, and
    // would delete what exceeds a limit. The limits are therefore set below.
    let config = |num_replicas| Config {
        name: name.into(),
        subjects: vec![settings.subject.into()],
        num_replicas,
        duplicate_window: DUPLICATE_WINDOW,
        // A full stream rejects new deliveries, which SoundHash then retries. By default, NATS
        // would delete the oldest deliveries instead, although they have already been accepted.
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    let stream = match context.get_or_create_stream(config(REPLICAS)).await {
        Err(error) if is_not_clustered(error.kind()) => {
            context.get_or_create_stream(config(1)).await
        }
        stream => stream,
    };
    let stream = stream?;
    // The stream may have been created by another version, or by hand.
    let info = stream.cached_info();
    let is_empty = info.state.messages == 0;
    let existing = &info.config;
    if existing.retention == RetentionPolicy::Interest {
        // NATS does not change the retention of a stream that exists.
        return Err(format!(
            "{name} has the retention Interest, with which events are deleted if no worker has \
             started yet: create it with the retention Limits"
        )
        .into());
    }
    if existing.storage == StorageType::Memory {
        // Nor does it change the storage.
        return Err(format!(
            "{name} has the storage Memory, so a restart of NATS deletes its events: create it with \
             the storage File"
        )
        .into());
    }
    let mut wanted = Config {
        duplicate_window: DUPLICATE_WINDOW.max(existing.duplicate_window),
        // All events have the same subject.
        max_messages_per_subject: -1,
        discard: DiscardPolicy::New,
        ..existing.clone()
    };
    // A `max_age` of zero means unlimited.
    let first = SystemTime::from(info.state.first_timestamp);
    let is_old = !is_empty && first.elapsed().is_ok_and(|age| age >= max_age);
    if existing.max_age > max_age || (existing.max_age.is_zero() && is_old) {
        let (longer, seconds) = (existing.max_age.as_secs(), max_age.as_secs());
        warn!(
            "the max_age of {name} is {longer} s (0 means unlimited), and is not lowered to \
             {seconds} s: `nats stream edit {name} --max-age={seconds}s` does so, and deletes all \
             older events at once, including events that have not been handled"
        );
    } else {
        wanted.max_age = max_age;
    }
    let bytes = info.state.bytes;
    if i64::try_from(bytes).is_ok_and(|bytes| bytes <= max_bytes) {
        // Without a limit, the stream could use up the space of a server. NATS then stops all
        // streams of that server, so that the workers get no events either.
        wanted.max_bytes = max_bytes;
    } else {
        warn!(
            "{name} has {bytes} bytes, so its max_bytes is not set to {max_bytes}: raise {MAX_BYTES}, \
             because `nats stream edit {name} --max-bytes={max_bytes}` deletes the oldest events at \
             once, including events that have not been handled"
        );
    }
    if wanted != *existing {
        match context.update_stream(&wanted).await {
            Ok(_) if is_empty => {}
            Ok(_) => warn!("the settings of {name} were different, and have been changed"),
            Err(error) if is_empty && existing.max_bytes <= 0 => {
                return Err(no_space(name, max_bytes, error));
            }
            // A stream that has events or a limit is used as it is.
            Err(error) => warn!(
                "the settings of {name} cannot be changed: {}",
                no_space(name, max_bytes, error)
            ),
        }
    }
    let replicas = existing.num_replicas;
    // Since 2.10, a server without a cluster names itself the leader of a cluster without a name.
    let cluster = info.cluster.as_ref();
    if cluster.is_none_or(|cluster| cluster.name.is_none()) {
        warn!(
            "NATS runs without a cluster: {name} has only one replica, so a failed disk loses its \
             deliveries. A cluster that you start later does not take over the stream: see \"From \
             one server to three\" in the README"
        );
    } else if replicas < REPLICAS {
        wanted.num_replicas = REPLICAS;
        match context.update_stream(&wanted).await {
            Ok(_) => warn!("{name} had {replicas} of three replicas, and gets the others now"),
            Err(error) => warn!(
                "{name} has {replicas} of three replicas, so a failed disk can lose its deliveries: \
                 {error}"
            ),
        }
    }
    Ok(stream)
}

/// Adds what to do to an error of a server that cannot reserve the stream's space.
fn no_space(name: &str, max_bytes: i64, error: CreateStreamError) -> BoxError {
    if !error.to_string().contains("insufficient storage") {
        return error.into();
    }
    format!(
        "the servers do not have the {max_bytes} bytes that {name} reserves ({error}): raise their \
         max_file_store, or lower {MAX_BYTES}"
    )
    .into()
}

fn is_not_clustered(error: CreateStreamErrorKind) -> bool {
    matches!(error, CreateStreamErrorKind::JetStream(error)
        if error.error_code() == ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED)
}

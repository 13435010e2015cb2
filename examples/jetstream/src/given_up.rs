//! Lists the deliveries that the workers gave up on, and moves them back once the cause is fixed.

use async_nats::jetstream::{message::StreamMessage, stream::RawMessageErrorKind};
use example_program::print_all;
use serde_json::json;
use soundhash_webhook::BoxError;
use tracing::info;

use crate::{
    settings::GIVEN_UP,
    stream::{Streams, id_and_key},
};

/// Prints each delivery that was given up on as one line of JSON with its key and body.
///
/// # Errors
///
/// Returns an error if the cluster does not respond.
pub(crate) async fn list(streams: &Streams) -> Result<(), BoxError> {
    let mut from = 0;
    while let Some(message) = next(streams, from).await? {
        let (_, key) = id_and_key(&message.headers);
        let body = String::from_utf8_lossy(&message.payload);
        let line = json!({"key": key, "body": body, "given_up_at": message.time.to_string()});
        print_all(&line.to_string()).await?;
        from = message.sequence + 1;
    }
    Ok(())
}

/// Moves every delivery that was given up on back to the workers.
///
/// # Errors
///
/// Returns an error if the cluster does not respond. Deliveries that were not moved stay in the
/// stream.
pub(crate) async fn rerun(streams: &Streams) -> Result<(), BoxError> {
    // Deliveries that the workers give up on after this point are not moved.
    let last = streams.given_up().get_info().await?.state.last_sequence;
    let mut from = 0;
    while let Some(message) = next(streams, from).await?
        && message.sequence <= last
    {
        let (_, key) = id_and_key(&message.headers);
        // The delivery needs a new id, because the stream would still treat the original one as a
        // duplicate. The id includes the time, because sequence numbers repeat if the stream is
        // deleted and created again.
        let id = format!("rerun {} {} {key}", message.sequence, message.time);
        streams.accept(&id, &key, message.payload).await?;
        streams.given_up().delete_message(message.sequence).await?;
        info!(key, "moved back");
        from = message.sequence + 1;
    }
    Ok(())
}

/// Returns the first delivery at or after a sequence number, among those that were given up on.
async fn next(streams: &Streams, from: u64) -> Result<Option<StreamMessage>, BoxError> {
    let stream = streams.given_up();
    let message = stream.get_first_raw_message_by_subject(GIVEN_UP.subject, from.max(1));
    match message.await {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

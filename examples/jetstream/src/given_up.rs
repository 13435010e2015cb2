//! The deliveries that the workers gave up: lists them, and moves them back once the cause is
//! fixed.

use std::io::{self, Write};

use async_nats::header::NATS_MESSAGE_ID;
use serde_json::json;
use soundhash_webhook::BoxError;
use tracing::info;

use crate::stream::Streams;

/// Prints each delivery that was given up as one line of JSON, with its key and its body.
///
/// # Errors
///
/// Returns an error if the cluster does not answer.
pub(crate) async fn list(streams: &Streams) -> Result<(), BoxError> {
    for sequence in sequences(streams).await? {
        let message = streams.given_up().get_raw_message(sequence).await?;
        let key = message
            .headers
            .get(NATS_MESSAGE_ID)
            .map(ToString::to_string);
        let body = String::from_utf8_lossy(&message.payload);
        let line = json!({"key": key, "body": body, "given_up_at": message.time.to_string()});
        writeln!(io::stdout(), "{line}")?;
    }
    Ok(())
}

/// Moves every delivery that was given up back to the workers.
///
/// # Errors
///
/// Returns an error if the cluster does not answer. Deliveries that were not moved stay in the
/// stream.
pub(crate) async fn rerun(streams: &Streams) -> Result<(), BoxError> {
    for sequence in sequences(streams).await? {
        let message = streams.given_up().get_raw_message(sequence).await?;
        let key = message.headers.get(NATS_MESSAGE_ID);
        let key = key.map_or_else(String::new, ToString::to_string);
        // Needs another id, because the stream still recognizes the first one.
        let id = format!("rerun {sequence} {key}");
        streams.accept(&id, message.payload).await?;
        streams.given_up().delete_message(sequence).await?;
        info!(key, "moved back");
    }
    Ok(())
}

async fn sequences(streams: &Streams) -> Result<Vec<u64>, BoxError> {
    let state = streams.given_up().get_info().await?.state;
    let mut sequences = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        // Skips deliveries that have been moved back in the meantime.
        if streams.given_up().get_raw_message(sequence).await.is_ok() {
            sequences.push(sequence);
        }
    }
    Ok(sequences)
}

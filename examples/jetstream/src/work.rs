//! The worker, which pulls deliveries and retries each one until it succeeds or is given up on.

use std::{pin::pin, time::Duration};

use async_nats::jetstream::{AckKind, Message};
use example_program::{CancellationToken, print};
use futures_util::{StreamExt, future};
use soundhash_webhook::{BoxError, Event};
use tokio::time::{Instant, interval_at, sleep, timeout};
use tracing::{error, info, warn};

use crate::stream::{ACK_WAIT, PUBLISH_DEADLINE, Streams, id_and_key};

/// The number of events that a worker handles at a time.
const CONCURRENCY: usize = 8;

/// The number of attempts before an event is given up on: one immediately, then one after each
/// delay of 1, 2, 4 … 256 s.
const ATTEMPTS: i64 = 10;
const LONGEST_PAUSE: Duration = Duration::from_secs(256);

/// The time that an action may take. If the consumer's leader dies, a worker waits for its actions
/// before it gets further events, so an action that never ends would stop it.
const ACTION_LIMIT: Duration = Duration::from_secs(10 * 60);

const RESTART_PAUSE: Duration = Duration::from_millis(500);
/// Messages were delivered before an error that comes later than this.
const LONGEST_FAILURE: Duration = Duration::from_secs(60);

/// Handles an event by printing it. A real worker might charge an account or call another service.
///
/// If a worker dies between the action and the acknowledgement, the event is handled again with the
/// same key.
async fn act(key: &str, event: &Event) -> Result<(), BoxError> {
    print(serde_json::to_string(event)?).await?;
    info!(key, "done");
    Ok(())
}

/// Handles events until the process is asked to stop, then finishes those in progress.
///
/// # Errors
///
/// Never returns an error. If the cluster does not respond, the worker keeps trying.
pub(crate) async fn run(streams: Streams, stop: CancellationToken) -> Result<(), BoxError> {
    let mut failing_since = None;
    while !stop.is_cancelled() {
        let start = Instant::now();
        // If the consumer's leader dies, the message stream ends with an error, and another server
        // takes over.
        if let Err(error) = pull(&streams, &stop).await {
            warn!(error, "NATS does not deliver, so the worker tries again");
            if start.elapsed() >= LONGEST_FAILURE {
                failing_since = None;
            }
            // Subscriptions that the server has withdrawn come back only with a new connection.
            if failing_since.get_or_insert(start).elapsed() >= PUBLISH_DEADLINE {
                streams.reconnect();
            }
            sleep(RESTART_PAUSE).await;
        }
    }
    Ok(())
}

async fn pull(streams: &Streams, stop: &CancellationToken) -> Result<(), BoxError> {
    let consume = async {
        let consumer = streams.consumer().await?;
        let messages = consumer
            .stream()
            // At most six fetched events wait here at a time, so each of them waits for at most one
            // running action to finish.
            .max_messages_per_batch(CONCURRENCY / 2)
            .heartbeat(Duration::from_secs(2))
            .expires(Duration::from_secs(5))
            .messages();
        Ok::<_, BoxError>(messages.await?)
    };
    let Some(messages) = stop.run_until_cancelled(consume).await else {
        return Ok(());
    };
    // If the message stream fails, the events that are already in progress still finish.
    let mut ended = Ok(());
    messages?
        .take_until(stop.cancelled())
        .scan(&mut ended, |ended, message| {
            future::ready(message.map_err(|error| **ended = Err(error)).ok())
        })
        .for_each_concurrent(CONCURRENCY, |message| async {
            // If the event cannot be acknowledged, NATS delivers it again.
            if let Err(error) = handle(streams, message).await {
                warn!(error, "not acknowledged");
            }
        })
        .await;
    Ok(ended?)
}

async fn handle(streams: &Streams, message: Message) -> Result<(), BoxError> {
    let (id, key) = message.headers.as_ref().map(id_and_key).unwrap_or_default();
    let attempt = message.info()?.delivered;
    let event = match Event::from_slice(&message.payload) {
        // The worker limits the attempts itself. If the server limited them and the last attempt
        // killed the worker, the server would silently stop delivering the event.
        Ok(event) if attempt <= ATTEMPTS => event,
        given_up => {
            let error = given_up.err().map(|error| error.to_string());
            let body = message.payload.clone();
            if let Err(error) = streams.give_up(&id, &key, body).await {
                // Without a pause, such events would occupy the workers forever.
                let pause_s = LONGEST_PAUSE.as_secs();
                error!(
                    key,
                    attempt, error, pause_s, "cannot be given up, so it is tried again"
                );
                return message.ack_with(AckKind::Nak(Some(LONGEST_PAUSE))).await;
            }
            error!(key, attempt, error, "given up");
            return message.double_ack_with(AckKind::Term).await;
        }
    };
    let mut acting = pin!(timeout(ACTION_LIMIT, act(&key, &event)));
    // The first progress report is sent after a second, so fast actions send none.
    let mut progress = interval_at(Instant::now() + Duration::from_secs(1), ACK_WAIT / 3);
    let acted = loop {
        tokio::select! {
            acted = &mut acting => break acted,
            _ = progress.tick() => {
                if let Err(error) = message.ack_with(AckKind::Progress).await {
                    warn!(key, error, "NATS may deliver the event to another worker");
                }
            }
        }
    };
    match acted.unwrap_or_else(|elapsed| Err(elapsed.into())) {
        // Waits for NATS to confirm the acknowledgement. If the acknowledgement is lost, or the
        // consumer has no leader at that moment, the event is handled again.
        Ok(()) => message.double_ack().await,
        Err(error) => {
            let pause = Duration::from_secs(1 << (attempt - 1).clamp(0, 8));
            warn!(key, error, attempt, pause_s = pause.as_secs(), "failed");
            message.ack_with(AckKind::Nak(Some(pause))).await
        }
    }
}

//! What stands between the receiver and the workers: a job for each event, in one queue.

use std::time::Duration;

use oxana::{Job, OxanaError, Queue, QueueConfig, Storage};
use serde::{Deserialize, Serialize};
use soundhash_webhook::{Event, idempotency::Key};

/// An event that is to be worked on.
#[derive(Debug, Serialize, Deserialize)]
pub struct EventJob {
    /// What the event is known by, the same in each of its deliveries.
    pub id: String,
    /// What happened.
    pub event: Event,
}

impl EventJob {
    /// A job for the event that is known by `key`.
    #[must_use]
    pub fn new(key: &Key, event: Event) -> Self {
        let id = key.to_string();
        Self { id, event }
    }
}

impl Job for EventJob {
    /// By this name, a worker of the next release finds the jobs of this one.
    fn name() -> &'static str {
        "soundhash.event"
    }

    /// As long as a job waits, is worked on, is to be tried again or was given up, there is no
    /// second one with its id. Of those that are done, the idempotency layer knows.
    fn unique_id(&self) -> Option<String> {
        Some(self.id.clone())
    }
}

/// The queue that all events go to, and how many of them a worker works on at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Events;

impl Queue for Events {
    fn to_config() -> QueueConfig {
        QueueConfig::as_static("soundhash-events").concurrency(8)
    }
}

/// The queue's place: a Redis server. It is not connected to before it is used.
///
/// # Errors
///
/// If the URL is none.
pub fn storage(redis_url: &str) -> Result<Storage, OxanaError> {
    Storage::builder()
        // A server that hangs is answered with 503 while SoundHash still waits.
        .redis_response_timeout(Duration::from_secs(5))
        // What was given up is kept until somebody looks at it.
        .dead_job_limit(None)
        .build_from_redis_url(redis_url)
}

//! The working half: each event is sent on to a service that may be slow, or away.

use std::time::Duration;

use async_trait::async_trait;
use oxana::{FromContext, JobContext, OxanaError, Storage, Worker};
use reqwest::{Client, header};
use tokio::time::sleep;
use tracing::{error, info};

use crate::{
    job::{self, EventJob, Events},
    stop::Stop,
};

/// 1 s, 2 s, 4 s and so on, a quarter of an hour at most: with these retries, about a day.
const RETRIES: u32 = 100;
const LONGEST_PAUSE: u64 = 15 * 60;

const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The service that events are sent on to.
#[derive(Clone, Debug)]
pub struct Service {
    client: Client,
    url: String,
}

impl Service {
    /// The service at that URL, which has a minute for each event.
    ///
    /// # Errors
    ///
    /// If the HTTP client cannot be set up.
    pub fn new(url: impl Into<String>) -> reqwest::Result<Self> {
        let client = Client::builder().timeout(Duration::from_secs(60)).build()?;
        let url = url.into();
        Ok(Self { client, url })
    }
}

struct Forward(Service);

impl FromContext<Service> for Forward {
    fn from_context(service: &Service) -> Self {
        Self(service.clone())
    }
}

#[async_trait]
impl Worker<EventJob> for Forward {
    type Error = oxana::BoxError;

    /// A worker that dies may have done its job and not have said so: the job is done once more.
    /// Its id tells the service that it is the same one.
    async fn process(&self, job: EventJob, _: &JobContext) -> Result<(), Self::Error> {
        let Service { client, url } = &self.0;
        let request = client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", header_value(&job.id))
            .body(serde_json::to_vec(&job.event)?);
        request.send().await?.error_for_status()?;
        info!(key = job.id, "done");
        Ok(())
    }

    fn max_retries(&self, _: &EventJob) -> u32 {
        RETRIES
    }

    fn retry_delay(&self, _: &EventJob, retries: u32) -> u64 {
        2_u64.saturating_pow(retries).min(LONGEST_PAUSE)
    }
}

/// An id can have any character, a header cannot.
fn header_value(id: &str) -> String {
    id.escape_default().to_string()
}

/// Works on the queue until the process is told to stop, and ends when the jobs at work have.
///
/// A worker gives up when the Redis server stays away. What is in the queue is there when the
/// server is back, and then so is another worker.
///
/// # Errors
///
/// If the URL is none.
pub async fn run(redis_url: &str, service: Service, stop: Stop) -> Result<(), OxanaError> {
    loop {
        // Made anew: a worker is known by it, and what a dead one had in hand is taken from it by
        // one of another name.
        let queue = job::storage(redis_url)?;
        let Err(error) = work(&queue, service.clone(), stop.clone()).await else {
            return Ok(());
        };
        error!(%error, "the worker ended");
        tokio::select! {
            biased;
            () = stop.clone().told() => return Ok(()),
            () = sleep(RESTART_PAUSE) => {}
        }
    }
}

async fn work(queue: &Storage, service: Service, stop: Stop) -> Result<(), OxanaError> {
    let runtime = queue
        .runtime(service)
        .queue::<Events>()
        .worker::<Forward, EventJob>()
        // How often an empty queue is looked at: 10 s by default.
        .dequeue_timeout(Duration::from_millis(500))
        .error_formatter(ToString::to_string)
        .shutdown_on(async {
            stop.told().await;
            Ok(())
        });
    runtime.run().await.map(drop)
}

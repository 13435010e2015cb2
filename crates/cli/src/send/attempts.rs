//! The attempts to deliver one event.

use std::time::Duration;

use axum::{
    body::Bytes,
    http::{HeaderMap, Method, Request, Uri},
};
use clap::Args;
use tokio::time::sleep;

use crate::{
    error::Error,
    http::{Answer, Client, Connections, NoAnswer, PATIENCE, parse_seconds},
};

/// The options for retries.
#[derive(Args)]
pub(crate) struct RetryArgs {
    /// Retry like SoundHash: up to 3 times, after 60, 120 and 240 seconds
    #[arg(long)]
    retry: bool,
    /// Wait this long before the first retry, and double the wait before each further retry
    #[arg(long, value_name = "SECONDS", default_value = "60", requires = "retry", value_parser = parse_seconds)]
    retry_delay: Duration,
}

impl RetryArgs {
    /// Returns the delay before each retry.
    pub(crate) fn delays(&self) -> Vec<Duration> {
        let factors: &[u32] = if self.retry { &[1, 2, 4] } else { &[] };
        (factors.iter())
            .map(|&factor| self.retry_delay.saturating_mul(factor))
            .collect()
    }
}

/// A request that can be sent several times.
pub(crate) struct Delivery {
    pub(crate) name: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The result of a delivery.
pub(crate) struct Delivered {
    pub(crate) name: String,
    /// The result of the last attempt.
    pub(crate) result: Result<Answer, NoAnswer>,
}

impl Delivered {
    fn is_accepted(&self) -> bool {
        (self.result.as_ref()).is_ok_and(|answer| answer.status.is_success())
    }
}

/// The receiver.
#[derive(Clone)]
pub(crate) struct Target {
    client: Client,
    url: Uri,
}

impl Target {
    pub(crate) fn new(url: Uri) -> Result<Self, Error> {
        let client = Client::new(&url, PATIENCE, Connections::Reused)?;
        Ok(Self { client, url })
    }

    /// Sends a delivery until it is accepted or all delays are used up.
    pub(crate) async fn send(
        &self,
        delivery: Delivery,
        delays: &[Duration],
        on_retry: &impl Fn(&Delivered, Duration),
    ) -> Delivered {
        let mut delays = delays.iter();
        loop {
            let mut request = Request::new(delivery.body.clone().into());
            *request.method_mut() = Method::POST;
            *request.uri_mut() = self.url.clone();
            *request.headers_mut() = delivery.headers.clone();
            let delivered = Delivered {
                name: delivery.name.clone(),
                result: self.client.send(request).await,
            };
            match delays.next() {
                Some(&delay) if !delivered.is_accepted() => {
                    on_retry(&delivered, delay);
                    sleep(delay).await;
                }
                _ => return delivered,
            }
        }
    }
}

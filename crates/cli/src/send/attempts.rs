//! The attempts to deliver one event.

use std::{fmt, time::Duration};

use axum::{
    body::Bytes,
    http::{
        HeaderMap, Method, Request, StatusCode, Uri,
        header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, PROXY_AUTHORIZATION},
    },
};
use clap::Args;
use http_body_util::Full;
use tokio::time::sleep;

use crate::{
    http::{Client, NoResponse, PATIENCE, Response},
    output::escape::excerpt,
    url::{join, parse_seconds},
};

/// The maximum number of redirects that SoundHash's senders follow.
const MAX_REDIRECTS: usize = 10;

/// Options for retries.
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
    pub(crate) redirects: Vec<Redirect>,
    /// The URL of the last request, after all redirects.
    pub(crate) url: Uri,
    /// The response to the last attempt, after all redirects, or the reason why there was none.
    pub(crate) result: Result<Response, NoResponse>,
    /// The reason why the application did not record the event, if the status alone does not show
    /// it.
    pub(crate) not_recorded: Option<String>,
}

impl Delivered {
    /// Returns whether SoundHash would record a success, which depends only on the status of the
    /// last response.
    pub(crate) fn is_recorded_as_success(&self) -> bool {
        (self.result.as_ref()).is_ok_and(|response| response.status.is_success())
    }

    /// Returns whether the handler got the event and accepted it.
    pub(crate) fn is_handled(&self) -> bool {
        self.is_recorded_as_success() && !self.is_lost() && self.not_recorded.is_none()
    }

    /// Returns whether a redirect dropped the body, so that the receiver never got the event.
    pub(crate) fn is_lost(&self) -> bool {
        self.redirects.iter().any(Redirect::drops_body)
    }
}

/// A redirect that was followed.
pub(crate) struct Redirect {
    pub(crate) status: StatusCode,
    pub(crate) location: String,
}

impl Redirect {
    fn drops_body(&self) -> bool {
        matches!(
            self.status,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER
        )
    }
}

impl fmt::Display for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (status, location) = (self.status.as_u16(), excerpt(&self.location, 200));
        match self.drops_body() {
            true => write!(
                f,
                "The receiver redirects ({status}) to {location}. SoundHash follows with a GET \
                 without the body, records the status of that response, and the event is lost."
            ),
            false => write!(
                f,
                "The receiver redirects ({status}) to {location}. SoundHash follows and sends the \
                 event there."
            ),
        }
    }
}

/// The receiver.
#[derive(Clone)]
pub(crate) struct Target {
    client: Client,
    url: Uri,
    max_redirects: usize,
}

impl Target {
    pub(crate) fn new(url: Uri) -> Self {
        let client = Client::from_env(PATIENCE);
        Self {
            client,
            url,
            max_redirects: MAX_REDIRECTS,
        }
    }

    /// Disables redirects, so that no other server receives the event.
    #[cfg(feature = "database")]
    pub(crate) fn without_redirects(mut self) -> Self {
        self.max_redirects = 0;
        self
    }

    /// Sets how long to wait for each response.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.client = Client::from_env(timeout);
        self
    }

    /// Sends a delivery, and retries it after each of the `delays` until it is accepted.
    pub(crate) async fn send(
        &self,
        delivery: Delivery,
        delays: &[Duration],
        on_retry: &impl Fn(&Delivered, Duration),
    ) -> Delivered {
        let mut delays = delays.iter();
        loop {
            let delivered = self.attempt(&delivery).await;
            match delays.next() {
                Some(&delay) if !delivered.is_recorded_as_success() => {
                    on_retry(&delivered, delay);
                    sleep(delay).await;
                }
                _ => return delivered,
            }
        }
    }

    /// Sends a delivery once, and follows redirects as SoundHash's senders do.
    pub(crate) async fn attempt(&self, delivery: &Delivery) -> Delivered {
        let (mut method, mut url) = (Method::POST, self.url.clone());
        let (mut headers, mut body) = (delivery.headers.clone(), delivery.body.clone());
        let mut redirects = Vec::new();
        loop {
            let mut request = Request::new(Full::from(body.clone()));
            *request.method_mut() = method.clone();
            *request.uri_mut() = url.clone();
            *request.headers_mut() = headers.clone();
            let result = self.client.send(request).await;
            let location = result.as_ref().ok().and_then(Response::location);
            if let (Ok(response), Some(location)) = (&result, location)
                && redirects.len() < self.max_redirects
                && let Ok(next) = join(&url, &location)
                && matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308)
            {
                let redirect = Redirect {
                    status: response.status,
                    location: next.to_string(),
                };
                if redirect.drops_body() {
                    (method, body) = (Method::GET, Bytes::new());
                    // Only the headers that describe the body are removed. The signature is kept.
                    headers.remove(CONTENT_LENGTH);
                    headers.remove(CONTENT_TYPE);
                }
                if next.authority() != url.authority() || next.scheme() != url.scheme() {
                    // Like SoundHash's HTTP clients, this does not send credentials to others.
                    for name in [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE] {
                        headers.remove(name);
                    }
                }
                redirects.push(redirect);
                url = next;
                continue;
            }
            return Delivered {
                name: delivery.name.clone(),
                redirects,
                url,
                result,
                not_recorded: None,
            };
        }
    }
}

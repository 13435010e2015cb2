//! The test events, and the ways to send them.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    http::{
        HeaderValue, Method, Request, Uri,
        header::{ACCEPT_ENCODING, CONTENT_LENGTH, EXPECT},
    },
};
use http_body_util::{Channel, Full};
use hyper::ext::on_informational;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use soundhash_webhook::{SIGNATURE_HEADER, Secret, Sender};
use tokio::{sync::Notify, time::timeout};

use crate::{
    http::{Client, NoResponse, Response},
    send::{
        attempts::Delivery,
        events::{headers, test_event},
    },
};

/// How long clients wait for `100 Continue` before they send the body anyway, as curl does.
const CONTINUE: Duration = Duration::from_secs(1);
/// The time between an event and its last retry if every attempt times out.
const LAST_RETRY: SignedDuration = SignedDuration::from_mins(9);
/// The size of the large test event, which is within the default limits of nginx and of the layer.
const LARGE: usize = 900_000;

pub(super) type Result = std::result::Result<Response, NoResponse>;

/// Changes the text of a test event.
type Change = fn(String) -> String;

/// The changes, each with its name and with what a proxy does wrong if only the changed event is
/// rejected.
pub(super) const CHANGES: [(&str, Change, &str); 4] = [
    ("trailing newline", |text| text + "\n", "removes line ends"),
    (
        "NaN",
        |text| text.replacen("true", "true, \"number\": NaN", 1),
        "parses JSON and writes it again",
    ),
    (
        "non-ASCII",
        |text| text.replacen("This is", "Título – 曲 🎵", 1),
        "changes the charset or the escapes",
    ),
    (
        "900 kB",
        |text| text.replacen("This is", &"x".repeat(LARGE), 1),
        "truncates long bodies",
    ),
];

/// A receiver, and the values from which its test events are built.
pub(super) struct Receiver {
    pub(super) client: Client,
    pub(super) url: Uri,
    pub(super) secret: Secret,
    pub(super) event_type: String,
    /// The longest response time so far.
    pub(super) slowest: Duration,
}

impl Receiver {
    /// Returns a new test event from the given sender.
    pub(super) fn event(&self, sender: Sender) -> Delivery {
        self.made(sender, |_| {}, |text| text)
    }

    /// Returns a new test event whose bytes were changed before it was signed.
    pub(super) fn changed(&self, change: impl FnOnce(String) -> String) -> Delivery {
        self.made(Sender::Dispatcher, |_| {}, change)
    }

    /// Returns a new test event that is signed with another secret.
    pub(super) fn signed_with(&self, secret: &Secret) -> Delivery {
        let mut delivery = self.event(Sender::Dispatcher);
        let signature = secret.sign(&delivery.body).into();
        delivery.headers.insert(SIGNATURE_HEADER, signature);
        delivery
    }

    /// Returns a new test event that is as old as an event can be at its last retry.
    pub(super) fn late(&self) -> Delivery {
        let time = (Timestamp::now() - LAST_RETRY).strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00Z");
        let set_time = |event: &mut Value| event["created_at"] = time.to_string().into();
        self.made(Sender::Dispatcher, set_time, |text| text)
    }

    fn made(
        &self,
        sender: Sender,
        edit: impl FnOnce(&mut Value),
        change: impl FnOnce(String) -> String,
    ) -> Delivery {
        let mut event = test_event(&self.event_type, sender);
        edit(&mut event);
        let text = String::from_utf8_lossy(&sender.to_bytes(&event)).into_owned();
        let body = Bytes::from(change(text));
        let mut headers = headers(sender, &event, self.secret.sign(&body).into());
        // SoundHash's senders also send this header, which can change the response.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
        Delivery {
            name: String::new(),
            headers,
            body,
        }
    }

    pub(super) async fn send(&mut self, delivery: &Delivery) -> Result {
        let request = self.request(delivery, Full::from(delivery.body.clone()));
        let result = self.client.send(request).await;
        self.measure(&result);
        result
    }

    /// Sends a delivery in chunks. If `expects` is true, declares the length instead, and sends the
    /// body once the receiver asks for it. The response time is not measured, because it can
    /// include this wait.
    pub(super) async fn stream(&self, delivery: &Delivery, expects: bool) -> Result {
        let (mut sender, body) = Channel::<Bytes>::new(1);
        let mut request = self.request(delivery, body);
        let asked = Arc::new(Notify::new());
        if expects {
            let headers = request.headers_mut();
            headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
            headers.insert(CONTENT_LENGTH, delivery.body.len().into());
            let asked = asked.clone();
            on_informational(&mut request, move |_| asked.notify_one());
        } else {
            asked.notify_one();
        }
        let upload = async move {
            let _ = timeout(CONTINUE, asked.notified()).await;
            for part in delivery.body.chunks(100) {
                // This fails if the receiver has already responded.
                let _ = sender.send_data(Bytes::copy_from_slice(part)).await;
            }
        };
        tokio::join!(self.client.send(request), upload).0
    }

    fn request<B>(&self, delivery: &Delivery, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = delivery.headers.clone();
        request
    }

    pub(super) fn measure(&mut self, result: &Result) {
        let duration = result.as_ref().map(|response| response.duration);
        self.slowest = duration.unwrap_or_default().max(self.slowest);
    }
}

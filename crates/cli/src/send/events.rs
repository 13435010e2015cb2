//! Creates the events that `send` sends.

use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use soundhash_webhook::{EventKind, SIGNATURE_HEADER, Secret, Sender, testing::fresh_sample};

use super::attempts::Delivery;
use crate::data::{self, Data};

/// The type, the sender and an optional payload for the events to create.
pub(super) struct Plan {
    event_type: String,
    sender: Sender,
    data: Option<Data>,
}

impl Plan {
    pub(super) fn new(event_type: String, sender: Sender, data: Option<Data>) -> Self {
        Self {
            event_type,
            sender,
            data,
        }
    }

    /// Returns a plan for each combination of event type and sender.
    pub(super) fn all() -> Vec<Self> {
        let both = |kind: &EventKind| {
            [Sender::Portal, Sender::Dispatcher]
                .map(|sender| Self::new(kind.to_string(), sender, None))
        };
        EventKind::ALL.iter().flat_map(both).collect()
    }

    /// Creates a delivery of a new event, with a new id and the current time.
    pub(super) fn delivery(&self, secret: &Secret) -> Delivery {
        let event = self.event();
        let mut body = self.sender.to_bytes(&event);
        if let Some(data) = &self.data {
            body = data.fill(&String::from_utf8_lossy(&body)).into_bytes();
        }
        Delivery {
            name: format!("{:<20}  {:<10}", self.event_type, self.sender.to_string()),
            headers: headers(self.sender, &event, secret.sign(&body).into()),
            body: body.into(),
        }
    }

    fn event(&self) -> Value {
        let mut event = match self.event_type.parse() {
            Ok(kind) => fresh_sample(kind, self.sender),
            Err(_) => test_event(&self.event_type, self.sender),
        };
        if self.data.is_some() {
            event["data"] = json!(data::PLACEHOLDER);
        }
        event
    }
}

/// Creates an event like the one that SoundHash's test button sends, which can have any type.
pub(crate) fn test_event(event_type: &str, sender: Sender) -> Value {
    let mut event = fresh_sample(EventKind::VideoProcessed, sender);
    let type_member = match sender {
        Sender::Portal => "event",
        Sender::Dispatcher => {
            event["resource_id"] = json!("test-resource");
            event["resource_type"] = json!("test");
            "type"
        }
    };
    event[type_member] = json!(event_type);
    event["data"] = json!({
        "test": true,
        "message": "This is a test webhook event from SoundHash",
    });
    event
}

/// Returns the headers that a sender sets for an event.
pub(crate) fn headers(sender: Sender, event: &Value, signature: HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    headers.insert(SIGNATURE_HEADER, signature);
    let (agent, members): (_, &[_]) = match sender {
        Sender::Portal => (
            "SoundHash-Webhooks/1.0",
            &[
                ("x-webhook-id", "webhook_id"),
                ("x-delivery-id", "delivery_id"),
            ],
        ),
        Sender::Dispatcher => ("SoundHash-Webhook/1.0", &[("x-webhook-event", "type")]),
    };
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    for &(name, member) in members {
        // A type that is not a valid header value appears only in the body.
        if let Ok(value) = HeaderValue::from_str(event[member].as_str().unwrap_or_default()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

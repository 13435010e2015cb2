//! The events that `send` sends.

use axum::{
    body::Bytes,
    http::header::{self, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use soundhash_webhook::{EventKind, SIGNATURE_HEADER, Secret, Sender, testing::fresh_sample};

use super::attempts::Delivery;
use crate::data::{self, Data};

/// A type of event, from one of the senders.
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

    /// Every type from both senders.
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
        let body = Bytes::from(body);
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(SIGNATURE_HEADER, secret.sign(&body).into());
        let mut add = |name: HeaderName, value: &str| {
            // A type that is not a valid header value is in the body only.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        match self.sender {
            Sender::Portal => {
                add(header::USER_AGENT, "SoundHash-Webhooks/1.0");
                for (name, member) in [
                    ("x-webhook-id", "webhook_id"),
                    ("x-delivery-id", "delivery_id"),
                ] {
                    let value = event[member].as_str().unwrap_or_default();
                    add(HeaderName::from_static(name), value);
                }
            }
            Sender::Dispatcher => {
                add(header::USER_AGENT, "SoundHash-Webhook/1.0");
                add(HeaderName::from_static("x-webhook-event"), &self.event_type);
            }
        }
        Delivery {
            name: format!("{:<20}  {:<10}", self.event_type, self.sender.to_string()),
            headers,
            body,
        }
    }

    fn event(&self) -> Value {
        let mut event = match self.event_type.parse() {
            Ok(kind) => fresh_sample(kind, self.sender),
            Err(_) => self.test_event(),
        };
        if self.data.is_some() {
            event["data"] = json!(data::PLACEHOLDER);
        }
        event
    }

    /// Creates the event of SoundHash's test button, which can have any type.
    fn test_event(&self) -> Value {
        let mut event = fresh_sample(EventKind::VideoProcessed, self.sender);
        let type_member = match self.sender {
            Sender::Portal => "event",
            Sender::Dispatcher => {
                event["resource_id"] = json!("test-resource");
                event["resource_type"] = json!("test");
                "type"
            }
        };
        event[type_member] = json!(self.event_type);
        event["data"] = json!({
            "test": true,
            "message": "This is a test webhook event from SoundHash",
        });
        event
    }
}

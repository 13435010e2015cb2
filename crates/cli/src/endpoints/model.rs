//! The API's responses, with the members that the tables show.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil, tz::TimeZone};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use soundhash_webhook::Id;

use crate::error::Error;

#[derive(Deserialize)]
pub(super) struct Endpoint {
    pub(super) id: Id,
    pub(super) url: String,
    pub(super) description: Option<String>,
    #[serde(default)]
    pub(super) events: Vec<String>,
    pub(super) is_active: Option<bool>,
    pub(super) rate_limit_per_minute: Option<u64>,
    pub(super) custom_headers: Option<BTreeMap<String, String>>,
    #[serde(flatten)]
    pub(super) counts: Counts,
    pub(super) created_at: Option<String>,
}

/// Counts of deliveries, of an endpoint and of its statistics.
#[derive(Deserialize)]
pub(super) struct Counts {
    pub(super) total_deliveries: Option<u64>,
    pub(super) successful_deliveries: Option<u64>,
    pub(super) failed_deliveries: Option<u64>,
    pub(super) last_delivery_at: Option<String>,
    pub(super) last_success_at: Option<String>,
    pub(super) last_failure_at: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Stats {
    #[serde(flatten)]
    pub(super) counts: Counts,
    pub(super) success_rate: Option<f64>,
    pub(super) average_response_time_ms: Option<f64>,
}

/// The result of a test delivery.
#[derive(Deserialize)]
pub(super) struct Tested {
    pub(super) success: bool,
    pub(super) status_code: Option<u16>,
    pub(super) response_body: Option<String>,
    pub(super) error_message: Option<String>,
    pub(super) duration_ms: Option<u64>,
}

/// One attempt to deliver an event.
#[derive(Clone, Deserialize)]
pub(super) struct Attempt {
    pub(super) event_id: Id,
    #[serde(rename = "attempt_number")]
    pub(super) number: u64,
    pub(super) status: String,
    pub(super) response_status_code: Option<u16>,
    pub(super) error_message: Option<String>,
    pub(super) duration_ms: Option<u64>,
    pub(super) next_retry_at: Option<String>,
    pub(super) created_at: Option<String>,
}

/// Reads a response of the API.
pub(super) fn read<T: DeserializeOwned>(response: &Value) -> Result<T, Error> {
    T::deserialize(response).map_err(|error| {
        Error::failed(format!(
            "the API's response was not understood: {error}. Try --json, and look for a newer \
             version of this command."
        ))
    })
}

/// Parses a time. A time without an offset is UTC.
pub(super) fn instant(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let time: civil::DateTime = text.parse().ok()?;
        Some(time.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp())
    })
}

/// Displays a time in the time zone of this machine, to the second.
pub(super) fn time(text: Option<&str>) -> String {
    let Some(text) = text else {
        return "never".to_owned();
    };
    match instant(text) {
        Some(time) => (time.to_zoned_datetime(TimeZone::system()))
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string(),
        None => text.to_owned(),
    }
}

//! The API's responses, with the members that the tables show.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil, tz::TimeZone};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use soundhash_webhook::Id;

use crate::error::Error;

#[derive(Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) id: Id,
    pub(crate) url: String,
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) events: Vec<String>,
    pub(crate) is_active: Option<bool>,
    pub(crate) rate_limit_per_minute: Option<u64>,
    pub(crate) custom_headers: Option<BTreeMap<String, String>>,
    #[serde(flatten)]
    pub(crate) counts: Counts,
    pub(crate) created_at: Option<String>,
}

/// Counts of deliveries, of an endpoint and of its statistics.
#[derive(Deserialize)]
pub(crate) struct Counts {
    pub(crate) total_deliveries: Option<u64>,
    pub(crate) successful_deliveries: Option<u64>,
    pub(crate) failed_deliveries: Option<u64>,
    pub(crate) last_delivery_at: Option<String>,
    pub(crate) last_success_at: Option<String>,
    pub(crate) last_failure_at: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Stats {
    #[serde(flatten)]
    pub(crate) counts: Counts,
    pub(crate) success_rate: Option<f64>,
    pub(crate) average_response_time_ms: Option<f64>,
}

/// The result of a test delivery.
#[derive(Deserialize)]
pub(crate) struct Tested {
    pub(crate) success: bool,
    pub(crate) status_code: Option<u16>,
    pub(crate) response_body: Option<String>,
    pub(crate) error_message: Option<String>,
    pub(crate) duration_ms: Option<u64>,
}

/// Reads a response of the API.
pub(crate) fn read<T: DeserializeOwned>(response: &Value) -> Result<T, Error> {
    T::deserialize(response).map_err(|error| {
        Error::failed(format!(
            "the API's response was not understood: {error}. Try --json, and look for a newer \
             version of this command."
        ))
    })
}

/// Parses a time. A time without an offset is UTC.
fn instant(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let time: civil::DateTime = text.parse().ok()?;
        Some(time.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp())
    })
}

/// Displays a time in the time zone of this machine, to the second.
pub(crate) fn time(text: Option<&str>) -> String {
    let Some(text) = text else {
        return "never".to_owned();
    };
    instant(text).map_or_else(|| text.to_owned(), local)
}

/// Displays a time in the time zone of this machine, to the second.
pub(crate) fn local(time: Timestamp) -> String {
    (time.to_zoned_datetime(TimeZone::system()))
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

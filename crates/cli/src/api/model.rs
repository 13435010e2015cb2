//! The API's responses, reduced to the members that the tables show.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil, tz::TimeZone};
use serde::{Deserialize, Serialize};
use soundhash_webhook::Id;

use crate::error::Error;

/// An endpoint. It serializes to the request that creates another endpoint with the same settings.
#[derive(Deserialize, Serialize)]
pub(crate) struct Endpoint {
    #[serde(skip_serializing)]
    pub(crate) id: Id,
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) events: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate_limit_per_minute: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) custom_headers: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing)]
    pub(crate) is_active: Option<bool>,
    #[serde(skip_serializing)]
    pub(crate) created_at: Option<String>,
    #[serde(skip_serializing)]
    pub(crate) total_deliveries: Option<u64>,
    #[serde(skip_serializing)]
    pub(crate) failed_deliveries: Option<u64>,
    /// Present only in the response to the request that created the endpoint.
    #[serde(skip_serializing)]
    pub(crate) secret: Option<String>,
}

/// The delivery counts in an endpoint or in its statistics.
#[derive(Deserialize)]
pub(crate) struct Counts {
    pub(crate) total_deliveries: Option<u64>,
    pub(crate) successful_deliveries: Option<u64>,
    pub(crate) failed_deliveries: Option<u64>,
    pub(crate) last_delivery_at: Option<String>,
    pub(crate) last_success_at: Option<String>,
    pub(crate) last_failure_at: Option<String>,
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

/// Parses an API response. Unknown members are skipped, and take no memory.
pub(crate) fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|error| {
        Error::failed(format!(
            "the API's response was not understood: {error}. Try --json, and look for a newer \
             version of this command."
        ))
    })
}

/// Displays a time in this machine's time zone. A time without an offset is taken to be UTC.
pub(crate) fn time(text: Option<&str>) -> String {
    let parse = |text: &str| {
        text.parse().ok().or_else(|| {
            let time: civil::DateTime = text.parse().ok()?;
            Some(time.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp())
        })
    };
    let text = text.unwrap_or("never");
    parse(text).map_or_else(|| text.to_owned(), local)
}

/// Displays a time in this machine's time zone, to the second.
pub(crate) fn local(time: Timestamp) -> String {
    let time = time.to_zoned_datetime(TimeZone::system());
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

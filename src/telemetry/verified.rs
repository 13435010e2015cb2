//! Deliveries that the verification layer accepts, and how long verification takes.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use super::{
    handler::{DeliveryFields, HandlerWatch},
    log::{enabled, log},
    metrics, recorder,
    text::{escape, escape_display, milliseconds},
};

/// Records that the verification layer accepted a delivery, and returns the watch for its handler.
///
/// `delivery` is called only if its fields are recorded, because it parses the envelope. `detached`
/// is called only if the handler is watched.
pub(crate) fn verified<'a>(
    delivery: impl FnOnce() -> DeliveryFields<'a>,
    detached: impl FnOnce() -> Arc<AtomicBool>,
    stopwatch: &Stopwatch,
) -> Option<HandlerWatch> {
    if !super::is_on() {
        return None;
    }
    let records = records_verified();
    let fields = (records || HandlerWatch::has_span()).then(delivery);
    if let Some(fields) = fields.filter(|_| records) {
        record(fields, stopwatch.times());
    }
    Some(HandlerWatch::start(fields, detached()))
}

/// Returns whether [`verified`] records any of the delivery's fields.
fn records_verified() -> bool {
    cfg!(feature = "metrics") || enabled!(DEBUG)
}

fn record(delivery: DeliveryFields<'_>, times: Option<Times>) {
    log!(
        debug,
        id = delivery.id.map(escape_display),
        event_type = delivery.event_type.map(escape),
        endpoint = delivery.endpoint.map(escape),
        bytes = delivery.bytes,
        matched_secret = delivery.matched_secret,
        secret_label = delivery.secret_label,
        waited_ms = times.map(|times| milliseconds(times.waited)),
        hashed_ms = times.map(|times| milliseconds(times.hashed)),
        "webhook verified",
    );
    let event_type = match delivery.event_type {
        Some(_) => delivery.known_type.unwrap_or(metrics::OTHER_TYPE),
        None => metrics::NO_TYPE,
    };
    recorder::delivery(metrics::DELIVERIES, metrics::ACCEPTED, event_type);
    let index = ["0", "1", "2", "3"].get(delivery.matched_secret);
    let secret = match delivery.secret_label {
        Some(label) => Cow::Owned(label.to_owned()),
        None => Cow::Borrowed(*index.unwrap_or(&"other")),
    };
    recorder::count(metrics::MATCHED_SECRET, "secret", secret);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
    recorder::record(metrics::BODY_BYTES, delivery.bytes as f64);
    if let Some(times) = times {
        recorder::record(metrics::BODY_WAIT, times.waited.as_secs_f64());
        recorder::record(metrics::VERIFICATION, times.hashed.as_secs_f64());
    }
}

/// Measures how long it takes to receive and hash a body. Reads the clock only if the result is
/// recorded.
pub(crate) struct Stopwatch(Option<Running>);

struct Running {
    start: Instant,
    hashed: Duration,
}

#[derive(Clone, Copy)]
struct Times {
    waited: Duration,
    hashed: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(records_verified().then(|| Running {
            start: Instant::now(),
            hashed: Duration::ZERO,
        }))
    }

    pub(crate) fn hashing<T>(&mut self, hash: impl FnOnce() -> T) -> T {
        let Some(running) = &mut self.0 else {
            return hash();
        };
        let start = Instant::now();
        let result = hash();
        running.hashed += start.elapsed();
        result
    }

    fn times(&self) -> Option<Times> {
        self.0.as_ref().map(|&Running { start, hashed }| Times {
            // All time not spent hashing counts as waiting, because everything else is negligible.
            waited: start.elapsed().saturating_sub(hashed),
            hashed,
        })
    }
}

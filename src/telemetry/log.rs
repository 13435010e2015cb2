use std::{error::Error, time::Duration};

use axum_core::BoxError;
use tracing::{Level, debug, enabled, error, field, warn};

use super::stopwatch::Times;
use crate::{
    delivery::Delivery,
    event::{EventError, EventKind, Id},
    idempotency::{Answer, AnswerKind, Key},
    rejection::{Rejection, RejectionKind},
};

/// What a filter selects by: the crate, and not the place within it.
const TARGET: &str = "soundhash_webhook";

pub(super) fn refused(rejection: &Rejection) {
    let (reason, source) = (rejection.kind().as_str(), rejection.source());
    if rejection.kind() == RejectionKind::SecretsUnavailable {
        error!(target: TARGET, reason, source, "webhook refused: {rejection}");
    } else {
        debug!(target: TARGET, reason, source, "webhook refused: {rejection}");
    }
}

pub(super) fn verified_is_heard() -> bool {
    enabled!(target: TARGET, Level::DEBUG)
}

pub(super) fn verified(
    delivery: &Delivery,
    event_type: Option<&str>,
    id: Option<&Id>,
    times: Option<Times>,
) {
    debug!(
        target: TARGET,
        event_type = event_type.map(shown),
        id = id.map(|id| shown(&id.to_string())),
        endpoint = delivery.endpoint(),
        bytes = delivery.body().len(),
        matched_secret = delivery.matched_secret(),
        waited = times.map(|times| field::debug(times.waited)),
        hashed = times.map(|times| field::debug(times.hashed)),
        "webhook verified",
    );
}

pub(super) fn unrecognized(event_type: &str, type_is_known: bool) {
    // Not why its payload does not fit: that may quote from it.
    warn!(
        target: TARGET,
        event_type = shown(event_type),
        "webhook event not recognized: {}",
        if type_is_known { "its payload does not fit" } else { "its type is unknown" },
    );
}

pub(super) fn of_another_type(event_type: &str, expected: EventKind) {
    warn!(
        target: TARGET,
        event_type = shown(event_type),
        expected = expected.as_str(),
        "webhook event is of another type than its handler takes",
    );
}

/// What a sender wrote: not longer than a line of a log should be. As a string, because a
/// string is escaped, and no line can be forged.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

pub(super) fn undecodable(error: &EventError) {
    warn!(target: TARGET, %error, "webhook body is not an event");
}

pub(super) fn layer_missing() {
    error!(
        target: TARGET,
        "no SoundHashWebhookLayer around this handler: nothing is verified, so it was answered with 500"
    );
}

pub(super) fn not_acted_on(answer: &Answer) {
    let (reason, source) = (answer.kind().as_str(), answer.source());
    match answer.kind() {
        AnswerKind::StoreUnavailable | AnswerKind::Unverified => {
            error!(target: TARGET, reason, source, "webhook not acted on: {answer}");
        }
        _ => debug!(target: TARGET, reason, source, "webhook not acted on: {answer}"),
    }
}

pub(super) fn lease_lost(key: &Key, lease: Duration) {
    warn!(
        target: TARGET,
        %key,
        ?lease,
        "webhook handler outlived its lease, or the store forgot it: the event may be acted on twice"
    );
}

pub(super) fn not_recorded(key: &Key, completed: bool, error: &BoxError) {
    error!(
        target: TARGET,
        %key,
        completed,
        %error,
        "idempotency store failed: trying again until the lease ends"
    );
}

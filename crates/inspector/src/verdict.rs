//! The verdict on a request, and the reason for it.

use std::{borrow::Cow, fmt};

use axum::response::Response;
use http::StatusCode;
use soundhash_webhook::{
    Rejection, RejectionKind,
    idempotency::{Outcome, OutcomeKind},
};

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// The signature was valid and the handler responded with 2xx.
    Accepted,
    /// The event had already been completed, so the idempotency layer responded instead of the
    /// handler.
    Duplicate,
    /// A layer rejected the request, and the handler was not called.
    Rejected,
    /// The handler responded with a status other than 2xx, or panicked.
    Failed,
    /// The request was dropped before the handler responded, because the sender hung up or a
    /// timeout expired.
    Canceled,
}

impl Verdict {
    /// Returns the verdict in lowercase, such as `canceled`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Tells the endpoint's owner that a redirect may have changed the request.
const REDIRECTED: &str = " If SoundHash sent it, a redirect dropped the body and lost the event. \
     Register the URL that the redirect leads to. Usual causes are http instead of https, a trailing \
     slash, a missing www, and a login in front of the endpoint.";

/// A verdict with its reason.
pub(crate) struct Judgment {
    pub(crate) verdict: Verdict,
    pub(crate) reason: Option<Cow<'static, str>>,
    pub(crate) verified: bool,
    /// Whether the request was rejected because of its signature.
    pub(crate) explainable: bool,
}

impl Judgment {
    pub(crate) fn new(
        verdict: Verdict,
        reason: impl Into<Cow<'static, str>>,
        verified: bool,
    ) -> Self {
        Self {
            verdict,
            reason: Some(reason.into()),
            verified,
            explainable: false,
        }
    }

    /// Determines the verdict from a response. `verified` tells whether the layer verified the
    /// request. `is_authentic` recognizes deliveries that the application verified without the
    /// layer.
    pub(crate) fn of(
        response: &Response,
        verified: bool,
        is_authentic: impl FnOnce() -> bool,
    ) -> Self {
        let extensions = response.extensions();
        if let Some(rejection) = extensions.get::<Rejection>() {
            let explainable = matches!(
                rejection.kind(),
                RejectionKind::WrongSignature
                    | RejectionKind::MalformedSignature
                    | RejectionKind::SeveralSignatures
                    | RejectionKind::Redirected
            );
            let mut reason = sentence(&rejection.to_string());
            if rejection.kind() == RejectionKind::Redirected {
                reason.push_str(REDIRECTED);
            }
            return Self {
                explainable,
                ..Self::new(Verdict::Rejected, reason, false)
            };
        }
        if let Some(outcome) = extensions.get::<Outcome>() {
            let verdict = match outcome.kind() {
                OutcomeKind::Duplicate => Verdict::Duplicate,
                OutcomeKind::StoreUnavailable | OutcomeKind::Unverified => Verdict::Failed,
                _ => Verdict::Rejected,
            };
            let verified = outcome.kind() != OutcomeKind::Unverified;
            return Self::new(verdict, sentence(&outcome.to_string()), verified);
        }
        let status = response.status();
        let is_replayed = (response.headers().get("idempotent-replayed"))
            .is_some_and(|replayed| replayed == "true");
        if !verified && !is_authentic() {
            let (verdict, reason) = match status {
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                    let reason = "No route of the application takes this request.";
                    (Verdict::Rejected, reason)
                }
                _ => (
                    Verdict::Failed,
                    "No `SoundHashWebhookLayer` verified this request: it is missing on this \
                     route, or something outside of it responded.",
                ),
            };
            Self::new(verdict, reason, false)
        } else if is_replayed {
            Self::new(Verdict::Duplicate, "The event was handled before.", true)
        } else if !status.is_success() {
            let code = status.as_u16();
            let reason = match status {
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => format!(
                    "The response was {code}: no route takes this request, or the handler \
                     responded with it."
                ),
                _ => format!("The handler responded with {code}."),
            };
            Self::new(Verdict::Failed, reason, true)
        } else {
            Self {
                reason: None,
                ..Self::new(Verdict::Accepted, "", true)
            }
        }
    }
}

/// Turns an error message into a sentence.
fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars).chain(['.']).collect()
}

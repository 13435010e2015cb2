//! Explains what a wrong response means and how to fix the application.

use std::{error, fmt};

use http::StatusCode;

use super::case::{Case, Expected};
use crate::rejection::RejectionKind;

/// A wrong response to a [`HostileRequest`](super::HostileRequest).
///
/// [`Display`](fmt::Display) and [`Debug`](fmt::Debug) both explain the response and how to fix the
/// application, so that an `unwrap` in a test prints the explanation. [`FailureReport`] groups
/// several failures.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    name: &'static str,
    expected: Option<StatusCode>,
    status: StatusCode,
    kind: FailureKind,
}

macro_rules! kinds {
    ($($kind:ident: $advice:literal,)*) => {
        /// The kinds of [`Failure`], with the meaning of each and how to fix the application.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum FailureKind {$(
            #[doc = $advice]
            $kind,
        )*}

        impl FailureKind {
            fn advice(self) -> &'static str {
                match self {$(
                    Self::$kind => $advice,
                )*}
            }
        }
    };
}

kinds! {
    Unprotected:
        "Nothing verified the request: there is no `SoundHashWebhookLayer` around this route, so \
         anyone who knows its URL can send events. A `.layer` call does not protect routes that are \
         added after it. On such a route, a handler that takes `Event` or `Delivery` responds with \
         500, and one that takes `Json` or `Bytes` accepts the forged event.",
    RejectedElsewhere:
        "The layer did not respond to the request: either there is no `SoundHashWebhookLayer` around \
         this route, or something outside of the layer reads unverified requests. Put the layer \
         around the route, and move everything that reads requests inside of the layer.",
    NoRoute:
        "Nothing receives a POST at this path. Call `request` with the whole path that SoundHash \
         sends to, including the prefixes of nested routers.",
    BodyLimit:
        "A body limit other than the layer's rejected the request or truncated the body. It can be \
         axum's `DefaultBodyLimit`, a `RequestBodyLimitLayer` or your own. Remove limits outside of \
         the layer. Inside of it, a limit below `max_body_size` rejects authentic deliveries.",
    BodyRead:
        "Something outside of the layer read the unverified body, before any limit applied. Move it \
         inside of the layer, where it gets the verified body.",
    BodyChanged:
        "Every signature is wrong, because something outside of the layer decodes or rewrites the \
         body, or because the layer and `hostile_requests` have different secrets. Move what changes \
         the body inside of the layer.",
    HeadChanged:
        "Something outside of the layer removes, duplicates or changes the header \
         `X-Webhook-Signature`.",
    MaxBodySize:
        "The layer and `hostile_requests` have different values of `max_body_size`. Pass the value \
         of the layer to `HostileRequests::max_body_size`.",
    NoSecret:
        "The `SecretProvider` failed, or does not have a secret for this path. Give it the same \
         secret as `hostile_requests`.",
    OtherRejection:
        "The layer rejected the request for a different reason than expected. The reason is the \
         `Rejection` in the extensions of the response.",
    NotAccepted:
        "The application did not accept an authentic delivery. SoundHash retries after such a \
         response, and then drops the event. Either something outside of the layer rejected the \
         request because of its headers, or your handler rejected it. A handler must accept every \
         type and payload.",
    Redirected:
        "The application redirects the delivery. SoundHash follows redirects with a GET without a \
         body, and records the status of the final page, so the event counts as delivered but is \
         lost. Respond with 404 to paths that do not exist, and do not redirect POST requests to \
         HTTPS, to a path with or without a trailing slash, or to a login.",
    AcceptedElsewhere:
        "The application responds with 2xx to a delivery at a path that does not exist, for example \
         with the page of a single-page application. If the registered URL has a mistake, the event \
         counts as delivered but is lost. Respond with 404 to POST requests to such paths.",
    OtherRoute:
        "The layer surrounds a route that does not handle events. The signature covers neither the \
         method nor the path, so an attacker can replay a recorded delivery there. After a 2xx to a \
         replayed POST, an `IdempotencyLayer` marks the event as completed, and the handler never \
         receives it. Put the layers only around the route of the webhook.",
}

/// The response to a request, and what the application did with the request.
pub(super) struct Seen {
    pub(super) status: StatusCode,
    pub(super) rejection: Option<RejectionKind>,
    pub(super) verified: bool,
    /// Whether the body was read.
    pub(super) asked: bool,
}

impl Failure {
    pub(super) fn of(case: &Case, seen: &Seen) -> Result<(), Self> {
        let redirected = seen.status.is_redirection() && seen.rejection.is_none();
        let unhandled = matches!(case.expected, Expected::Unhandled);
        let kind = match case.expected {
            _ if redirected && !unhandled => Some(FailureKind::Redirected),
            Expected::Rejected(expected) => rejected(expected, seen),
            // The oversized body is authentic, so a layer that accepts it must have a different
            // limit.
            Expected::OverLimit => rejected(RejectionKind::BodyTooLarge, seen).map(|it| {
                if seen.status.is_success() {
                    FailureKind::MaxBodySize
                } else {
                    it
                }
            }),
            // The status is checked first, because an unprotected route also reads the body.
            Expected::Unread => rejected(RejectionKind::MissingSignature, seen)
                .or(seen.asked.then_some(FailureKind::BodyRead)),
            Expected::Accepted => accepted(seen),
            Expected::Unhandled => {
                (seen.verified && seen.status.is_success()).then_some(FailureKind::OtherRoute)
            }
            Expected::NotRedirected => (seen.status.is_success() && !seen.verified)
                .then_some(FailureKind::AcceptedElsewhere),
        };
        match kind {
            None => Ok(()),
            Some(kind) => Err(Self {
                name: case.name,
                expected: case.expected.status(),
                status: seen.status,
                kind,
            }),
        }
    }

    /// Returns the kind of the failure.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Returns the name of the request.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Writes what happened, without the explanation.
    fn write_response(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: responded with {}", self.name, self.status.as_u16())?;
        match self.expected {
            Some(expected) if expected == self.status => Ok(()),
            Some(expected) => write!(f, " and not {}", expected.as_u16()),
            None => f.write_str(" and not 2xx"),
        }
    }
}

/// Checks the response to a request that must be rejected.
fn rejected(expected: RejectionKind, seen: &Seen) -> Option<FailureKind> {
    use RejectionKind::{
        BodyBroken, BodyTooLarge, Redirected, SecretsUnavailable, UnknownEndpoint, WrongSignature,
    };
    // Only the status is checked, because an application may replace the response and thereby lose
    // the reason.
    if seen.status == expected.status() {
        return None;
    }
    Some(match (expected, seen.rejection) {
        (_, Some(SecretsUnavailable)) => FailureKind::NoSecret,
        (BodyTooLarge, Some(BodyBroken)) => FailureKind::BodyLimit,
        (BodyTooLarge, Some(WrongSignature | Redirected | UnknownEndpoint)) => {
            FailureKind::MaxBodySize
        }
        (_, Some(BodyTooLarge)) => FailureKind::MaxBodySize,
        (BodyBroken, Some(WrongSignature | Redirected)) => FailureKind::BodyChanged,
        (_, Some(_)) => FailureKind::OtherRejection,
        (_, None) => match seen.status {
            status if status.is_success() => FailureKind::Unprotected,
            // The extractors respond with 500 if the layer is missing.
            StatusCode::INTERNAL_SERVER_ERROR => FailureKind::Unprotected,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => FailureKind::NoRoute,
            StatusCode::PAYLOAD_TOO_LARGE => FailureKind::BodyLimit,
            _ => FailureKind::RejectedElsewhere,
        },
    })
}

/// Checks the response to an authentic delivery.
fn accepted(seen: &Seen) -> Option<FailureKind> {
    use RejectionKind::{
        BodyBroken, BodyTooLarge, MalformedSignature, MissingSignature, Redirected,
        SecretsUnavailable, SeveralSignatures, UnknownEndpoint, WrongSignature,
    };
    match seen.rejection {
        Some(WrongSignature | Redirected) => Some(FailureKind::BodyChanged),
        Some(MissingSignature | SeveralSignatures | MalformedSignature) => {
            Some(FailureKind::HeadChanged)
        }
        Some(BodyTooLarge) => Some(FailureKind::MaxBodySize),
        Some(BodyBroken) => Some(FailureKind::BodyLimit),
        Some(UnknownEndpoint | SecretsUnavailable) => Some(FailureKind::NoSecret),
        Some(_) => Some(FailureKind::OtherRejection),
        None => match seen.status {
            status if status.is_success() => None,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Some(FailureKind::NoRoute),
            StatusCode::PAYLOAD_TOO_LARGE => Some(FailureKind::BodyLimit),
            _ => Some(FailureKind::NotAccepted),
        },
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_response(f)?;
        write!(f, ". {}", self.kind.advice())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl error::Error for Failure {}

/// Several [`Failure`]s, grouped by their cause.
///
/// ```
/// # use axum::{Router, http::StatusCode, routing::post};
/// # use soundhash_webhook::{Secret, testing::{FailureReport, hostile_requests}};
/// # use tower::ServiceExt;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let secret = Secret::new("whsec_test");
/// # let app: Router = Router::new().route("/hooks", post(|| async { StatusCode::OK }));
/// let mut report = FailureReport::default();
/// for hostile in hostile_requests(&secret) {
///     let response = app.clone().oneshot(hostile.request("/hooks")).await.unwrap();
///     report.extend(hostile.check(&response).err());
/// }
/// // In a test: assert!(report.is_empty(), "{report}");
/// assert!(report.to_string().starts_with("Nothing verified the request"));
/// # }
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FailureReport(Vec<Failure>);

impl FailureReport {
    /// Returns `true` if every response was as expected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the failures, in the order of the requests.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.0.iter()
    }

    /// Returns the kind that best explains a failure, given all the other failures.
    fn cause(&self, failure: &Failure) -> FailureKind {
        let is_unprotected = || self.0.iter().any(|it| it.kind == FailureKind::Unprotected);
        match failure.kind {
            // If the layer is missing, the extractors respond with 500 even to authentic
            // deliveries.
            FailureKind::NotAccepted if failure.status.is_server_error() && is_unprotected() => {
                FailureKind::Unprotected
            }
            kind => kind,
        }
    }
}

impl Extend<Failure> for FailureReport {
    fn extend<T: IntoIterator<Item = Failure>>(&mut self, failures: T) {
        self.0.extend(failures);
    }
}

impl FromIterator<Failure> for FailureReport {
    fn from_iter<T: IntoIterator<Item = Failure>>(failures: T) -> Self {
        Self(failures.into_iter().collect())
    }
}

/// Writes each cause once, followed by the requests with that cause.
impl fmt::Display for FailureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut causes = Vec::new();
        for failure in &self.0 {
            let cause = self.cause(failure);
            if !causes.contains(&cause) {
                causes.push(cause);
            }
        }
        for cause in causes {
            writeln!(f, "{}", cause.advice())?;
            for failure in self.0.iter().filter(|it| self.cause(it) == cause) {
                f.write_str("- ")?;
                failure.write_response(f)?;
                f.write_str("\n")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FailureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

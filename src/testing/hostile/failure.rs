use std::{error, fmt};

use http::StatusCode;

use super::case::Case;
use crate::rejection::RejectionKind;

/// What a wrong answer to a [`HostileRequest`](super::HostileRequest) means, and what to mend.
///
/// Both [`Display`](fmt::Display) and [`Debug`](fmt::Debug) say it, so that an `unwrap` in a test
/// does.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    name: &'static str,
    expected: Option<StatusCode>,
    status: StatusCode,
    kind: FailureKind,
}

/// The kinds of [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// A request that nobody signed was accepted, or came as far as the handler: the layer is
    /// missing on this route.
    Unprotected,
    /// Something else than the layer refused it, before the layer or in its place.
    AnsweredElsewhere,
    /// There is no such path, or it takes no POST.
    NoRoute,
    /// Another limit of the body's size than the layer's answered, or cut the body off.
    BodyLimit,
    /// Something outside of the layer reads bodies that nobody signed.
    BodyRead,
    /// The bytes that reach the layer are not those that were signed, or the secret is another.
    BodyChanged,
    /// The signature header that reaches the layer is not the one that was sent.
    HeadChanged,
    /// The layer's `max_body_size` is not the one that was told.
    MaxBodySize,
    /// The layer has no secret for this path, or could not look it up.
    NoSecret,
    /// The layer refused it for another reason than it should.
    OtherRefusal,
    /// An authentic delivery was let through by the layer, and refused by what is behind it; or
    /// never reached the layer.
    NotAccepted,
}

/// What became of a request.
pub(super) struct Seen {
    pub(super) status: StatusCode,
    /// Why the layer refused it, if it did.
    pub(super) rejection: Option<RejectionKind>,
    /// Whether somebody read of its body.
    pub(super) asked: bool,
}

impl Failure {
    pub(super) fn of(case: &Case, seen: &Seen) -> Result<(), Self> {
        let kind = match case.refusal {
            // First the status: who is not protected at all reads every body.
            Some(expected) => refused(expected, case.authentic, seen)
                .or_else(|| (case.unread && seen.asked).then_some(FailureKind::BodyRead)),
            None => accepted(seen),
        };
        match kind {
            None => Ok(()),
            Some(kind) => Err(Self {
                name: case.name,
                expected: case.refusal.map(RejectionKind::status),
                status: seen.status,
                kind,
            }),
        }
    }

    /// What it means.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The request's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The status that it was answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

/// What is wrong with the answer to a request that had to be refused.
fn refused(expected: RejectionKind, authentic: bool, seen: &Seen) -> Option<FailureKind> {
    use RejectionKind::{
        BodyBroken, BodyTooLarge, SecretsUnavailable, UnknownEndpoint, WrongSignature,
    };
    // The reason is gone where an application answers in its own words, so the status decides.
    if seen.status == expected.status() {
        return None;
    }
    Some(match (expected, seen.rejection) {
        (_, Some(SecretsUnavailable)) => FailureKind::NoSecret,
        (BodyTooLarge, Some(BodyBroken)) => FailureKind::BodyLimit,
        (BodyTooLarge, Some(WrongSignature | UnknownEndpoint)) => FailureKind::MaxBodySize,
        (_, Some(BodyTooLarge)) => FailureKind::MaxBodySize,
        (BodyBroken, Some(WrongSignature)) => FailureKind::BodyChanged,
        (_, Some(_)) => FailureKind::OtherRefusal,
        (_, None) => match seen.status {
            status if status.is_success() && authentic => FailureKind::MaxBodySize,
            status if status.is_success() => FailureKind::Unprotected,
            // The extractors' answer where there is no layer.
            StatusCode::INTERNAL_SERVER_ERROR => FailureKind::Unprotected,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => FailureKind::NoRoute,
            StatusCode::PAYLOAD_TOO_LARGE => FailureKind::BodyLimit,
            _ => FailureKind::AnsweredElsewhere,
        },
    })
}

/// What is wrong with the answer to an authentic delivery.
fn accepted(seen: &Seen) -> Option<FailureKind> {
    use RejectionKind::{
        BodyBroken, BodyTooLarge, MalformedSignature, MissingSignature, SecretsUnavailable,
        SeveralSignatures, UnknownEndpoint, WrongSignature,
    };
    match seen.rejection {
        Some(WrongSignature) => Some(FailureKind::BodyChanged),
        Some(MissingSignature | SeveralSignatures | MalformedSignature) => {
            Some(FailureKind::HeadChanged)
        }
        Some(BodyTooLarge) => Some(FailureKind::MaxBodySize),
        Some(BodyBroken) => Some(FailureKind::BodyLimit),
        Some(UnknownEndpoint | SecretsUnavailable) => Some(FailureKind::NoSecret),
        Some(_) => Some(FailureKind::OtherRefusal),
        None => match seen.status {
            status if status.is_success() => None,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Some(FailureKind::NoRoute),
            StatusCode::PAYLOAD_TOO_LARGE => Some(FailureKind::BodyLimit),
            _ => Some(FailureKind::NotAccepted),
        },
    }
}

impl FailureKind {
    /// What it means and what cures it, as sentences.
    fn advice(self) -> &'static str {
        match self {
            Self::Unprotected => {
                "Nothing verified it: no `SoundHashWebhookLayer` stands around this route, and \
                 whoever knows its URL can send events. Routes that are added below a `.layer` \
                 call are outside of it; a handler that takes `Event` or `Delivery` answers 500 \
                 there, one that takes `Json` or `Bytes` acts on it."
            }
            Self::AnsweredElsewhere => {
                "The layer did not answer it: either no `SoundHashWebhookLayer` stands around \
                 this route, or something outside of the layer reads what nobody signed. Put the \
                 layer around the route, and what reads requests inside of the layer."
            }
            Self::NoRoute => {
                "Nothing receives a POST at this path. Give `request` the path that SoundHash \
                 has, with everything that it is nested in."
            }
            Self::BodyLimit => {
                "Another limit of the body's size than the layer's answered, or cut the body \
                 off: axum's `DefaultBodyLimit`, `RequestBodyLimitLayer` or your own. Outside of \
                 the layer there should be none; inside, it must not be below `max_body_size`, or \
                 authentic deliveries are lost."
            }
            Self::BodyRead => {
                "Its body was read, and not by the layer: something outside of it reads what \
                 nobody signed, before any limit holds. Put it inside, where it gets the verified \
                 body."
            }
            Self::BodyChanged => {
                "The layer saw other bytes than were signed, or verifies with another secret than \
                 `hostile_requests` was given. Something outside of the layer that reads, decodes \
                 or rewrites the body makes every signature wrong: put it inside."
            }
            Self::HeadChanged => {
                "Something outside of the layer takes away, doubles or changes the header \
                 `X-Webhook-Signature`."
            }
            Self::MaxBodySize => {
                "The layer's `max_body_size` is another than that of `hostile_requests`. Tell it, \
                 with `.max_body_size(…)`."
            }
            Self::NoSecret => {
                "The `SecretProvider` has no secret for this path, or failed. Give it the one \
                 that `hostile_requests` has."
            }
            Self::OtherRefusal => {
                "The layer refused it for another reason than it should; the response's \
                 `Rejection` tells which."
            }
            Self::NotAccepted => {
                "It is authentic, so SoundHash tries again after such an answer, and then drops \
                 the event. Either something outside of the layer refused it for its headers, or \
                 your handler refused it: a handler has to take every type and payload."
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: answered {}", self.name, self.status.as_u16())?;
        match self.expected {
            Some(expected) if expected == self.status => {}
            Some(expected) => write!(f, " and not {}", expected.as_u16())?,
            None => f.write_str(" and not 2xx")?,
        }
        write!(f, ". {}", self.kind.advice())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl error::Error for Failure {}

//! Receive SoundHash webhooks in axum: one layer verifies them, one extractor hands typed
//! events to the handler.
//!
//! SoundHash tells an application what happened (a video was processed, a match was found)
//! by HTTP POST requests that it signs with the endpoint's secret. This crate receives them. The
//! [quick start](guide::quick_start) goes from an empty folder to a first delivery; in short:
//!
//! ```
//! use axum::{Router, http::StatusCode, routing::post};
//! use soundhash_webhook::{Event, EventData, SoundHashWebhookLayer};
//!
//! async fn receive(event: Event) -> StatusCode {
//!     match event.data {
//!         EventData::VideoProcessed(video) => println!("processed {:?}", video.title),
//!         EventData::MatchFound(found) => println!("{} matches", found.matches.len()),
//!         other => println!("not for us: {}", other.event_type()),
//!     }
//!     StatusCode::OK
//! }
//!
//! let app: Router = Router::new()
//!     .route("/webhooks/soundhash", post(receive))
//!     .layer(SoundHashWebhookLayer::new("whsec_test"));
//! ```
//!
//! # Overview
//!
//! - [`SoundHashWebhookLayer`] buffers the body within limits, checks its HMAC-SHA256
//!   signature while it arrives, and refuses everything else: with 401, 408, 413 or 503, and
//!   the reason as a [`Rejection`] in the response's extensions. Behind it, the body is the
//!   verified one, so `Bytes`, `Json<T>` and any middleware go on working.
//! - [`Secret`] is the endpoint's secret. Up to four are valid at once, for a rotation
//!   ([`previous_secret`](SoundHashWebhookLayer::previous_secret)); a [`SecretProvider`] looks
//!   them up per request, for many endpoints or tenants.
//! - [`Event`] is what happened, in one set of types for both of SoundHash's senders and all
//!   of their spellings. A type or shape that this version does not know becomes
//!   [`EventData::Unrecognized`]: an authentic delivery is never refused for its shape.
//! - [`Payload`] is the payload alone, for a handler of one type; an `EventRouter` (feature
//!   `router`) calls a handler for each type.
//! - [`Delivery`] is the verified request itself, for whoever wants the bytes.
//! - [`idempotency`] lets each event be acted on once, in one process or in a fleet, and refuses
//!   recorded deliveries.
//! - Without axum, [`Secret::verify`] and [`Event::from_slice`] do the same on a header and a
//!   body.
//!
//! There are [guides](guide). When every signature is wrong, see
//! [troubleshooting](guide::troubleshooting); for tests of a handler,
//! [testing](guide::testing_your_handler); in front of the first customer, read
//! [where to put the layer](guide::placement), [going live](guide::going_live) and
//! [what it logs, counts and measures](guide::telemetry).
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `tracing` | yes | logs: refusals at `debug`, what costs an authentic delivery at `warn` and `error` |
//! | `metrics` | no | counters and histograms through the `metrics` facade: [which](guide::telemetry) |
//! | `router` | no | `EventRouter`: a handler for each type of event; depends on `axum`, without its features |
//! | `jiff` | no | conversions between [`Timestamp`] and `jiff::Timestamp` |
//! | `chrono` | no | conversions between [`Timestamp`] and `chrono::DateTime` |
//! | `time` | no | conversions between [`Timestamp`] and `time::OffsetDateTime` |
//! | `redis` | no | `idempotency::RedisStore`, for a fleet of processes |
//! | `testing` | no | the module `testing`: signed requests and sample events for tests of your own handlers, hostile requests for tests of the whole application, and `diagnose` for signatures that do not match |
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod delivery;
mod event;
mod extract;
pub mod guide;
pub mod idempotency;
mod rejection;
#[cfg(feature = "router")]
mod router;
mod secret;
mod signature;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod verify;

/// The error that a [`SecretProvider`] answers with: any.
pub use axum_core::BoxError;

#[cfg(feature = "router")]
pub use self::router::EventRouter;
pub use self::{
    delivery::Delivery,
    event::{
        ApiLimitReached, ChannelIngested, Event, EventData, EventError, EventErrorKind, EventKind,
        EventPayload, Fingerprint, FingerprintCreated, Id, JobFailed, Match, MatchFound,
        QuotaWarning, Resource, SubscriptionUpdated, Timestamp, TimestampError, UnknownEventKind,
        Unrecognized, UserCreated, VideoFailed, VideoProcessed, VideoProcessing, VideoUploaded,
    },
    extract::{
        EventRejection, EventRejectionKind, MissingLayer, Payload, PayloadRejection,
        PayloadRejectionKind,
    },
    rejection::{Rejection, RejectionKind},
    secret::{Secret, SecretError, SecretErrorKind, Secrets},
    signature::{SIGNATURE_HEADER, Signature, SignatureError, SignatureErrorKind},
    verify::{ResponseFuture, SecretProvider, SoundHashWebhook, SoundHashWebhookLayer},
};

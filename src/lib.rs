//! Middleware that receives SoundHash webhooks in axum: a layer verifies each request, and an
//! extractor gives the handler a typed event.
//!
//! SoundHash sends your application an HTTP POST request when something happens, for example when a
//! video has been processed or a match has been found, and signs the request with the secret of the
//! endpoint. This crate, which supports axum 0.8, verifies the signature and parses the event:
//!
//! ```
//! use axum::{Router, http::StatusCode, routing::post};
//! use soundhash_webhook::{Event, EventData, SoundHashWebhookLayer};
//!
//! async fn receive(event: Event) -> StatusCode {
//!     match &event.data {
//!         EventData::VideoProcessed(video) => println!("processed {:?}", video.title),
//!         EventData::MatchFound(found) => println!("{} matches", found.matches.len()),
//!         _ => println!("not for us: {:?}", event.event_type()),
//!     }
//!     StatusCode::OK
//! }
//!
//! let app: Router = Router::new()
//!     .route("/webhooks/soundhash", post(receive))
//!     .layer(SoundHashWebhookLayer::new("whsec_test"));
//! ```
//!
//! The [quick start](guide::quick_start) takes you from an empty directory to your first delivery.
//! The repository's `examples` directory contains complete programs: `cargo run --example receiver`
//! prints every event that it receives.
//!
//! # Overview
//!
//! - [`SoundHashWebhookLayer`] lets only authentic deliveries through. It limits the body's size
//!   and the time that the body may take to arrive, and computes the HMAC-SHA256 while the body
//!   arrives. All other requests get an error status, and the response extensions contain the
//!   reason, a [`Rejection`]. The handler gets the verified body, so extractors such as `Bytes` and
//!   `Json<T>` work as usual.
//! - [`Secret`] is the secret of an endpoint, and [`Secrets`] holds up to four that are valid at
//!   the same time during a rotation. [`RotatingSecrets`] can be replaced while the service runs.
//!   To serve many endpoints or tenants, look up their secrets with a [`SecretProvider`] such as
//!   [`CachedSecrets`].
//! - [`Event`] says what happened. SoundHash has two senders, which use different names for the
//!   same fields, and the crate parses both variants into the same types. An event whose type or
//!   payload is unknown to this version is not rejected. Instead, it becomes
//!   [`EventData::Unrecognized`].
//! - [`SchemaChange`] lists the fields and payloads that are unknown to this version.
//! - [`Payload`] extracts only the payload, for a handler that takes a single event type.
//!   [`EventRouter`] calls a different handler for each type.
//! - [`Delivery`] is the verified request itself, for handlers that need the exact bytes. A layer
//!   outside of [`SoundHashWebhookLayer`] gets it through a [`DeliverySlot`].
//! - [`idempotency`] lets your handler complete each event only once, even if several processes
//!   receive it. It can also reject recorded deliveries that an attacker sends again.
//! - [`testing`] provides signed requests, sample events and attacks for testing your application.
//! - [`Secret::verify`] and [`Event::from_slice`] verify and parse a delivery without axum, for
//!   example in a queue consumer or in another framework.
//!
//! The [guides](guide) describe whole tasks from start to finish. Before you go live, read [where
//! to put the layer](guide::placement), [going live](guide::going_live) and [logs and
//! metrics](guide::telemetry). If every signature is wrong, see
//! [troubleshooting](guide::troubleshooting).
//!
//! # Features
//!
//! | feature | default | description |
//! | --- | --- | --- |
//! | `tracing` | yes | Logs through `tracing`. At `warn`, rejections are summarized, so that an attacker cannot flood the log. At `debug`, each rejection is logged. [Logs and metrics](guide::telemetry) lists all lines. |
//! | `layer` | yes | Adds the layers and extractors for axum. Without this feature, [`Secret::verify`] and [`Event::from_slice`] remain, and the crate depends neither on axum nor on a runtime, which suits queue consumers, lambdas and workers. |
//! | `metrics` | no | Counts and measures deliveries through the `metrics` facade. |
//! | `router` | no | Adds [`EventRouter`], which calls a handler for each type of event. It depends on `axum` without default features. |
//! | `cache` | no | Adds [`CachedSecrets`], which looks up secrets by the name of the endpoint and caches them. |
//! | `jiff` | no | Converts between [`Timestamp`] and `jiff::Timestamp`. |
//! | `chrono` | no | Converts between [`Timestamp`] and `chrono::DateTime`. |
//! | `time` | no | Converts between [`Timestamp`] and `time::OffsetDateTime`. |
//! | `testing` | no | Adds the module [`testing`]. Turn it on for your tests only. |
//!
//! # Companion crates
//!
//! - [`soundhash-webhook-cli`] is a command-line tool that sends, receives, verifies and replays
//!   webhooks, and manages endpoints.
//! - [`soundhash-webhook-inspector`] shows each delivery in the browser, along with the reason if
//!   it was rejected.
//! - [`soundhash-webhook-redis`] is an idempotency store that several processes can share.
//! - [`soundhash-webhook-diagnose`] explains a signature that should match but does not.
//! - [`soundhash-webhook-reconcile`] finds the events that never arrived.
//! - [`soundhash-webhook-sqlx`] records each event in the same Postgres or SQLite transaction as
//!   the changes that your handler makes.
//!
//! [`CachedSecrets`]: struct.CachedSecrets.html
//! [`EventRouter`]: struct.EventRouter.html
//! [`testing`]: testing/index.html
//! [`soundhash-webhook-cli`]: https://docs.rs/soundhash-webhook-cli
//! [`soundhash-webhook-inspector`]: https://docs.rs/soundhash-webhook-inspector
//! [`soundhash-webhook-diagnose`]: https://docs.rs/soundhash-webhook-diagnose
//! [`soundhash-webhook-reconcile`]: https://docs.rs/soundhash-webhook-reconcile
//! [`soundhash-webhook-redis`]: https://docs.rs/soundhash-webhook-redis
//! [`soundhash-webhook-sqlx`]: https://docs.rs/soundhash-webhook-sqlx

// The links to items behind optional features are relative paths, because rustdoc cannot resolve
// those items when the features are off.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "layer")]
mod delivery;
mod event;
#[cfg(feature = "layer")]
mod extract;
#[cfg(feature = "layer")]
pub mod guide;
#[cfg(feature = "layer")]
pub mod idempotency;
#[cfg(feature = "layer")]
mod panics;
#[cfg(feature = "layer")]
mod refusal;
#[cfg(feature = "layer")]
mod rejection;
#[cfg(feature = "router")]
mod router;
#[cfg(feature = "layer")]
mod schema;
mod secret;
mod signature;
#[cfg(feature = "layer")]
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "layer")]
mod verify;

/// The response futures of the services that the crate root exports.
#[cfg(feature = "layer")]
pub mod future {
    pub use crate::verify::ResponseFuture;
}

/// The error type of [`SecretProvider`] and [`IdempotencyStore`](idempotency::IdempotencyStore), to
/// which any error can be converted.
#[cfg(feature = "layer")]
pub use axum_core::BoxError;

#[cfg(feature = "router")]
pub use self::router::EventRouter;
#[cfg(feature = "cache")]
pub use self::verify::{CachedSecrets, SecretLookup};
#[cfg(feature = "layer")]
pub use self::{
    delivery::{Delivery, DeliverySlot},
    extract::{
        EventRejection, EventRejectionKind, MissingLayer, Payload, PayloadRejection,
        PayloadRejectionKind,
    },
    rejection::{Rejection, RejectionKind},
    schema::{SchemaChange, SchemaChangeKind},
    verify::{
        BoxSecretProvider, RotatingSecrets, SecretProvider, SoundHashWebhook,
        SoundHashWebhookLayer, TooManyLookups,
    },
};
pub use self::{
    event::{
        ApiLimitReached, ChannelIngested, Event, EventData, EventError, EventErrorKind, EventKind,
        EventPayload, Fingerprint, FingerprintCreated, Id, JobFailed, Match, MatchFound,
        QuotaWarning, Resource, Sender, SubscriptionUpdated, Timestamp, TimestampError,
        UnknownEventKind, UnknownSender, Unrecognized, UserCreated, VideoFailed, VideoProcessed,
        VideoProcessing, VideoUploaded,
    },
    secret::{IntoSecret, Secret, SecretError, SecretErrorKind, Secrets},
    signature::{SIGNATURE_HEADER, Signature, SignatureError, SignatureErrorKind},
};

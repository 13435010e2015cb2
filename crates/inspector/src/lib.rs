//! See SoundHash webhooks in the browser: each delivery live, why it was rejected, and a button to
//! replay it.
//!
//! [`Inspector`] keeps what an application receives. Its [`layer`](Inspector::layer) goes around
//! the whole application, and a separate listener serves the page:
//!
//! ```no_run
//! use axum::{Router, routing::post};
//! use soundhash_webhook::{Event, Secret, SoundHashWebhookLayer};
//! use soundhash_webhook_inspector::Inspector;
//!
//! # async fn run() {
//! let inspector = Inspector::new().with_secret("whsec_test");
//! let app: Router = Router::new()
//!     .route("/webhooks/soundhash", post(|event: Event| async move { println!("{event:?}") }))
//!     .layer(SoundHashWebhookLayer::new(Secret::new("whsec_test")))
//!     .layer(inspector.layer());
//! // Prints the URL to open, with a token in it.
//! tokio::spawn(inspector.serve("127.0.0.1:4040"));
//! # }
//! ```
//!
//! # Safety
//!
//! The page shows every delivery and can send requests through the application.
//! [`serve`](Inspector::serve) therefore listens at loopback addresses only, asks for a random
//! token, answers to names of this machine only, and rejects requests of other sites. Signatures
//! and sensitive headers are hidden, and secrets are never shown. [`routes`](Inspector::routes)
//! has neither the token nor the check of the host: put it behind your own authentication.
//!
//! # Memory
//!
//! With the default settings, the inspector holds at most 32 MiB: 16 MiB of verified deliveries,
//! 4 MiB of rejected requests, 6 MiB of requests under way, and the rest for the allocator and the
//! page. A body is kept up to [`max_body_size`](Inspector::max_body_size). A larger
//! [`capacity`](Inspector::capacity) keeps more deliveries, but not more bytes.
//!
//! # For programs
//!
//! [`Inspector::subscribe`] gives each finished [`Record`] to a program, such as a terminal that
//! prints one line per delivery.
#![forbid(unsafe_code)]

mod capture;
mod capture_file;
mod event;
mod headers;
mod inspector;
mod layer;
mod random;
mod record;
mod replay;
mod store;
mod target;
mod web;

pub use self::{
    inspector::Inspector,
    layer::{Inspect, InspectorLayer, ResponseFuture},
    record::{Record, Verdict},
    store::{Lagged, Subscription},
    web::Server,
};

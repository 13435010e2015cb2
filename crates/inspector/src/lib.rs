//! Shows SoundHash webhooks in the browser: each delivery live, the reason if it was rejected, and
//! a button to replay it.
//!
//! An [`Inspector`] records the requests that an application receives. Its
//! [`layer`](Inspector::layer) wraps the whole application, and a separate listener serves the
//! page:
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
//! [`serve`](Inspector::serve) therefore listens only on loopback addresses, requires a random
//! token, accepts only requests for this machine's own names, and rejects requests from other
//! sites. Signatures and sensitive headers are hidden, and secrets are never shown.
//! [`routes`](Inspector::routes) checks neither a token nor the host. Put it behind your own
//! authentication.
//!
//! # Memory
//!
//! With the default settings, the inspector uses at most 32 MiB: 16 MiB for verified deliveries, 4
//! MiB for rejected requests, 6 MiB for requests in progress, and the rest for the allocator and
//! the page. It keeps the first [`max_body_size`](Inspector::max_body_size) bytes of each body. A
//! larger [`capacity`](Inspector::capacity) keeps more deliveries, but does not raise these memory
//! limits.
//!
//! # Shutdown
//!
//! Each record holds a clone of the application, so that its request can be replayed. The
//! application's state is therefore dropped only with the records: when every clone of the
//! [`Inspector`], the task of [`serve`](Inspector::serve) and every [`Subscription`] are gone. If
//! something waits for that, such as a task that ends when the last sender of its channel is
//! dropped, call [`Inspector::clear`] after your server has ended. End the page's server first,
//! because a replay that is in progress adds a record when it ends:
//!
//! ```no_run
//! # async fn run(
//! #     inspector: soundhash_webhook_inspector::Inspector,
//! #     listener: tokio::net::TcpListener,
//! #     app: axum::Router,
//! #     stop: std::future::Ready<()>,
//! #     page: tokio::task::JoinHandle<()>,
//! #     worker: tokio::task::JoinHandle<()>,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! axum::serve(listener, app).with_graceful_shutdown(stop).await?;
//! page.await?; // `Server::run_until` with the same signal
//! inspector.clear();
//! worker.await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Replays
//!
//! A replay goes through the layers and the handler inside of the inspector's layer, with the
//! recorded head and body, the sender's address, and the route. Extractors such as `Path`,
//! `MatchedPath` and `OriginalUri` therefore work. A replay skips the layers outside of the
//! inspector's layer. A handler that takes an `Extension` from one of them responds with an error,
//! so keep the inspector's layer the outermost one.
//!
//! # For programs
//!
//! [`Inspector::subscribe`] passes each finished [`Record`] to a program, for example to print it.
#![forbid(unsafe_code)]

mod application;
mod capture;
mod capture_file;
mod event;
mod exchange;
mod headers;
mod inspector;
mod layer;
mod random;
mod record;
mod replay;
mod store;
mod verdict;
mod web;

pub use self::{
    inspector::Inspector,
    layer::{Inspect, InspectorLayer, ResponseFuture},
    record::Record,
    store::{Lagged, Subscription},
    verdict::Verdict,
    web::Server,
};

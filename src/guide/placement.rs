//! Where to put the layer: around which routes, and inside or outside of what.
//!
//! # `layer` or `route_layer`
//!
//! [`Router::layer`] protects all that the router has *so far*: its routes, and also what it
//! answers where it has none. A stranger gets 401 for every path and every method.
//!
//! [`Router::route_layer`] protects the routes only: a path that does not exist answers 404,
//! to strangers too.
//!
//! Either way, routes that are added *below* stay open, which is where health checks go:
//!
//! ```
//! use axum::{Router, http::StatusCode, routing::{get, post}};
//! use soundhash_webhook::{Event, SoundHashWebhookLayer};
//!
//! let app: Router = Router::new()
//!     .route("/webhooks/soundhash", post(|_: Event| async { StatusCode::OK }))
//!     .route_layer(SoundHashWebhookLayer::new("whsec_test"))
//!     .route("/healthz", get(|| async { "ok" }));
//! ```
//!
//! A single route can be protected alone, too, with the methods of the same names of
//! [`MethodRouter`]: `post(receive).layer(…)`, or `post(receive).route_layer(…)`, which
//! leaves the answer to other methods open.
//!
//! | request, without a signature | `Router::layer` | `Router::route_layer` | `post(…).layer` | `post(…).route_layer` |
//! | --- | --- | --- | --- | --- |
//! | `POST` to the webhook | 401 | 401 | 401 | 401 |
//! | `GET` to the webhook | 401 | 401 | 401 | 405 |
//! | a path that does not exist | 401 | 404 | 404 | 404 |
//! | `GET /healthz`, added below | 200 | 200 | 200 | 200 |
//!
//! That it stands where it should, and nothing in its way, is a test of ten lines: see
//! [Testing](super::testing_your_handler#what-a-stranger-sends).
//!
//! A handler that takes an [`Event`](crate::Event) or a [`Delivery`](crate::Delivery) and is
//! not protected answers 500: it never sees an unverified body.
//!
//! # Inside and outside
//!
//! With `Router::layer`, what is added *later* is *outside* and sees the request first; in a
//! `ServiceBuilder`, it is what is added first.
//!
//! **Outside** belongs what must see every request and leaves the body alone: tracing,
//! metrics, compression of responses, a rate limit, `CatchPanic`. It finds the reason of a
//! refusal, a [`Rejection`](crate::Rejection), in the response's extensions.
//!
//! **Inside** belongs everything that reads, decodes or limits the body, a
//! `tower_http::decompression` layer for instance. Outside, it would change the bytes that
//! were signed, and *every* delivery would be refused. The layer has its own limit of the
//! body's size, so axum's `DefaultBodyLimit` only has to be raised, inside, for a handler that
//! takes `Bytes` or `Json` of more than 2 MB.
//!
//! ```
//! use axum::{Router, extract::Request, middleware::{self, Next}, response::Response, routing::post};
//! use soundhash_webhook::{Event, SoundHashWebhookLayer};
//! use tower::ServiceBuilder;
//!
//! async fn count(request: Request, next: Next) -> Response {
//!     // Sees verified requests only.
//!     next.run(request).await
//! }
//!
//! let app: Router = Router::new()
//!     .route("/webhooks/soundhash", post(|_: Event| async {}))
//!     .layer(
//!         ServiceBuilder::new()
//!             .layer(SoundHashWebhookLayer::new("whsec_test"))
//!             .layer(middleware::from_fn(count)),
//!     );
//! ```
//!
//! # Behind a limit of concurrency
//!
//! A tower service that was found ready keeps its place until it is called. Directly inside
//! the layer, in one `ServiceBuilder`, a `ConcurrencyLimit` therefore counts requests whose
//! body is still arriving, and slow strangers can take its places for `body_timeout`. In a
//! `Router`, put the limit into a `.layer` call of its own, before this one: each route is
//! then entered when the body is verified.
//!
//! # Without axum's router
//!
//! The layer needs no router. It wraps any tower service that takes a
//! `Request<axum::body::Body>`:
//!
//! ```
//! use std::convert::Infallible;
//!
//! use axum::{body::Body, http::{Request, Response}};
//! use soundhash_webhook::{Delivery, SoundHashWebhookLayer};
//! use tower::{ServiceBuilder, service_fn};
//!
//! let service = ServiceBuilder::new()
//!     .layer(SoundHashWebhookLayer::new("whsec_test"))
//!     .service(service_fn(|request: Request<Body>| async move {
//!         if let Some(delivery) = request.extensions().get::<Delivery>() {
//!             println!("{} bytes", delivery.body().len());
//!         }
//!         Ok::<_, Infallible>(Response::new(Body::empty()))
//!     }));
//! # fn check<S: tower::Service<Request<Body>>>(_: S) {}
//! # check(service);
//! ```
//!
//! [`Router::layer`]: https://docs.rs/axum/0.8/axum/struct.Router.html#method.layer
//! [`Router::route_layer`]: https://docs.rs/axum/0.8/axum/struct.Router.html#method.route_layer
//! [`MethodRouter`]: https://docs.rs/axum/0.8/axum/routing/struct.MethodRouter.html

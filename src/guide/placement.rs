//! Where to put the layer: which routes it protects, and which layers belong inside and outside.
//!
//! # `layer` or `route_layer`
//!
//! [`Router::layer`] protects everything that the router has *so far*, including its answer to unknown
//! paths. An unsigned request gets 401 for every path and every method.
//!
//! [`Router::route_layer`] protects only the routes. An unknown path answers 404, also to unsigned
//! requests.
//!
//! With both, routes that are added *later* stay open. Add health checks there:
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
//! [`MethodRouter`] has the same two methods, for a single route: `post(receive).layer(…)`, and
//! `post(receive).route_layer(…)`, which leaves the answer to other methods open.
//!
//! An unsigned request is answered as follows:
//!
//! - `POST` to the webhook: 401 with all four.
//! - `GET` to the webhook: 405 with `post(…).route_layer`, and 401 with the others.
//! - Unknown path: 401 with `Router::layer`, and 404 with the others.
//! - `GET /healthz`, added later: 200 with all four.
//!
//! A test of ten lines shows that the layer is where it should be: see
//! [Testing](super::testing_your_handler#hostile-requests).
//!
//! A handler that takes an [`Event`](crate::Event), a [`Payload`](crate::Payload) or a
//! [`Delivery`](crate::Delivery) answers 500 if no layer protects it. This does **not** hold for
//! `Bytes`, `String` or `Json<T>`: a handler that takes only those accepts unsigned requests when the
//! layer is missing. `testing::hostile_requests` finds such a route.
//!
//! # Protect acting routes only
//!
//! The signature covers the body. It covers neither the method nor the path, so an attacker who
//! recorded a delivery can send it again to any other route behind the same layer. Two consequences:
//!
//! - Protect the webhook's route alone, and add other routes later.
//! - Put an [`IdempotencyLayer`](crate::idempotency::IdempotencyLayer) around the acting route only. A
//!   `GET` route that answers 200 inside of it would mark the recorded event as completed. The layer
//!   therefore answers 405 to methods other than `POST` before it claims anything.
//!
//! # Inside and outside
//!
//! With `Router::layer`, a layer that is added *later* is *outside* and sees the request first. In a
//! `ServiceBuilder`, the layer that is added *first* is outside.
//!
//! **Outside** belong layers that must see every request and do not touch the body: tracing, metrics,
//! compression of responses, rate limits, `CatchPanic`, the inspector. An outer layer finds the reason
//! of a rejection, a [`Rejection`](crate::Rejection), in the response's extensions, and gets the
//! [`Delivery`](crate::Delivery) of a verified request through a
//! [`DeliverySlot`](crate::DeliverySlot).
//!
//! **Inside** belong layers that read, decode or limit the body, such as `tower_http::decompression`.
//! Outside, they would change the signed bytes, and *every* delivery would be rejected. The layer has its
//! own body limit. Raise axum's `DefaultBodyLimit`, inside, only for a handler that takes
//! `Bytes` or `Json` of more than 2 MB.
//!
//! ```
//! use axum::{Router, extract::Request, middleware::{self, Next}, response::Response, routing::post};
//! use soundhash_webhook::{Event, SoundHashWebhookLayer};
//! use tower::ServiceBuilder;
//!
//! async fn count(request: Request, next: Next) -> Response {
//!     // Only verified requests arrive here.
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
//! # Concurrency limits
//!
//! A tower service that is ready reserves its place until it is called. Directly inside the layer, in
//! one `ServiceBuilder`, a `ConcurrencyLimit` therefore also counts requests whose body is still
//! arriving, and slow senders can take all its places for `body_timeout`. In a `Router`, add the limit
//! with a separate `.layer` call, before this layer. Each route is then entered after verification.
//!
//! # Without a router
//!
//! The layer wraps any tower service that takes a `Request<axum::body::Body>`:
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
//! ---
//!
//! Previous: [Testing your handler](super::testing_your_handler). Next:
//! [Idempotency](crate::idempotency). All [guides](super).
//!
//! [`Router::layer`]: https://docs.rs/axum/0.8/axum/struct.Router.html#method.layer
//! [`Router::route_layer`]: https://docs.rs/axum/0.8/axum/struct.Router.html#method.route_layer
//! [`MethodRouter`]: https://docs.rs/axum/0.8/axum/routing/struct.MethodRouter.html

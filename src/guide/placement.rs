//! Where to put the layer: which routes it protects, and which layers belong inside and outside.
//!
//! # `layer` or `route_layer`
//!
//! [`Router::layer`] protects everything that the router has *so far*, including its answer to unknown
//! paths. An unsigned request gets 401 for every path and every method.
//!
//! [`Router::route_layer`] protects only the routes. The router answers 404 to an unknown path, even if
//! the request is not signed.
//!
//! Neither method protects routes that are added *later*. Add health checks there:
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
//! [`MethodRouter`] has the same two methods for a single route: `post(receive).layer(…)` protects every
//! method, and `post(receive).route_layer(…)` protects only `POST`.
//!
//! These are the answers to an unsigned request with each of the four methods:
//!
//! - `POST` to the webhook: 401 with all four.
//! - `GET` to the webhook: 405 with `post(…).route_layer`, and 401 with the others.
//! - Unknown path: 401 with `Router::layer`, and 404 with the others.
//! - `GET /healthz`, added later: 200 with all four.
//!
//! A test of ten lines checks that the layer is in the right place: see
//! [Testing](super::testing_your_handler#hostile-requests).
//!
//! A handler that takes an [`Event`](crate::Event), a [`Payload`](crate::Payload) or a
//! [`Delivery`](crate::Delivery) answers 500 if no layer protects it. This does **not** hold for
//! `Bytes`, `String` or `Json<T>`. A handler that takes only those accepts unsigned requests if the
//! layer is missing. `testing::hostile_requests` finds such a route.
//!
//! # Protect acting routes only
//!
//! The signature covers the body. It covers neither the method nor the path, so an attacker who
//! recorded a delivery can send it again to any other route behind the same layer. Two consequences:
//!
//! - Protect only the route of the webhook, and add other routes later.
//! - Put an [`IdempotencyLayer`](crate::idempotency::IdempotencyLayer) around the acting route
//!   only. If it also covered another route, a 200 from there would mark the recorded event as
//!   completed. The layer answers 405 to methods other than `POST`, so this concerns `POST` routes.
//!
//! # Inside and outside
//!
//! With `Router::layer`, a layer that is added *later* is *outside* and sees the request first. In a
//! `ServiceBuilder`, the layer that is added *first* is outside.
//!
//! **Layers that belong outside** see every request and do not touch the body. Examples are
//! tracing, metrics, compression of responses, rate limits, `CatchPanic` and the inspector. An
//! outer layer finds the reason of a rejection, a [`Rejection`](crate::Rejection), in the
//! response's extensions. It gets the [`Delivery`](crate::Delivery) of a verified request through a
//! [`DeliverySlot`](crate::DeliverySlot).
//!
//! **Layers that belong inside** read, decode or limit the body. An example is
//! `tower_http::decompression`. If such a layer were outside, it would change the signed bytes, and
//! *every* delivery would be rejected. axum's `DefaultBodyLimit` also belongs inside. You need it
//! only to raise the limit of a handler that takes `Bytes` or `Json` of more than 2 MB, because
//! [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) has its own body limit.
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
//! A `ConcurrencyLimit` reserves a place for a request when it becomes ready, before it is called.
//! If it is directly inside this layer, in one `ServiceBuilder`, it therefore counts requests whose
//! body is still arriving. Slow senders can then occupy all places for `body_timeout`. In a
//! `Router`, add the limit with a separate `.layer` call before this layer. A request then takes a
//! place only after it was verified.
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

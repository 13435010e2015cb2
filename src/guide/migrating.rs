//! Migrating from SoundHash's receiver in Flask or Express.
//!
//! SoundHash's documentation shows a receiver in Python and one in JavaScript. This crate takes
//! the same requests, at the same URL, with the same secret, and gives the same answers: 200 with
//! an empty body if that is what your handler answers, and 401 `Invalid signature`. Nothing has to
//! be registered anew.
//!
//! # Side by side
//!
//! Flask:
//!
//! ```python
//! @app.route('/webhooks/soundhash', methods=['POST'])
//! def handle_webhook():
//!     signature = request.headers.get('X-Webhook-Signature')
//!     computed_signature = hmac.new(secret.encode(), request.data, hashlib.sha256).hexdigest()
//!     if not hmac.compare_digest(signature, computed_signature):
//!         return 'Invalid signature', 401
//!     event = request.json
//!     if event['event'] == 'video.processed':
//!         video = event['data']
//!         print(f"Video processed: {video['title']}")
//!     return '', 200
//! ```
//!
//! Express:
//!
//! ```javascript
//! app.post('/webhooks/soundhash', express.raw({ type: 'application/json' }), (req, res) => {
//!   const signature = req.headers['x-webhook-signature'];
//!   const computedSignature = crypto.createHmac('sha256', secret).update(req.body).digest('hex');
//!   if (signature !== computedSignature) {
//!     return res.status(401).send('Invalid signature');
//!   }
//!   const { event, data } = JSON.parse(req.body.toString('utf8'));
//!   if (event === 'video.processed') {
//!     console.log(`Video processed: ${data.title}`);
//!   }
//!   res.status(200).send();
//! });
//! ```
//!
//! axum:
//!
//! ```
//! use axum::{Router, http::StatusCode, routing::post};
//! use soundhash_webhook::{Event, EventData, SoundHashWebhookLayer};
//!
//! async fn handle_webhook(event: Event) -> StatusCode {
//!     if let EventData::VideoProcessed(video) = event.data {
//!         println!("Video processed: {}", video.title.unwrap_or_default());
//!     }
//!     StatusCode::OK
//! }
//!
//! # fn app(secret: &str) -> Router {
//! Router::new()
//!     .route("/webhooks/soundhash", post(handle_webhook))
//!     .layer(SoundHashWebhookLayer::new(secret))
//! # }
//! # app("whsec_test");
//! ```
//!
//! # What is where
//!
//! | Flask | Express | here |
//! | --- | --- | --- |
//! | `request.data` | `req.body` | [`Delivery::body`](crate::Delivery::body) |
//! | `request.json` | `JSON.parse(req.body)` | [`Event`](crate::Event), or [`Delivery::json`](crate::Delivery::json) |
//! | `event['event']` | `event` | [`Event::event_type`](crate::Event::event_type), [`Event::kind`](crate::Event::kind) |
//! | `event['data']['title']` | `data.title` | a field of the type in [`EventData`](crate::EventData) |
//! | `event['data']` of a type that the crate does not know | the same | `EventData::Unrecognized`, its `payload` |
//! | `hmac.compare_digest` | `!==` | the layer; [`Secret::verify`](crate::Secret::verify) without axum |
//!
//! # What becomes different
//!
//! Observed with Flask 3.1 and Express 5:
//!
//! | request | Flask | Express | here |
//! | --- | --- | --- | --- |
//! | no signature, from a stranger | **500**: `compare_digest(None, …)` | 401 | 401 |
//! | a signature with a byte that is not ASCII | **500**: `compare_digest` takes ASCII only | 401 | 401 |
//! | not `application/json`, from a stranger | 401, or 500 as above | **500**: `update(undefined)` | 401 |
//! | the same, correctly signed | **415**, or 401 for a form | **500** | 200 |
//! | the dispatcher's envelope, with `type` for `event`; the test button sends it, too | **500**: `KeyError` | **200, and passed over** | 200, and an event like any other |
//! | a number that is `NaN`, as Python writes it | 200 | **500** | 200, and [`Event::repaired`](crate::Event::repaired) |
//! | an event of more than 100 KB | 200 | **413** | 200 up to `max_body_size`, 1 MiB |
//!
//! - The 500s for strangers let anybody fill the log with stack traces and raise the alarm. The
//!   others lose events: SoundHash gives up after three retries.
//! - `!==` stops at the first difference. `compare_digest` does not, and the layer does not.
//! - Both read the whole body before they look for a signature. Flask sets no limit to it.
//! - The retry of an event that was dealt with, but too slowly, runs a second time there. Here
//!   it does not, with [`IdempotencyLayer`](crate::idempotency).
//!
//! The right column, run:
//!
//! ```
//! use axum::{Router, body::Body, extract::Request, http::StatusCode, routing::post};
//! use soundhash_webhook::{Event, Secret, SoundHashWebhookLayer};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let app: Router = Router::new()
//!     .route("/webhooks/soundhash", post(|_: Event| async { StatusCode::OK }))
//!     .layer(SoundHashWebhookLayer::new("whsec_test"));
//! let status = async |signature: Option<&[u8]>, content_type: &str, body: &str| {
//!     let mut request = Request::post("/webhooks/soundhash").header("content-type", content_type);
//!     if let Some(signature) = signature {
//!         request = request.header("x-webhook-signature", signature);
//!     }
//!     let request = request.body(Body::from(body.to_owned())).unwrap();
//!     app.clone().oneshot(request).await.unwrap().status().as_u16()
//! };
//! let json = "application/json";
//! let portal = r#"{"event": "video.processed", "data": {"title": "A song"}}"#;
//! assert_eq!(status(None, json, portal).await, 401);
//! assert_eq!(status(Some(&[0xe9; 64]), json, portal).await, 401);
//! assert_eq!(status(None, "text/plain", portal).await, 401);
//!
//! let long = format!(r#"{{"event": "x", "data": {{"title": "{}"}}}}"#, "x".repeat(200_000));
//! for (content_type, body, expected) in [
//!     (json, portal, 200),
//!     ("text/plain", portal, 200),
//!     ("application/x-www-form-urlencoded", portal, 200),
//!     (json, r#"{"type": "match.found", "data": {}}"#, 200),
//!     (json, r#"{"type": "video.processed", "data": {"test": true}}"#, 200),
//!     (json, r#"{"event": "quota.warning", "data": {"percentage": NaN}}"#, 200),
//!     (json, &long, 200),
//! ] {
//!     let signature = Secret::new("whsec_test").sign(body.as_bytes()).to_string();
//!     let status = status(Some(signature.as_bytes()), content_type, body).await;
//!     assert_eq!(status, expected, "{body:.50}");
//! }
//! # }
//! ```

//! Migrating from SoundHash's receivers in Flask or Express.
//!
//! SoundHash's documentation shows a receiver in Python and one in JavaScript. This crate accepts
//! the same requests at the same URL with the same secret, so you do not have to register the
//! endpoint again. It also answers 401 `Invalid signature` to forged requests.
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
//! # Where things are
//!
//! - **Raw body**: `request.data` and `req.body` become [`Delivery::body`](crate::Delivery::body).
//! - **Parsed body**: `request.json` and `JSON.parse` become [`Event`](crate::Event), or
//!   [`Delivery::json`](crate::Delivery::json) for a type of your own.
//! - **Event type**: `event['event']` becomes [`Event::event_type`](crate::Event::event_type) or
//!   [`Event::kind`](crate::Event::kind).
//! - **Payload**: `event['data']['title']` becomes a field of the type in
//!   [`EventData`](crate::EventData). The payload of an unknown type is `EventData::Unrecognized`.
//! - **Comparison**: `hmac.compare_digest` and `!==` become the layer, or
//!   [`Secret::verify`](crate::Secret::verify) without axum.
//!
//! # What changes
//!
//! Flask 3.1 and Express 5 behave as follows. This crate answers 401 to the first three and 200 to the
//! others.
//!
//! - **Unsigned request**: Flask answers **500** (`compare_digest(None, …)`), Express 401.
//! - **Signature with a byte that is not ASCII**: Flask answers **500**, Express 401.
//! - **Unsigned request that is not `application/json`**: Flask answers 401 or 500, Express **500**
//!   (`update(undefined)`).
//! - **Signed request that is not `application/json`**: Flask answers **415**, or 401 to a form, and
//!   Express **500**.
//! - **The dispatcher's envelope**, which has `type` in place of `event`, and which the test button
//!   uses: Flask answers **500** (`KeyError`). Express answers **200 and ignores the event**.
//! - **A number that is `NaN`**, as Python writes it: Flask answers 200, Express **500**.
//! - **An event of more than 100 KB**: Flask answers 200, Express **413**. This crate accepts up to
//!   `max_body_size`, 1 MiB by default.
//!
//! The 500s for unsigned requests let an attacker fill the log with stack traces. The other failures
//! lose events, because SoundHash gives up after three retries.
//!
//! Three more differences:
//!
//! - `!==` stops at the first difference, so the time of an answer depends on the signature.
//!   `compare_digest` and this crate compare in constant time.
//! - Both receivers read the whole body before they check the signature, and Flask does not limit
//!   its length.
//! - Both run a handler again when SoundHash retries an event. Here,
//!   [`IdempotencyLayer`](crate::idempotency) answers the retry.
//!
//! The following test shows this crate's answers:
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
//! for (content_type, body) in [
//!     (json, portal),
//!     ("text/plain", portal),
//!     ("application/x-www-form-urlencoded", portal),
//!     (json, r#"{"type": "match.found", "data": {}}"#),
//!     (json, r#"{"type": "video.processed", "data": {"test": true}}"#),
//!     (json, r#"{"event": "quota.warning", "data": {"percentage": NaN}}"#),
//!     (json, &long),
//! ] {
//!     let signature = Secret::new("whsec_test").sign(body.as_bytes()).to_string();
//!     assert_eq!(status(Some(signature.as_bytes()), content_type, body).await, 200, "{body:.50}");
//! }
//! # }
//! ```
//!
//! ---
//!
//! Previous: [Troubleshooting](super::troubleshooting). All [guides](super).

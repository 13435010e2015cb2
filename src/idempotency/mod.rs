//! Completes each event once.
//!
//! SoundHash delivers *at least* once. After a slow response or a lost connection, it sends the
//! same event again, up to 9 minutes later. By then, the first run of the handler may still be in
//! progress, and the retry may arrive at another process. SoundHash's retry job can repeat an event
//! for days. In addition, a signature never expires, so an attacker who recorded a delivery can
//! send it again at any time.
//!
//! [`IdempotencyLayer`] goes between the verification and the handler, and handles all of these
//! cases:
//!
//! ```
//! use std::time::Duration;
//!
//! use axum::{Router, http::StatusCode, routing::post};
//! use soundhash_webhook::{
//!     Event, SoundHashWebhookLayer,
//!     idempotency::{IdempotencyLayer, MemoryStore},
//! };
//! use tower::ServiceBuilder;
//!
//! async fn receive(event: Event) -> StatusCode {
//!     println!("{}", event.event_type());
//!     StatusCode::OK
//! }
//!
//! let once = ServiceBuilder::new()
//!     .layer(SoundHashWebhookLayer::new("whsec_test"))
//!     .layer(
//!         IdempotencyLayer::new(MemoryStore::new(100_000))
//!             .max_age(Duration::from_secs(15 * 60)),
//!     );
//! let app: Router = Router::new().route("/webhooks/soundhash", post(receive).layer(once));
//! ```
//!
//! `ServiceBuilder` comes from tower (`cargo add tower`). Put the layer around the route of the
//! handler only, as [`IdempotencyLayer`] explains.
//!
//! # What the layer does
//!
//! Before the handler runs, the layer claims the event in a store. The handler's response decides
//! what happens to the event, and to its next delivery:
//!
//! | the handler | the event | the next delivery |
//! | --- | --- | --- |
//! | responds with 2xx | is completed for the [`retention`](IdempotencyLayer::retention) | gets 200 with `Idempotent-Replayed: true`, and renews the retention |
//! | is still running | is claimed for the [`lease`](IdempotencyLayer::lease) | gets 503 with `Retry-After` |
//! | responds with another status, fails, panics or is canceled | is released | runs the handler |
//! | dies with its process | is claimed until the lease ends | gets 503 during the lease, and runs the handler after it |
//!
//! If the store fails, the delivery also gets 503, because the event may have been completed.
//! SoundHash retries after each 503. Every response that the layer gives in place of the handler has
//! an [`Outcome`] in its extensions.
//!
//! # Which deliveries are the same event
//!
//! The [`Key`] of an event comes from signed data only, because anyone can write headers. It is the
//! `id` that SoundHash's dispatcher sends, the portal's `delivery_id` together with the SHA-256 of
//! the body, or the SHA-256 of the body alone. The portal's `delivery_id` is a clock reading, which
//! two events in the same millisecond share.
//!
//! If a [`SecretProvider`](crate::SecretProvider) serves several tenants, name each one with
//! [`Secrets::endpoint`](crate::Secrets::endpoint), so that no tenant can claim the events of
//! another. If several endpoints share a store, give each layer a
//! [`scope`](IdempotencyLayer::scope).
//!
//! # Guarantees
//!
//! Within the retention, the handler **completes an event at most once**, and at least once while
//! SoundHash retries. This requires that:
//!
//! - No handler runs for longer than the lease. If one does, the log says so.
//! - The store keeps its records. [`MemoryStore`] forgets everything when the process restarts, and
//!   `RedisStore` forgets what its server forgets.
//! - A store that fails recovers within the lease. Until then, the layer retries to record how the
//!   handlers ended. If the store takes longer, or if the process dies first, a completed event is
//!   free again after its lease. SoundHash does not send the event again, because it got a 200. An
//!   attacker who recorded the delivery can send it again, until the event is too old.
//!
//! The layer does **not** guarantee that a handler *starts* only once. A handler that fails
//! half-way or is canceled runs again. If an effect must not happen twice even then, put all effects
//! into one database transaction (see the crate `soundhash-webhook-sqlx`), or pass the event's id to
//! a service that recognizes duplicates:
//!
//! ```
//! use axum::http::StatusCode;
//! use soundhash_webhook::{Event, Id};
//!
//! # struct Mailer;
//! # impl Mailer { async fn send(&self, _: &str, _: Option<&Id>) -> Result<(), ()> { Ok(()) } }
//! async fn receive(mailer: &Mailer, event: Event) -> StatusCode {
//!     // The mailer sends one mail for each id.
//!     match mailer.send(event.event_type(), event.id.as_ref()).await {
//!         Ok(()) => StatusCode::OK,
//!         // The layer releases the event, and SoundHash sends it again.
//!         Err(()) => StatusCode::BAD_GATEWAY,
//!     }
//! }
//! # let _ = receive;
//! ```
//!
//! # Choosing the times
//!
//! - The [`lease`](IdempotencyLayer::lease) is 60 s by default. It must be longer than the handler
//!   ever runs. SoundHash hangs up after 30 s, and axum then drops the handler, so 60 s is enough
//!   unless the handler is [detached](#slow-handlers). Do not make it much longer. If a process
//!   dies, its events stay claimed until the lease ends, and SoundHash's last retry starts 7
//!   minutes after the first attempt.
//! - The [`max_age`](IdempotencyLayer::max_age) is off by default, because it rejects events without
//!   a time, and because it needs a clock that is synchronized to within
//!   [`clock_skew`](IdempotencyLayer::clock_skew). With a `max_age`, a recorded delivery is either
//!   remembered or too old, so that an attacker cannot replay it. 15 minutes is a good choice,
//!   because retries arrive up to 9 minutes late.
//! - The [`retention`](IdempotencyLayer::retention) is 24 h by default. It counts from the last
//!   delivery of the event, and is never shorter than `max_age` and `clock_skew` together. Without a
//!   `max_age`, an attacker can replay a recorded delivery after the retention.
//!
//! # Slow handlers
//!
//! If the sender hangs up, axum drops the handler, and the retry starts it again. With
//! [`detach(true)`](IdempotencyLayer::detach), the handler runs to its end in a separate task, and
//! the retry is a duplicate. Choose a lease that covers the whole run. A graceful
//! shutdown does not wait for these tasks, and their events are free when the lease ends.
//!
//! ```
//! # use std::time::Duration;
//! # use soundhash_webhook::idempotency::{IdempotencyLayer, MemoryStore};
//! let layer = IdempotencyLayer::new(MemoryStore::new(100_000))
//!     .detach(true)
//!     .lease(Duration::from_secs(5 * 60));
//! ```
//!
//! For work that takes minutes, put the event into a queue and respond with 200. Use the [`Key`] as
//! the id of the job.
//!
//! # Choosing the store
//!
//! [`MemoryStore`] is for one process. If there are ever two processes, even for the seconds of a
//! deployment, use `RedisStore` (crate `soundhash-webhook-redis`), which all processes share. Its server must not
//! evict keys (`maxmemory-policy noeviction`). The docs of `RedisStore` list the other settings.
//!
//! # Running an event again
//!
//! [`MemoryStore::forget`], and the method of the same name of the other stores, make a store forget
//! that an event was completed, so that its next delivery runs the handler.
//!
//! # A store of your own
//!
//! Any database works if it can do each step in one atomic statement. The store below does the steps
//! on a map, and its comments show the statements for `PostgreSQL`:
//!
//! ```
//! use std::{
//!     collections::HashMap,
//!     sync::Mutex,
//!     time::{Duration, Instant},
//! };
//!
//! use soundhash_webhook::{
//!     BoxError,
//!     idempotency::{Claim, IdempotencyStore, Key, ClaimToken},
//! };
//!
//! #[derive(Default)]
//! struct Table(Mutex<HashMap<Key, Row>>);
//!
//! struct Row {
//!     /// `None` if the key is completed.
//!     token: Option<ClaimToken>,
//!     /// The lease or the retention, and its end.
//!     period: Duration,
//!     until: Instant,
//! }
//!
//! impl IdempotencyStore for Table {
//!     // INSERT INTO events AS old (key, token, period, until) VALUES ($1, $2, $3, now() + $3)
//!     // ON CONFLICT (key) DO UPDATE SET
//!     //   token = CASE WHEN old.until <= now() THEN $2 END,
//!     //   period = CASE WHEN old.until <= now() THEN $3 ELSE old.period END,
//!     //   until = now() + CASE WHEN old.until <= now() THEN $3 ELSE old.period END
//!     // WHERE old.until <= now() OR old.token IS NULL
//!     // RETURNING token
//!     //
//!     // No row: in progress. A token: acquired. NULL: completed, and renewed.
//!     async fn claim(&self, key: &Key, lease: Duration) -> Result<Claim, BoxError> {
//!         let mut rows = self.0.lock().map_err(|_| "poisoned")?;
//!         let (token, now) = (ClaimToken::unique(), Instant::now());
//!         if let Some(row) = rows.get_mut(key).filter(|row| now < row.until) {
//!             if row.token.is_some() {
//!                 return Ok(Claim::InProgress);
//!             }
//!             row.until = after(now, row.period);
//!             return Ok(Claim::Completed);
//!         }
//!         rows.insert(key.clone(), Row::new(Some(token), lease));
//!         Ok(Claim::Acquired(token))
//!     }
//!
//!     // UPDATE events SET token = NULL, period = $3, until = now() + $3
//!     // WHERE key = $1 AND token = $2 AND until > now()
//!     async fn complete(&self, key: &Key, token: ClaimToken, time: Duration) -> Result<bool, BoxError> {
//!         let mut rows = self.0.lock().map_err(|_| "poisoned")?;
//!         let held = rows.get_mut(key).filter(|row| row.is_held_by(token));
//!         Ok(held.map(|row| *row = Row::new(None, time)).is_some())
//!     }
//!
//!     // DELETE FROM events WHERE key = $1 AND token = $2 AND until > now()
//!     async fn release(&self, key: &Key, token: ClaimToken) -> Result<bool, BoxError> {
//!         let mut rows = self.0.lock().map_err(|_| "poisoned")?;
//!         let is_held = rows.get(key).is_some_and(|row| row.is_held_by(token));
//!         Ok(is_held && rows.remove(key).is_some())
//!     }
//! }
//!
//! impl Row {
//!     fn new(token: Option<ClaimToken>, period: Duration) -> Self {
//!         Self { token, period, until: after(Instant::now(), period) }
//!     }
//!
//!     fn is_held_by(&self, token: ClaimToken) -> bool {
//!         self.token == Some(token) && Instant::now() < self.until
//!     }
//! }
//!
//! fn after(now: Instant, time: Duration) -> Instant {
//!     now + time.min(Duration::from_secs(365 * 24 * 60 * 60))
//! }
//! # fn send<T: Send + Sync + 'static>() {}
//! # send::<Table>();
//! ```
//!
//! From time to time, delete the rows whose `until` has passed. Test your store with
//! `testing::store_conformance` (feature `testing`).

// The files, in the order in which a delivery passes through them:
//
// - `layer`: the layer, `settings`: its settings, and `clock`: one more for tests.
// - `service`: claims the event, calls the handler and records how it ended.
// - `key`: identifies the event.
// - `store`: the trait of a store. `memory` implements it.
// - `guard`: holds the claim while the handler runs.
// - `outcome`: why the layer responds in place of the handler.

#[cfg(feature = "testing")]
mod clock;
mod guard;
mod key;
mod layer;
mod memory;
mod outcome;
mod service;
mod settings;
mod store;

pub use self::{
    key::Key,
    layer::IdempotencyLayer,
    memory::MemoryStore,
    outcome::{Outcome, OutcomeKind},
    service::{Idempotency, IdempotencyFuture},
    store::{Claim, ClaimToken, IdempotencyStore},
};

//! Each event once.
//!
//! SoundHash delivers *at least* once: a slow answer, a lost connection or a restart brings
//! the same event again, up to 9 minutes later, perhaps while the first run is still going,
//! and perhaps to another process. And a signed body never expires: whoever recorded one
//! request could send it for ever. [`IdempotencyLayer`] stands between the verification and
//! the handler, and takes care of both:
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
//! let app: Router = Router::new()
//!     .route("/webhooks/soundhash", post(receive))
//!     .layer(
//!         ServiceBuilder::new()
//!             .layer(SoundHashWebhookLayer::new("whsec_test"))
//!             .layer(
//!                 IdempotencyLayer::new(MemoryStore::new(100_000))
//!                     .max_age(Duration::from_secs(15 * 60)),
//!             ),
//!     );
//! ```
//!
//! `ServiceBuilder` is tower's (`cargo add tower`). Two calls of `Router::layer` do the same, the
//! one of this layer first.
//!
//! # What happens
//!
//! Before the handler runs, its event is claimed in a store. What the handler answers decides:
//!
//! | the handler | the event | a delivery of it |
//! | --- | --- | --- |
//! | answers 2xx | is completed for [`retention`](IdempotencyLayer::retention) | 200 at once, with `Idempotent-Replayed: true` and no body |
//! | is at work | is claimed for [`lease`](IdempotencyLayer::lease) | 503 with `Retry-After` |
//! | answers anything else, fails, panics, is cut off | is released | runs the handler |
//! | died with its process | is claimed until the lease ends | 503, then runs the handler |
//!
//! A store that fails means 503, too: what is not known not to be done is not done. All these
//! 503 make SoundHash try again. Whatever the layer answers itself has an [`Answer`] in the
//! response's extensions.
//!
//! An event is known by its signed id and, if it has none, by its signature; never by a
//! header, since anybody can write those. With a [`SecretProvider`](crate::SecretProvider)
//! for several tenants, name each with [`Secrets::endpoint`](crate::Secrets::endpoint): ids
//! are then kept apart by tenant, and none can claim what is another's. Several endpoints
//! that share a store need a [`scope`](IdempotencyLayer::scope) each.
//!
//! # What is guaranteed, and what is not
//!
//! Within its retention, each event's handler **completes successfully at most once**, and at
//! least once while SoundHash retries; under these conditions:
//!
//! - No handler works for longer than the lease. If one does, the log warns of it.
//! - The store keeps what it answered. [`MemoryStore`] forgets all at a restart, `RedisStore`
//!   what its server forgets.
//! - When a store that fails comes back within the lease, it is told how the handlers ended
//!   that it missed. If it does not, or if the process ends before, an event that was acted
//!   on is free again after its lease. SoundHash does not send it again, since it was told
//!   200; but somebody who recorded it could, until it is too old.
//!
//! It is **not** guaranteed that a handler is *started* only once. One that fails half-way,
//! or is cut off, is run again, and what it did before is its own to find again. What must
//! not be done twice even then belongs into one transaction, or carries the event's id to
//! where duplicates are recognized:
//!
//! ```
//! use axum::http::StatusCode;
//! use soundhash_webhook::{Event, Id};
//!
//! # struct Mailer;
//! # impl Mailer { async fn send(&self, _: &str, _: Option<&Id>) -> Result<(), ()> { Ok(()) } }
//! async fn receive(mailer: &Mailer, event: Event) -> StatusCode {
//!     // The mailer sends one mail for one id.
//!     match mailer.send(event.event_type(), event.id.as_ref()).await {
//!         Ok(()) => StatusCode::OK,
//!         // The event is released, and SoundHash sends it again.
//!         Err(()) => StatusCode::BAD_GATEWAY,
//!     }
//! }
//! # let _ = receive;
//! ```
//!
//! # Choosing the times
//!
//! - [`lease`](IdempotencyLayer::lease), 60 s: longer than the handler ever works. SoundHash
//!   hangs up after 30 s, and axum then drops the handler, so that 60 s are enough unless
//!   it is [detached](#handlers-that-take-long). Not much longer, since it is what an event
//!   waits for when a process dies: SoundHash's last retry comes 7 minutes after the first.
//! - [`max_age`](IdempotencyLayer::max_age), off: 15 minutes. Honest retries come up to 9
//!   minutes late. With it, a recorded delivery is either remembered or too old, and cannot be
//!   replayed. It is off because events may say no time, in which case they would be refused,
//!   and because it needs a clock that is right within
//!   [`clock_skew`](IdempotencyLayer::clock_skew).
//! - [`retention`](IdempotencyLayer::retention), 24 h: at least `max_age` and `clock_skew`
//!   together, which is checked. Without a `max_age`, it is for how long a recorded delivery
//!   cannot be replayed.
//!
//! # Handlers that take long
//!
//! By default, a handler whose sender hangs up is cut off, as everywhere in axum, and begins
//! anew with the retry. With [`detach(true)`](IdempotencyLayer::detach) it runs in a task of
//! its own to its end, so its work is done once, and the retry is told that it is done. Choose
//! the lease accordingly. A shutdown does not wait for such tasks; what they had claimed is
//! free when the lease ends.
//!
//! ```
//! # use std::time::Duration;
//! # use soundhash_webhook::idempotency::{IdempotencyLayer, MemoryStore};
//! let layer = IdempotencyLayer::new(MemoryStore::new(100_000))
//!     .detach(true)
//!     .lease(Duration::from_secs(5 * 60));
//! ```
//!
//! For work that takes minutes, a handler that puts the event into a queue of your own and
//! answers 200 is the better one: the example `queue` does so, with a [`Key`] as the job's id.
//!
//! # Choosing the store
//!
//! [`MemoryStore`] is for one process. As soon as there are two, also for the seconds of a
//! deployment in which the old one still runs, `RedisStore` (feature `redis`) is the one: all
//! processes see the same. It says there [what its server has to be
//! like](https://docs.rs/soundhash-webhook/latest/soundhash_webhook/idempotency/struct.RedisStore.html);
//! above all, it must not evict keys (`maxmemory-policy noeviction`).
//!
//! # A store of your own
//!
//! A database that you have already will do, as long as each step is one atomic statement.
//! This one shows the three steps on a map; the comments, what they would be in `PostgreSQL`:
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
//!     idempotency::{Claim, IdempotencyStore, Key, Token},
//! };
//!
//! /// Each key with its holder, or `None` if it is completed, and when that ends.
//! #[derive(Default)]
//! struct Table(Mutex<HashMap<Key, (Option<Token>, Instant)>>);
//!
//! impl IdempotencyStore for Table {
//!     // INSERT INTO events (key, token, until) VALUES ($1, $2, now() + $3)
//!     // ON CONFLICT (key) DO UPDATE SET token = $2, until = now() + $3
//!     // WHERE events.until <= now()
//!     // No row was written: SELECT token IS NULL FROM events WHERE key = $1
//!     async fn claim(&self, key: &Key, lease: Duration) -> Result<Claim, BoxError> {
//!         let mut rows = self.0.lock().map_err(|_| "poisoned")?;
//!         let (token, now) = (Token::unique(), Instant::now());
//!         Ok(match rows.get(key) {
//!             Some((Some(_), until)) if now < *until => Claim::InProgress,
//!             Some((None, until)) if now < *until => Claim::Completed,
//!             _ => {
//!                 rows.insert(key.clone(), (Some(token), after(now, lease)));
//!                 Claim::Acquired(token)
//!             }
//!         })
//!     }
//!
//!     // UPDATE events SET token = NULL, until = now() + $3
//!     // WHERE key = $1 AND token = $2 AND until > now()
//!     async fn complete(&self, key: &Key, token: Token, time: Duration) -> Result<bool, BoxError> {
//!         let mut rows = self.0.lock().map_err(|_| "poisoned")?;
//!         let now = Instant::now();
//!         let held = rows.get_mut(key).filter(|row| row.0 == Some(token) && now < row.1);
//!         let is_held = held.is_some();
//!         if let Some(row) = held {
//!             *row = (None, after(now, time));
//!         }
//!         Ok(is_held)
//!     }
//!
//!     // DELETE FROM events WHERE key = $1 AND token = $2 AND until > now()
//!     async fn release(&self, key: &Key, token: Token) -> Result<bool, BoxError> {
//!         let mut rows = self.0.lock().map_err(|_| "poisoned")?;
//!         let now = Instant::now();
//!         let is_held = rows.get(key).is_some_and(|row| row.0 == Some(token) && now < row.1);
//!         if is_held {
//!             rows.remove(key);
//!         }
//!         Ok(is_held)
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
//! Rows that are over have to be deleted from time to time. `testing::store_conformance`
//! (feature `testing`) is a test that any store has to pass, and both of ours do.

mod answer;
mod held;
mod key;
mod layer;
mod memory;
#[cfg(feature = "redis")]
mod redis;
mod service;
mod store;
mod token;

#[cfg(feature = "redis")]
pub use self::redis::RedisStore;
pub use self::{
    answer::{Answer, AnswerKind},
    key::Key,
    layer::IdempotencyLayer,
    memory::MemoryStore,
    service::{Idempotency, IdempotencyFuture},
    store::{Claim, IdempotencyStore},
    token::Token,
};

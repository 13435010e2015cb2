//! Past one machine: which store or queue keeps your events.
//!
//! SoundHash delivers an event at least once, retries for at most seven minutes, and then drops it.
//! Before you choose a store, decide which effects must not happen twice, and which events must not
//! be lost.
//!
//! # Which one
//!
//! - **One process, effects that may happen twice after a crash**: an
//!   [`IdempotencyLayer`](crate::idempotency) on [`MemoryStore`](crate::idempotency::MemoryStore). It
//!   does not need a server, and forgets everything in a restart.
//! - **Several processes, effects outside of your database**: the same layer on `RedisStore`
//!   (crate `soundhash-webhook-redis`), or on `SqlxStore` of the crate `soundhash-webhook-sqlx` if you already have
//!   a database.
//! - **Effects in your own Postgres or SQLite database**: `EventLog::record` of
//!   `soundhash-webhook-sqlx`. It writes the event's key in *your* transaction, so the effects happen
//!   exactly once. It also keeps the verified body.
//! - **Work that takes longer than SoundHash waits (30 s)**: store the event, answer, and do the
//!   work later. The example `inbox` stores the event and a job in one Postgres transaction. The
//!   example `jetstream` stores the event in a replicated log.
//!
//! # What a crash does
//!
//! A process can die at any point while it handles a delivery. SoundHash retries if it received no 2xx.
//!
//! The process dies before the handler's effects:
//!
//! - Every store: the retry runs the handler. If the store is outside the process, the handler runs
//!   only after the lease, which is 60 s by default.
//!
//! The process dies after the effects, and before the event is marked as completed:
//!
//! - `MemoryStore`, `RedisStore`, `SqlxStore`: the retry runs the handler **again**. Idempotency stores
//!   make a handler *complete* at most once. They cannot make its *effects* happen once.
//! - `EventLog::record`: cannot happen, because one commit does both.
//!
//! The process dies after the event is marked as completed, and before the response:
//!
//! - `MemoryStore`: the handler runs **again**, because the memory is gone.
//! - The others: the retry is answered as a duplicate.
//!
//! The machine of the store dies:
//!
//! - `RedisStore`: a replica can lack the last second of writes. The events of that second can run
//!   again.
//! - A database: if the failover goes to a synchronous replica, no committed transaction is lost.
//! - `jetstream`: with three replicas, an accepted event is on two machines before the response.
//!
//! # Exactly once, in your database
//!
//! ```text
//! let mut tx = log.begin().await?;
//! if log.record(&mut tx, &delivery).await?.is_duplicate() {
//!     return Ok(StatusCode::OK);
//! }
//! charge(&mut tx, &event).await?;
//! tx.commit().await?;                                       // both or neither
//! ```
//!
//! A concurrent duplicate waits until the first transaction ends, but at most for `lock_timeout`.
//! If the first transaction was rolled back, the duplicate counts as new. Errors of the database
//! are answered with 503, so that SoundHash retries. The documentation of `soundhash-webhook-sqlx`
//! has a table of every store and every point of failure.
//!
//! # Work later: `inbox`
//!
//! One transaction records the delivery and enqueues a job. After the commit, the receiver
//! answers with 202. Workers run each job in its own transaction, with retries and back-off. Jobs that fail too
//! often are kept, and you can list them and run them again. All data is in one Postgres database,
//! so a backup contains all of it.
//!
//! # Work later: `jetstream`
//!
//! The receiver publishes the verified bytes to a NATS `JetStream` stream with three replicas, and
//! answers 202 when a majority has stored them. The event's [`Key`](crate::idempotency::Key) is the
//! `Nats-Msg-Id`, so the stream drops duplicates within its duplicate window. The window is one day
//! in the example, and within it you do not need an [`IdempotencyLayer`](crate::idempotency). A
//! duplicate that arrives later is a new message. To recognize it, the worker can record the key in
//! its database, or pass the key to services that recognize duplicates.
//!
//! Workers pull events and acknowledge each one. If a worker dies after it acted and before it
//! acknowledged, the event runs again. An event that fails ten times moves to a second stream.
//!
//! A NATS server writes to the page cache, and to the disk every two minutes unless `sync_interval` says
//! otherwise. A server that is killed or a machine that is lost loses nothing, because a second machine
//! has the event. A power cut of all three machines can.
//!
//! # What it costs
//!
//! Everything runs on one machine with two cores, the servers and the sender included, so read the
//! figures as ratios. Postgres runs with `fsync`, SQLite with `synchronous = FULL`, NATS as three nodes
//! with default settings.
//!
//! Events of 700 bytes over 32 connections, from
//! `cargo bench -p soundhash-webhook-benches --bench past_one_machine`. The receiver runs alone, and
//! then a single worker acts on what was accepted:
//!
//! | example | accepted per second | of `receiver` | acted on per second |
//! | --- | ---: | ---: | ---: |
//! | `receiver`, which prints each event and remembers it in memory | 75,458 | 100 % | before the response |
//! | `inbox` | 1,804 | 2.4 % | 2,982 |
//! | `jetstream` | 14,431 | 19 % | 12,156 |
//!
//! A handler that inserts one row, with 16 requests at a time, from
//! `cargo bench -p soundhash-webhook-sqlx --all-features`:
//!
//! | | without `record` | with `record` | ratio |
//! | --- | ---: | ---: | ---: |
//! | Postgres, bodies of 300 bytes | 5,679 | 3,571 | 63 % |
//! | Postgres, bodies of 200,000 bytes | 1,329 | 227 | 17 % |
//! | SQLite, bodies of 300 bytes | 3,965 | 2,447 | 62 % |
//! | SQLite, bodies of 200,000 bytes | 1,129 | 438 | 39 % |
//!
//! Large bodies cost what it takes to write them. The same command measures the stores and the table:
//!
//! | | Redis | Postgres | SQLite |
//! | --- | ---: | ---: | ---: |
//! | claim and complete per second, 1 at a time | 11,197 | 989 (9 %) | 1,612 (14 %) |
//! | claim and complete per second, 16 at a time | 35,261 | 4,183 (12 %) | 855 (2 %) |
//! | bytes per row, for a body of 300 bytes | | 499 | 454 |
//! | time to purge a million rows | | 14.7 s | 3.3 s |
//! | time to list the last 100 of a million | | 7.2 ms | 0.7 ms |
//!
//! # Other logs and queues
//!
//! **Kafka.** Use `rdkafka` with `enable.idempotence=true` and `acks=all` on a topic with
//! `min.insync.replicas=2`. Use the [`Key`](crate::idempotency::Key) as the record's key, so that
//! all duplicates of an event are in one partition. Answer 202 after the delivery report. Kafka
//! does not drop duplicates from different receivers, so consumers must recognize the key. Commit
//! an offset after the consumer has acted on the event.
//!
//! **Amazon SQS.** Use `aws-sdk-sqs` with a FIFO queue. Use the SHA-256 of the
//! [`Key`](crate::idempotency::Key) as `MessageDeduplicationId`, in hexadecimal digits, because the
//! id allows only 128 characters of a limited set. SQS drops duplicates for five minutes.
//! SoundHash's retries take longer, so workers must recognize the key. Answer 202 after
//! `SendMessage` succeeds, and delete a message after the worker has acted on the event. A message
//! holds 256 KiB, which is less than `max_body_size`. Store larger bodies elsewhere.
//!
//! ---
//!
//! Previous: [Idempotency](crate::idempotency). Next: [Security](super::security). All
//! [guides](super).

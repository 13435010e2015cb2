//! Past one machine: which store or queue keeps your events.
//!
//! SoundHash delivers an event at least once, retries for at most seven minutes, and cannot send it again
//! after that. Choose where your application remembers events by asking what must not happen twice, and
//! what must not be lost.
//!
//! # Which one
//!
//! - **One process, effects that may happen twice after a crash**: an
//!   [`IdempotencyLayer`](crate::idempotency) on [`MemoryStore`](crate::idempotency::MemoryStore). It
//!   needs nothing, and forgets everything at a restart.
//! - **A fleet, effects elsewhere**: the same layer on `RedisStore` (feature `redis`), or on `SqlxStore`
//!   of the crate `soundhash-webhook-sqlx` if you have a database anyway.
//! - **Effects in your own Postgres or SQLite database**: `EventLog::record` of
//!   `soundhash-webhook-sqlx`. It writes the event's key in *your* transaction, so the effects happen
//!   exactly once. It also keeps the verified body.
//! - **Work that takes longer than SoundHash waits (30 s)**: accept now, work later. The example `inbox`
//!   stores the event and a job in one Postgres transaction. The example `jetstream` stores the event in
//!   a replicated log.
//!
//! # What a crash does
//!
//! A process can die at any point while it handles a delivery. SoundHash retries if it received no 2xx.
//!
//! The process dies before the handler's effects:
//!
//! - Every store: the retry runs the handler. With a store outside the process, it does so after the
//!   lease, 60 s by default.
//!
//! It dies after the effects, and before the event is marked as completed:
//!
//! - `MemoryStore`, `RedisStore`, `SqlxStore`: the retry runs the handler **again**. Idempotency stores
//!   make a handler *complete* at most once. They cannot make its *effects* happen once.
//! - `EventLog::record`: cannot happen, because one commit does both.
//!
//! It dies after the event is marked as completed, and before the response:
//!
//! - `MemoryStore`: the handler runs **again**, because the memory is gone.
//! - The others: the retry is answered as a duplicate.
//!
//! The machine of the store dies:
//!
//! - `RedisStore`: a replica can lack the last second of writes. Their events can run again.
//! - A database: nothing that was committed is lost, if the failover goes to a synchronous replica.
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
//! A concurrent duplicate waits for the first transaction, at most `lock_timeout`. Then it is a duplicate,
//! or new if the first rolled back. Errors of the database are answered with 503, so that SoundHash
//! retries. The crate's documentation has a table of every store and every point of failure.
//!
//! # Accept now, work later: `inbox`
//!
//! One transaction records the delivery and enqueues a job, then the receiver answers 202. Workers run
//! the jobs, each in its own transaction, with retries and back-off. Jobs that fail too often are
//! kept, listed, and can be run again. Everything is in one Postgres database, so a backup has all of it.
//!
//! # Accept now, work later: `jetstream`
//!
//! The receiver publishes the verified bytes to a NATS `JetStream` stream with three replicas, and answers
//! 202 when a majority has stored them. The event's [`Key`](crate::idempotency::Key) is the
//! `Nats-Msg-Id`, so the stream drops copies within its duplicate window, one day in the example. An
//! [`IdempotencyLayer`](crate::idempotency) is not needed within that window. A copy that arrives later
//! is a new message: make the worker's effects idempotent by the key, or record the key in the worker's
//! database.
//!
//! Workers pull and acknowledge each event. A worker that dies between acting and acknowledging leads to
//! a second run. An event that fails ten times moves to a second stream.
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
//! `min.insync.replicas=2`. Use the [`Key`](crate::idempotency::Key) as the record's key, so that copies of
//! an event are in one partition. Await the delivery report before you answer 202. Kafka does not drop
//! copies that different receivers produce, so consumers must recognize the key. Commit an offset after
//! its events are acted on.
//!
//! **Amazon SQS.** Use `aws-sdk-sqs` with a FIFO queue, and the [`Key`](crate::idempotency::Key) as
//! `MessageDeduplicationId`. It allows 128 characters of a limited set, so pass the key's SHA-256 as
//! hexadecimal digits. SQS drops copies for five minutes, which is shorter than SoundHash's retries, so
//! workers must recognize the key. Answer 202 after `SendMessage` succeeds, and delete a message after its
//! event is acted on. A message holds 256 KiB, less than `max_body_size`: store larger bodies elsewhere.
//!
//! ---
//!
//! Previous: [Idempotency](crate::idempotency). Next: [Security](super::security). All
//! [guides](super).

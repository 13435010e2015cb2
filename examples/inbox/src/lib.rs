//! Responds immediately and does the work later: stores an event and its job in a single Postgres
//! statement.
//!
//! SoundHash waits 30 s for a response and gives up after four attempts. This receiver responds
//! with 202 as soon as the event is stored, so a worker can take minutes, and retry for days.
//! `main.rs` lists the arguments and environment variables. These are the files, in the order in
//! which an event passes through them:
//!
//! - [`inbox`]: the tables, and the statement that stores an event and its job.
//! - [`receive`]: the HTTP endpoint.
//! - [`work`]: the workers, which handle each event in one transaction.
//! - `watch`: detects workers that have stopped handling events, so that they are replaced.
//! - [`given_up`]: lists jobs that failed too often, and runs them again.
//!
//! # What happens when something dies
//!
//! | what dies | effect |
//! | --- | --- |
//! | the receiver before its commit | nothing is stored, and SoundHash sends the event again |
//! | the receiver after its commit | the event and its job are stored, and the next delivery is a duplicate |
//! | the worker before its commit | nothing was done, and another worker takes the job after 20 to 30 s |
//! | the worker's machine before its commit | the same, but the job fails until Postgres has dropped the connection, after 25 s |
//! | the worker after its commit | the job runs again, and finds that its row exists |
//! | Postgres | the receiver responds with 503 until Postgres is available; workers reconnect and continue |
//! | Postgres's machine, so that queries never end | the same; a worker that does not continue is replaced after about a minute |
//!
//! # Which queue
//!
//! The queue and its workers come from the `graphile_worker` crate. This example's README compares
//! it with `apalis-postgres`.

pub mod given_up;
pub mod inbox;
pub mod receive;
mod watch;
pub mod work;

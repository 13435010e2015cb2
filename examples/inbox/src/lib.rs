//! Answer at once, work later: the delivery and its job are stored in one transaction on Postgres.
//!
//! SoundHash waits 30 s for a response and gives up after four attempts. This receiver answers
//! 202 as soon as the event is stored, and a worker then takes as long, and as many attempts, as
//! the work needs. `main.rs` says how to run it. The files, in the order in which an event meets
//! them:
//!
//! - [`inbox`]: the tables, and the transaction that stores an event and its job;
//! - [`receive`]: the HTTP side;
//! - [`work`]: the workers, which act on each event in one transaction;
//! - [`given_up`]: jobs that failed too often, and how to run them again;
//! - [`stop`]: the end of the process.
//!
//! # What happens when something dies
//!
//! | what dies | effect |
//! | --- | --- |
//! | the receiver before its commit | nothing is stored, SoundHash sends the event again |
//! | the receiver after its commit | the event and its job are stored, the next delivery is a duplicate |
//! | the worker before its commit | nothing was done, another worker takes the job after 20 to 30 s |
//! | the worker after its commit | the job runs once more, and finds that its row is there |
//! | Postgres | 503 while it is away; workers connect again and go on |
//!
//! # Which queue
//!
//! The workers are those of `graphile_worker`. See the README of this example for the trial in
//! which it was compared with `apalis-postgres`.

pub mod given_up;
pub mod inbox;
pub mod receive;
pub mod stop;
pub mod work;

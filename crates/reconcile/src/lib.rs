//! Compares SoundHash's delivery log with the events that you recorded.
//!
//! SoundHash drops an event after four failed attempts, and records an event as delivered if a
//! redirect or a proxy responded with 2xx instead of your application. Neither leaves a trace in
//! your log. [`reconcile`] finds both in the delivery log of SoundHash's API, for a given time
//! window. The `soundhash-webhook reconcile` command does the same on the command line.
//!
//! This crate does not send any requests. [`Log::query`] tells you which page of `GET
//! /api/v1/webhooks/{id}/deliveries` to fetch next. Use any HTTP client to fetch it:
//!
//! ```
//! use soundhash_webhook_reconcile::{
//!     Attempt, Log, Record, SignedDuration, Timestamp, Verdict, Window, reconcile,
//! };
//! # fn get(_endpoint: u64, _query: &[(&str, &str)]) -> String { "[]".to_owned() }
//! # fn recorded_since(_time: Timestamp) -> Vec<Record> { Vec::new() }
//!
//! // The last hour whose retries are over.
//! let until = Timestamp::now() - Window::SETTLED;
//! let window = Window::new(until - SignedDuration::from_hours(1), until);
//!
//! let mut log = Log::new(7_u64);
//! while let Some(query) = log.query(window.since) {
//!     let page: Vec<Attempt> = serde_json::from_str(&get(7, query))?;
//!     log.add(page);
//! }
//! let recorded = recorded_since(window.since - window.clock_difference);
//!
//! let report = reconcile(&[log], Some(&recorded), &window);
//! if report.verdict() == Verdict::Missing {
//!     // Ask SoundHash's API for the resources that changed in this time.
//!     println!("{} events are missing: {:?}", report.missing(), report.missing_window());
//! }
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! # How reliable a report is
//!
//! SoundHash's log contains neither the id nor the type of an event, so the two lists can only be
//! compared by time and count. Each event that SoundHash delivered needs a record between its first
//! and its last attempt. A [`Gap`] is a period in which more events were delivered than recorded.
//! The number of missing events is certain. Which events are missing is certain only if none of the
//! events in the gap was recorded.
//!
//! These guarantees hold if SoundHash's clock and the clock used for the records differ by at most
//! [`Window::clock_difference`]. [`reconcile`] determines the difference itself, and expects it to
//! be constant throughout the window. If one of the clocks was adjusted during the window, compare
//! shorter windows.
//!
//! A record without a matching delivery can hide an event that is missing at the same time. Such
//! records come from the test button, from SoundHash's developer portal, whose deliveries are not in
//! the log, and from endpoints that were not compared. [`Report::extra`] counts them. An event from
//! the half second before or after the window can also hide a missing event in the window.

// - `log`: the attempts, and the queries that read them within the API's limit
// - `compare`: finds the missing events
// - `matching`: assigns records to events
// - `report`: the result

#![forbid(unsafe_code)]

mod compare;
mod log;
mod matching;
mod report;

pub use jiff::{SignedDuration, Timestamp};
pub use soundhash_webhook::Id;

pub use crate::{
    compare::{Record, Window, reconcile},
    log::{Attempt, Log},
    report::{Failed, Fate, Gap, Report, Unseen, Verdict},
};

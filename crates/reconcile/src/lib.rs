//! Compares SoundHash's log of deliveries with what you recorded.
//!
//! SoundHash drops an event after four failed attempts, and records an event as delivered if a
//! redirect or a proxy responded with 2xx in place of your application. Neither leaves a trace in
//! your log. [`reconcile`] finds both in the delivery log of SoundHash's API, in a window of time.
//! The command `soundhash-webhook reconcile` does the same at the terminal.
//!
//! This crate sends no requests. [`Log::query`] says which page of `GET
//! /api/v1/webhooks/{id}/deliveries` to get next, with any HTTP client:
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
//! # How sure a report is
//!
//! SoundHash's log has neither the id nor the type of an event, so the two lists can only be
//! compared by time and count. Each event that SoundHash delivered needs a record between its first
//! and its last attempt. A [`Gap`] is a time in which more events were delivered than recorded. The
//! difference is certain, but which of the events it is remains open, unless none was recorded.
//!
//! This holds if the clocks of SoundHash and of the records differ by at most
//! [`Window::clock_difference`] in the whole window. The function finds out the difference. Compare
//! again with shorter windows if one of the clocks was set in between.
//!
//! A record without a delivery can hide a missing event of the same time. The test button sends
//! events that are not in the log, and so does an endpoint that was not compared.
//! [`Report::extra`] counts such records. At the beginning and the end of the window, each event of
//! the half second outside of it can hide one.
//!
//! - `log`: the attempts, and the queries that read them within the API's limit
//! - `compare`: finds what is missing
//! - `matching`: assigns records to events
//! - `report`: what was found

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

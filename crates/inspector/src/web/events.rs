//! The live updates of the list, as server-sent events.

use std::time::Duration;

use axum::{
    extract::{Query, State},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::{Value, json};
use soundhash_webhook::SchemaChange;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{page::Page, view::summary};

/// The minimum time between two batches, which keeps the page from being updated a thousand times
/// per second.
const PACE: Duration = Duration::from_millis(200);
/// The maximum time without an event. The page takes a connection that is silent for longer as dead,
/// even if nothing has closed it.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The lifetime of a stream, after which the page reconnects and resumes. An endless stream would
/// prevent a server from shutting down gracefully.
const LIFETIME: Duration = Duration::from_secs(20);
/// How long the page waits before it reconnects.
const RETRY: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
pub(super) struct Resume {
    /// The id of the last batch that the page received through another tab.
    last: Option<String>,
}

pub(super) async fn events(
    State(page): State<Page>,
    Query(resume): Query<Resume>,
    headers: HeaderMap,
) -> Response {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let last = last.or(resume.last.as_deref());
    let last = last.and_then(|id| page.parse_id(id));
    let stop = page.stop.clone();
    let reader = Reader {
        version: page.inspector.store.watch(),
        page,
        last: last.unwrap_or(0),
        reset: last.is_none(),
        is_first: true,
    };
    let ended = async move {
        let _ = timeout(LIFETIME, stop.cancelled()).await;
    };
    let stream = stream::unfold(reader, Reader::next).take_until(Box::pin(ended));
    // Prevents a proxy in front of `routes` from buffering the stream.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    (unbuffered, Sse::new(stream)).into_response()
}

impl Page {
    /// Returns the number in an id, or `None` if the id is from an earlier run of the application.
    pub(super) fn parse_id(&self, id: &str) -> Option<u64> {
        let (instance, number) = id.rsplit_once('.')?;
        (instance == &*self.inspector.store.instance).then(|| number.parse().ok())?
    }
}

/// A page's position in the list.
struct Reader {
    page: Page,
    version: watch::Receiver<u64>,
    /// The highest record number sent so far.
    last: u64,
    reset: bool,
    /// The first batch is sent even if it is empty, to show that the connection works.
    is_first: bool,
}

impl Reader {
    async fn next(mut self) -> Option<(Result<Event, axum::Error>, Self)> {
        loop {
            if !self.is_first {
                sleep(PACE).await;
                let Ok(changed) = timeout(HEARTBEAT, self.version.changed()).await else {
                    // Scripts cannot see a comment or an event without data.
                    let heartbeat = Event::default().event("heartbeat").data("-");
                    return Some((Ok(heartbeat), self));
                };
                changed.ok()?;
            }
            self.version.mark_unchanged();
            let changes = self.page.inspector.store.after(self.last);
            let reset = self.reset || changes.cleared;
            let is_change = self.is_first || reset || !changes.records.is_empty();
            (self.reset, self.is_first, self.last) = (false, false, changes.newest);
            if is_change {
                let sent = changes.newest.saturating_sub(changes.from);
                let skipped = sent.saturating_sub(changes.records.len() as u64);
                let records: Value = changes.records.iter().map(|it| summary(it)).collect();
                let batch = json!({
                    // Whether the page must drop all of its records.
                    "reset": reset,
                    // The number of records that were evicted before they could be sent in this
                    // batch.
                    "skipped": if reset { 0 } else { skipped },
                    // The total number of records since the inspector was created, and the number
                    // that are still kept.
                    "received": changes.received,
                    "kept": changes.kept,
                    "changes": SchemaChange::seen().len(),
                    "records": records,
                });
                let event = Event::default()
                    .retry(RETRY)
                    .id(format!(
                        "{}.{}",
                        self.page.inspector.store.instance, changes.newest
                    ))
                    .event("records")
                    .json_data(batch);
                return Some((event, self));
            }
        }
    }
}

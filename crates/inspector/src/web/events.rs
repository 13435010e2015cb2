//! The live updates of the list, as server-sent events.

use std::{
    future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::Frame;
use serde::Serialize;
use tokio::{sync::mpsc, time::sleep};

use super::{Page, view::Summary};
use crate::{Inspector, Record};

/// The time between two batches, so that a thousand records a second do not become a thousand
/// updates of the page.
const PACE: Duration = Duration::from_millis(200);
/// The lifetime of a stream, after which the page reconnects and resumes. An endless stream would
/// keep a server from stopping gracefully.
const LIFETIME: Duration = Duration::from_secs(20);

#[derive(Serialize)]
struct Batch<'a> {
    /// The page must drop all of its records.
    reset: bool,
    /// The number of records that were evicted before this batch.
    skipped: u64,
    records: Vec<Summary<'a>>,
}

pub(super) async fn events(State(page): State<Page>, headers: HeaderMap) -> Response {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let last = last.and_then(|id| page.parse_id(id));
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(page.send_events(last, sender));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // Keeps a proxy in front of `routes` from buffering the stream.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::new(Stream(receiver))).into_response()
}

impl Page {
    fn parse_id(&self, id: &str) -> Option<u64> {
        let (instance, number) = id.rsplit_once('.')?;
        (instance == &*self.instance).then(|| number.parse().ok())?
    }

    async fn send_events(mut self, last: Option<u64>, sender: mpsc::Sender<Bytes>) {
        let mut version = self.inspector.store.watch();
        let send = async {
            let mut reset = last.is_none();
            let mut last = last.unwrap_or(0);
            // The first batch is sent even if it is empty, to show that the connection works.
            let mut first = true;
            loop {
                version.mark_unchanged();
                let news = self.inspector.store.after(last);
                reset |= news.cleared;
                if first || reset || !news.records.is_empty() {
                    let skipped = if reset { 0 } else { news.skipped };
                    let id = format!("{}.{}", self.instance, news.newest);
                    let Some(event) = batch(&id, reset, skipped, &news.records) else {
                        return;
                    };
                    if sender.send(event).await.is_err() {
                        return;
                    }
                }
                (reset, first, last) = (false, false, news.newest);
                sleep(PACE).await;
                if version.changed().await.is_err() {
                    return;
                }
            }
        };
        let stopped = async {
            match &mut self.stop {
                Some(stop) => drop(stop.wait_for(|stop| *stop).await),
                None => future::pending().await,
            }
        };
        tokio::select! {
            () = send => {}
            () = sender.closed() => {}
            () = sleep(LIFETIME) => {}
            () = stopped => {}
        }
    }
}

fn batch(id: &str, reset: bool, skipped: u64, records: &[Arc<Record>]) -> Option<Bytes> {
    let records = records.iter().map(|record| Summary::of(record)).collect();
    let data = serde_json::to_string(&Batch {
        reset,
        skipped,
        records,
    })
    .ok()?;
    Some(format!("retry: 500\nid: {id}\nevent: records\ndata: {data}\n\n").into())
}

struct Stream(mpsc::Receiver<Bytes>);

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0
            .poll_recv(cx)
            .map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

/// Finds the records whose id or body contains a text, ignoring the case of ASCII letters.
pub(super) fn search(inspector: &Inspector, text: &str) -> Vec<u64> {
    let text = text.to_lowercase().into_bytes();
    let records = inspector.store.all().into_iter();
    let found = records.filter(|record| {
        record
            .event_id()
            .is_some_and(|id| contains(id.as_bytes(), &text))
            || contains(record.body(), &text)
    });
    found.map(|record| record.number).collect()
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    let Some(first) = text.first() else {
        return true;
    };
    let starts = body
        .iter()
        .enumerate()
        .filter(|(_, byte)| byte.to_ascii_lowercase() == *first);
    let mut candidates = starts.filter_map(|(at, _)| body.get(at..at + text.len()));
    candidates.any(|part| part.eq_ignore_ascii_case(text))
}

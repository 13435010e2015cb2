//! Tests the list's live updates.

use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

use crate::support::{App, PATIENCE};

/// The stream of batches that the page receives as live updates.
struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    async fn open(app: &App, last: Option<&str>) -> Self {
        let mut request = app.ask("GET", "/api/events");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            text: String::new(),
        }
    }

    /// Returns the id and the data of the next batch, without heartbeats, or `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let event: String = self.text.drain(..end + 2).collect();
                if event.starts_with("event: heartbeat\n") {
                    continue;
                }
                let field = |name| event.lines().find_map(|line| line.strip_prefix(name));
                let data = serde_json::from_str(field("data: ").unwrap()).unwrap();
                return Some((field("id: ").unwrap().to_owned(), data));
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await;
            let chunk = chunk.expect("an event");
            self.text += std::str::from_utf8(&chunk.unwrap()?).unwrap();
        }
    }
}

fn numbers(batch: &Value) -> Vec<u64> {
    let records = batch["records"].as_array().unwrap().iter();
    records
        .map(|record| record["number"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn a_stream_begins_with_all_records_and_continues_with_new_ones() {
    let app = App::start().await;
    app.deliver().await;
    app.forge().await;
    let mut events = Events::open(&app, None).await;
    let (_, batch) = events.next().await.unwrap();
    assert_eq!(batch["reset"], true);
    assert_eq!(numbers(&batch), [1, 2]);
    app.deliver().await;
    let (_, batch) = events.next().await.unwrap();
    assert_eq!(batch["reset"], false);
    assert_eq!(numbers(&batch), [3]);
    assert_eq!(batch["records"][0]["verdict"], "accepted");
}

/// If another process sent the stream, its record numbers refer to different records.
#[tokio::test]
async fn a_stream_is_resumed_unless_another_process_sent_it() {
    let app = App::start().await;
    app.deliver().await;
    let (id, _) = Events::open(&app, None).await.next().await.unwrap();
    app.deliver().await;
    for (last, reset, sent) in [
        (&*id, false, &[2][..]),
        ("another.1", true, &[1, 2]),
        ("garbage", true, &[1, 2]),
        ("another.99999999999999999999", true, &[1, 2]),
    ] {
        let (_, batch) = Events::open(&app, Some(last)).await.next().await.unwrap();
        assert_eq!(batch["reset"], reset, "{last}");
        assert_eq!(numbers(&batch), sent, "{last}");
    }
}

#[tokio::test]
async fn clearing_empties_every_page() {
    let app = App::start().await;
    app.deliver().await;
    let mut events = Events::open(&app, None).await;
    events.next().await.unwrap();
    app.ask("POST", "/api/clear").send().await.unwrap();
    let (_, batch) = events.next().await.unwrap();
    assert_eq!(batch["reset"], true);
    assert!(numbers(&batch).is_empty());
    app.deliver().await;
    let (_, batch) = events.next().await.unwrap();
    assert_eq!((&batch["reset"], numbers(&batch)), (&false.into(), vec![3]));
}

/// A connection without a request must not delay the shutdown indefinitely.
#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let app = App::start().await;
    let _silent = TcpStream::connect(app.origin().strip_prefix("http://").unwrap())
        .await
        .unwrap();
    let mut events = Events::open(&app, None).await;
    events.next().await.unwrap();
    app.stop_page().await;
    let end = events.next().await;
    assert!(end.is_none(), "the stream is cut off instead of ended");
}

//! The server's metrics.

use metrics_util::debugging::{DebugValue, DebuggingRecorder};

use crate::support::{Running, is_served, to_the_end};

#[tokio::test]
async fn connections_and_troubles_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    // All tasks use this recorder, because the test runs on a single thread.
    let _recorder = metrics::set_default_local_recorder(&recorder);
    let server = Running::start(|server| server).await;
    // Gives the server's task a chance to start.
    tokio::task::yield_now().await;
    // All counters must exist from the start, because an alert on a counter's increase misses the
    // event that creates the counter.
    let start = snapshotter.snapshot().into_vec();
    assert_eq!(start.len(), 12, "{start:?}");
    let mut open = server.connect().await;
    assert!(is_served(&mut open).await);
    let mut malformed = server.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut malformed, b"\0\r\n\r\n")
        .await
        .unwrap();
    to_the_end(&mut malformed).await;
    server.logged("not_http").await;
    let values = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| (key.key().name().to_owned(), value))
        .filter(|(_, value)| *value != DebugValue::Counter(0));
    let mut values: Vec<_> = values.collect();
    values.sort_by(|a, b| a.0.cmp(&b.0));
    let name = |suffix| format!("soundhash_webhook_server_{suffix}");
    assert_eq!(
        values,
        [
            (name("connections_open"), DebugValue::Gauge(1.0.into())),
            (name("connections_total"), DebugValue::Counter(2)),
            (name("troubles_total"), DebugValue::Counter(1)),
        ]
    );
    server.ended().await;
}

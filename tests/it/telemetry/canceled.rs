//! Handlers that are canceled or panic are reported once. Those that finish are not reported here.

use std::{future::pending, time::Duration};

use axum::{Router, routing::post};
use http::StatusCode;
use soundhash_webhook::{
    SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, MemoryStore},
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};
use tower::ServiceBuilder;
use tracing::{Level, info};

use super::{
    KEY, SPAN,
    log::{Log, number},
    send, signed, video,
};
use crate::support::{SECRET, signed_bytes};

const SECOND: Duration = Duration::from_secs(1);

fn idempotency() -> IdempotencyLayer<MemoryStore> {
    IdempotencyLayer::new(MemoryStore::new(100))
}

/// Returns two applications with this route: one with only the verification layer, and one with
/// both layers.
fn apps(route: &axum::routing::MethodRouter) -> [Router; 2] {
    let verification = SoundHashWebhookLayer::new(KEY);
    let both = ServiceBuilder::new()
        .layer(verification.clone())
        .layer(idempotency());
    let router = || Router::new().route("/", route.clone());
    [router().layer(verification), router().layer(both)]
}

/// A value that logs on drop.
struct OnDrop;

impl Drop for OnDrop {
    fn drop(&mut self) {
        info!("dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_canceled_is_one_warning_with_id_type_and_duration() {
    let slow = post(|| async {
        let _on_drop = OnDrop;
        sleep(60 * SECOND).await;
    });
    for app in apps(&slow) {
        let log = Log::up_to(Level::INFO);
        let sent = timeout(30 * SECOND, send(&app, signed(KEY, &video()))).await;
        assert!(sent.is_err());
        let lines = log.take();
        let [canceled, dropped] = lines.lines().collect::<Vec<_>>()[..] else {
            panic!("{lines}");
        };
        let start = format!(" WARN {SPAN}soundhash_webhook: webhook handler canceled: ");
        assert!(canceled.starts_with(&start), "{canceled}");
        let off = number::<f64>(canceled, "elapsed_ms") - 30_000.0;
        assert!(off.abs() < 10.0, "{canceled}");
        // Lines logged while the handler is dropped are also in the delivery's span.
        let start = format!(" INFO {SPAN}it::telemetry::canceled: ");
        assert!(dropped.starts_with(&start), "{dropped}");
    }
}

#[tokio::test]
async fn a_sender_that_hangs_up_is_noticed_over_a_socket() {
    let log = Log::up_to(Level::INFO);
    let (started, mut starts) = mpsc::unbounded_channel();
    let slow = post(move || async move {
        started.send(()).unwrap();
        pending::<()>().await;
    });
    let app = Router::new()
        .route("/webhooks/soundhash", slow)
        .layer(SoundHashWebhookLayer::new(SECRET));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let mut sender = TcpStream::connect(addr).await.unwrap();
    let request = signed_bytes(video().as_bytes());
    sender.write_all(&request).await.unwrap();
    starts.recv().await.unwrap();
    drop(sender);
    let mut lines = String::new();
    while lines.is_empty() {
        sleep(SECOND / 100).await;
        lines = log.take();
    }
    let canceled = format!(" WARN {SPAN}soundhash_webhook: webhook handler canceled");
    assert!(lines.starts_with(&canceled), "{lines}");
    assert_eq!(lines.lines().count(), 1, "{lines}");
    server.abort();
}

async fn panics() -> StatusCode {
    tokio::task::yield_now().await;
    panic!("on purpose");
}

#[tokio::test]
async fn a_handler_that_finishes_is_not_canceled() {
    let log = Log::up_to(Level::WARN);
    for route in [
        post(|| async {}),
        post(|| async {
            tokio::task::yield_now().await;
            StatusCode::INTERNAL_SERVER_ERROR
        }),
    ] {
        for app in apps(&route) {
            send(&app, signed(KEY, &video())).await;
        }
    }
    let lines = log.take();
    assert!(!lines.contains("canceled"), "{lines}");
}

#[tokio::test]
async fn a_handler_that_panics_is_an_error_inside_the_span() {
    let log = Log::up_to(Level::WARN);
    let detaching = ServiceBuilder::new()
        .layer(SoundHashWebhookLayer::new(KEY))
        .layer(idempotency().detach(true));
    let detaching = Router::new().route("/", post(panics)).layer(detaching);
    for app in apps(&post(panics)).into_iter().chain([detaching]) {
        let task = tokio::spawn(async move { send(&app, signed(KEY, &video())).await });
        assert!(task.await.unwrap_err().is_panic());
        let lines = log.take();
        let panicked = format!("ERROR {SPAN}soundhash_webhook: webhook handler panicked");
        assert!(lines.starts_with(&panicked), "{lines}");
        assert_eq!(lines.lines().count(), 1, "{lines}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_ends_before_its_handler_is_called_cancels_nothing() {
    let log = Log::up_to(Level::WARN);
    let [app, _] = apps(&post(|| async {}));
    let body = axum::body::Body::new(crate::support::Script::new([crate::support::Step::Stall]));
    let request = signed(KEY, "").map(|_| body);
    assert!(timeout(SECOND, send(&app, request)).await.is_err());
    assert_eq!(log.take(), "");
}

#[tokio::test(start_paused = true)]
async fn a_detached_handler_runs_on_and_keeps_its_span() {
    let log = Log::up_to(Level::INFO);
    let (finished, mut result) = mpsc::unbounded_channel();
    let slow = post(move || async move {
        sleep(40 * SECOND).await;
        info!("finished");
        finished.send(()).unwrap();
    });
    let layers = ServiceBuilder::new()
        .layer(SoundHashWebhookLayer::new(KEY))
        .layer(idempotency().detach(true));
    let app = Router::new().route("/", slow).layer(layers);
    let sent = timeout(30 * SECOND, send(&app, signed(KEY, &video()))).await;
    assert!(sent.is_err());
    assert_eq!(log.take(), "");
    result.recv().await.unwrap();
    let line = log.line();
    let start = format!("INFO {SPAN}it::telemetry::canceled: finished");
    assert!(line.starts_with(&start), "{line}");
}

#[tokio::test(start_paused = true)]
async fn a_detached_handler_that_fails_after_the_sender_hung_up_is_an_error() {
    let log = Log::up_to(Level::WARN);
    let layers = ServiceBuilder::new()
        .layer(SoundHashWebhookLayer::new(KEY))
        .layer(idempotency().detach(true));
    let slow = post(|| async {
        sleep(40 * SECOND).await;
        StatusCode::BAD_GATEWAY
    });
    let app = Router::new().route("/", slow).layer(layers);
    let sent = timeout(30 * SECOND, send(&app, signed(KEY, &video()))).await;
    assert!(sent.is_err());
    sleep(11 * SECOND).await;
    let line = log.line();
    let start =
        format!("ERROR {SPAN}soundhash_webhook: webhook rejected: handler responded with 502");
    assert!(line.starts_with(&start), "{line}");
    // If the sender waits for the response, the failure is logged only once, too.
    tokio::time::advance(60 * SECOND).await;
    send(&app, signed(KEY, &video())).await;
    assert_eq!(log.take().matches("handler responded with 502").count(), 1);
}

#[test]
fn a_detached_handler_is_canceled_by_the_end_of_its_runtime() {
    let log = Log::up_to(Level::WARN);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let layers = ServiceBuilder::new()
            .layer(SoundHashWebhookLayer::new(KEY))
            .layer(idempotency().detach(true));
        let app = Router::new()
            .route("/", post(|| async { pending::<()>().await }))
            .layer(layers);
        let sent = timeout(SECOND / 10, send(&app, signed(KEY, &video()))).await;
        assert!(sent.is_err());
    });
    drop(runtime);
    let line = log.line();
    assert!(line.contains("webhook handler canceled"), "{line}");
}

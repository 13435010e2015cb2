//! An application with an inspector, both on free ports.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header::HeaderMap},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use soundhash_webhook::{
    Event, EventKind, Secret, Sender, SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, MemoryStore},
    testing::fresh_sample,
};
use soundhash_webhook_inspector::Inspector;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub(crate) const SECRET: &str = "whsec_test";
pub(crate) const PATH: &str = "/webhooks/soundhash";

/// How long a step may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Fails for `job.failed`, waits for `quota.warning`, and accepts everything else.
async fn receive(event: Event) -> Response {
    match event.kind() {
        Some(EventKind::JobFailed) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "the database is down").into_response()
        }
        Some(EventKind::QuotaWarning) => std::future::pending().await,
        Some(EventKind::UserCreated) => panic!("a handler that panics"),
        _ => "done".into_response(),
    }
}

pub(crate) fn router() -> Router {
    Router::new()
        .route(PATH, post(receive))
        .layer(IdempotencyLayer::new(MemoryStore::new(1_000)))
        .layer(SoundHashWebhookLayer::new(Secret::new(SECRET)))
}

pub(crate) struct App {
    pub(crate) inspector: Inspector,
    /// The webhook's URL.
    pub(crate) url: String,
    /// The URL of the page, with its token.
    pub(crate) page: String,
    /// The URL that the page continues to, without a trailing slash.
    pub(crate) base: String,
    /// The cookie with the token.
    pub(crate) cookie: String,
    /// Precedes the number in a record's id.
    pub(crate) instance: String,
    stop: CancellationToken,
    page_server: JoinHandle<()>,
}

impl App {
    pub(crate) async fn start() -> Self {
        Self::with(|inspector, url| inspector.with_secret(SECRET).webhook_url(url)).await
    }

    pub(crate) async fn with(settings: impl FnOnce(Inspector, &str) -> Inspector) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{PATH}", listener.local_addr().unwrap());
        let inspector = settings(Inspector::new(), &url);
        let instance = instance(&inspector).await;
        let app = router().layer(inspector.layer());
        tokio::spawn(axum::serve(listener, app).into_future());

        let page = inspector.bind("127.0.0.1:0").await.unwrap();
        let stop = CancellationToken::new();
        let page_url = page.url();
        let page_server = tokio::spawn(page.run_until(stop.clone().cancelled_owned()));
        let entered = client().get(&page_url).send().await.unwrap();
        let cookie = entered.headers()["set-cookie"].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let html = entered.text().await.unwrap();
        let (_, path) = html.split_once("url=").unwrap();
        let (path, _) = path.split_once('\'').unwrap();
        let (origin, _) = page_url.split_once("/?").unwrap();
        Self {
            inspector,
            url,
            base: format!("{origin}{path}"),
            instance,
            cookie,
            page: page_url,
            stop,
            page_server,
        }
    }

    /// The scheme, host and port of the page.
    pub(crate) fn origin(&self) -> &str {
        self.page.split_once("/?").unwrap().0
    }

    /// Sends a request to the page's server, as the page does. The path names a record by its number
    /// alone.
    pub(crate) fn ask(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{}", self.base, with_instance(path, &self.instance));
        let request = client().request(method.parse().unwrap(), url);
        request
            .header("cookie", &self.cookie)
            .header("sec-fetch-site", "same-origin")
    }

    pub(crate) async fn ask_json(&self, method: &str, path: &str) -> Value {
        let response = self.ask(method, path).send().await.unwrap();
        serde_json::from_str(&response.text().await.unwrap()).unwrap()
    }

    /// Stops the page's server, and waits until it has shut down.
    pub(crate) async fn stop_page(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.page_server).await;
        ended.expect("the server ends").unwrap();
    }

    /// Sends a new event.
    pub(crate) async fn deliver(&self) {
        let sent = self.send_signed(SECRET, body(EventKind::VideoProcessed));
        assert_eq!(sent.await, StatusCode::OK);
    }

    pub(crate) async fn forge(&self) {
        let sent = self.send_signed("whsec_of_nobody", body(EventKind::MatchFound));
        assert_eq!(sent.await, StatusCode::UNAUTHORIZED);
    }

    /// Connects to the application, and returns its host and port.
    pub(crate) async fn connect(&self) -> (TcpStream, &str) {
        let authority = self.url.split('/').nth(2).unwrap();
        (TcpStream::connect(authority).await.unwrap(), authority)
    }

    /// Sends a body signed with `secret`.
    pub(crate) async fn send_signed(&self, secret: &str, body: impl Into<Vec<u8>>) -> StatusCode {
        let body = body.into();
        let signature = Secret::new(secret).sign(&body).to_string();
        let mut headers = HeaderMap::new();
        headers.insert("x-webhook-signature", signature.parse().unwrap());
        self.send(headers, body).await
    }

    pub(crate) async fn send(
        &self,
        mut headers: HeaderMap,
        body: impl Into<Vec<u8>>,
    ) -> StatusCode {
        headers.insert("content-type", "application/json".parse().unwrap());
        let request = client().post(&self.url).headers(headers).body(body.into());
        let response = request.send().await.unwrap();
        let status = response.status();
        // The record is complete once the whole response has been read.
        response.bytes().await.unwrap();
        status
    }
}

/// Returns the part of a record's id that identifies the inspector.
pub(crate) async fn instance(inspector: &Inspector) -> String {
    let state = call_exactly(inspector, "GET", "/api/state").await;
    state["instance"].as_str().unwrap().to_owned()
}

/// Completes the id of a record in a path.
fn with_instance(path: &str, instance: &str) -> String {
    path.replace("/records/", &format!("/records/{instance}."))
}

/// Sends a request to a page's routes, and returns the JSON response. The path names a record by its
/// number alone.
pub(crate) async fn call(inspector: &Inspector, method: &str, path: &str) -> Value {
    let path = with_instance(path, &instance(inspector).await);
    call_exactly(inspector, method, &path).await
}

pub(crate) async fn call_exactly(inspector: &Inspector, method: &str, path: &str) -> Value {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::empty()).unwrap();
    let Ok(response) = inspector.routes().oneshot(request).await;
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    serde_json::from_slice(&body).unwrap()
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

/// Returns an event in the dispatcher's format.
pub(crate) fn body(kind: EventKind) -> Vec<u8> {
    Sender::Dispatcher.to_bytes(&fresh_sample(kind, Sender::Dispatcher))
}

/// Returns an event with this id and title.
pub(crate) fn titled(id: &str, title: &str) -> Vec<u8> {
    let event = json!({
        "id": id, "type": "video.processed", "created_at": "2026-11-23T08:56:12.681555+00:00Z",
        "data": {"video_id": 1, "video_url": "https://example.org", "fingerprint_count": 3, "title": title},
    });
    Sender::Dispatcher.to_bytes(&event)
}

/// Returns an event in the portal's format, whose id is a timestamp that other events can share.
pub(crate) fn from_portal(id: &str, title: &str) -> Vec<u8> {
    let event = json!({
        "event": "video.processed", "delivery_id": id, "timestamp": "2026-11-23T08:56:12.681Z",
        "data": {"video_id": 1, "title": title},
    });
    Sender::Portal.to_bytes(&event)
}

/// Returns a number that is unique in this process.
pub(crate) fn unique() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

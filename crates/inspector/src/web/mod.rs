//! The page and its API.
//!
//! - `page`: the state shared by the handlers.
//! - `server`: the listener.
//! - `guard`: checks the host and the token, and adds headers.
//! - `events`: the live updates of the list.
//! - `search`: searches ids and bodies.
//! - `view`: a record as JSON.

mod events;
mod guard;
mod page;
mod search;
mod server;
mod view;

use axum::{
    Json, Router,
    extract::{OriginalUri, Path, Query, State},
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use soundhash_webhook::{EventKind, SchemaChange, Sender};
use soundhash_webhook_diagnose::diagnose;
use tokio::task;
use tokio_util::sync::CancellationToken;
use tower_http::csrf::CsrfLayer;

pub use self::server::Server;
use self::{guard::Access, page::Page};
use crate::{
    Inspector,
    replay::{NO_SECRET, Sample, Sent},
    store::Entry,
};

const HTML: &str = include_str!("../../assets/index.html");
const STYLE: &str = include_str!("../../assets/style.css");
const SCRIPT: &str = include_str!("../../assets/app.js");
const ICON: &str = include_str!("../../assets/favicon.svg");

impl Inspector {
    /// Returns the routes of the page. Nest them in your own router, behind your own
    /// authentication.
    ///
    /// These routes do not require a token and accept every `Host`. Anyone with access can see
    /// every delivery and send requests through your application. The routes reject requests from
    /// other sites, and the page cannot be embedded in a frame.
    ///
    /// The page reconnects its live updates every 20 seconds, so they delay a graceful shutdown of
    /// your server by at most 20 seconds.
    ///
    /// ```
    /// # fn require_login() -> tower::layer::util::Identity { tower::layer::util::Identity::new() }
    /// use axum::Router;
    /// use soundhash_webhook_inspector::Inspector;
    ///
    /// let inspector = Inspector::new();
    /// let admin: Router = Router::new()
    ///     .nest("/inspector", inspector.routes())
    ///     .layer(require_login());
    /// ```
    pub fn routes(&self) -> Router {
        self.page(CancellationToken::new())
    }

    fn page(&self, stop: CancellationToken) -> Router {
        let page = Page {
            inspector: self.clone(),
            stop,
        };
        Router::new()
            .route("/", get(index))
            .route("/style.css", asset("text/css", STYLE))
            .route("/app.js", asset("text/javascript", SCRIPT))
            .route("/favicon.svg", asset("image/svg+xml", ICON))
            .route("/api/state", get(state))
            .route("/api/events", get(events::events))
            .route("/api/search", get(find))
            .route("/api/schema", get(schema))
            .route("/api/clear", post(clear))
            .route("/api/samples", post(send_sample))
            .route("/api/records/{id}", get(detail))
            .route("/api/records/{id}/capture", get(capture))
            .route("/api/records/{id}/explain", post(explain))
            .route("/api/records/{id}/replay", post(replay))
            .route("/api/records/{id}/send-as-new", post(send_as_new))
            .layer(CsrfLayer::new())
            .layer(middleware::map_response(guard::add_headers))
            .with_state(page)
    }

    /// Returns the routes for the inspector's own listener.
    fn guarded(&self, access: Access, stop: CancellationToken) -> Router {
        let page = access.guard(self.page(stop));
        let page = if self.settings().allow_remote {
            page
        } else {
            page.layer(middleware::from_fn(guard::check_host))
        };
        page.layer(middleware::map_response(guard::add_headers))
    }
}

/// Explains why the layer rejected a request that has the right signature.
const OTHER_SECRET: &str = "The signature matches this body under the inspector's first secret. \
    Either the application's layer has another secret, so compare it with the one given to \
    `Inspector::with_secret`, or a layer between the inspector and that layer reads or changes the body.";

/// Returns a handler that responds with a file.
fn asset(content_type: &'static str, text: &'static str) -> MethodRouter<Page> {
    get(async move || ([(header::CONTENT_TYPE, content_type)], text))
}

async fn index(OriginalUri(uri): OriginalUri) -> Response {
    // The routes may be nested under a path, with or without a trailing slash.
    let path = uri
        .path()
        .trim_end_matches('/')
        .replace('&', "&amp;")
        .replace('"', "&quot;");
    let html = HTML.replacen("{{base}}", &format!("{path}/"), 1);
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
}

/// An error that the page shows.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

impl<T: Into<String>> From<T> for Failure {
    fn from(error: T) -> Self {
        Self(StatusCode::CONFLICT, error.into())
    }
}

async fn state(State(page): State<Page>) -> Json<Value> {
    let config = page.inspector.settings();
    let kinds: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    Json(json!({
        "instance": page.inspector.store.instance,
        "capacity": config.capacity,
        "has_secret": !config.secrets.is_empty(),
        "webhook_url": config.webhook_url.as_ref().map(ToString::to_string),
        "curl": curl(&page.inspector),
        "kinds": kinds,
    }))
}

/// Returns a curl command with which the user can send a first delivery.
fn curl(inspector: &Inspector) -> String {
    let config = inspector.settings();
    let url = config.webhook_url.as_ref().map_or_else(
        || "http://127.0.0.1:3000/webhooks/soundhash".to_owned(),
        ToString::to_string,
    );
    let body = Sample::Kind(EventKind::VideoProcessed).body(Sender::Dispatcher);
    let text = String::from_utf8_lossy(&body);
    let head = format!("curl -i '{url}' \\\n  -H 'Content-Type: application/json'");
    match config.secrets.first() {
        Some(keyed) => {
            let signature = keyed.secret.sign(&body);
            format!(
                "{head} \\\n  -H 'X-Webhook-Signature: {signature}' \\\n  --data-binary '{text}'"
            )
        }
        None => format!(
            "body='{text}'\n{head} \\\n  -H \"X-Webhook-Signature: $(printf %s \"$body\" \
             | openssl dgst -sha256 -hmac \"$SOUNDHASH_WEBHOOK_SECRET\" -r | cut -c1-64)\" \\\n  \
             --data-binary \"$body\""
        ),
    }
}

#[derive(Deserialize)]
struct Find {
    text: String,
}

async fn find(
    State(page): State<Page>,
    Query(find): Query<Find>,
) -> Result<Json<Vec<u64>>, Failure> {
    let found = task::spawn_blocking(move || search::search(&page.inspector, &find.text)).await;
    Ok(Json(found.map_err(|_| "The search failed.")?))
}

async fn schema() -> Json<Value> {
    Json(SchemaChange::seen().iter().map(view::change).collect())
}

async fn clear(State(page): State<Page>) -> StatusCode {
    page.inspector.store.clear();
    StatusCode::NO_CONTENT
}

impl Page {
    /// Returns the record with this id. A page that was opened before the application was restarted
    /// has other ids, so it cannot act on a new record that has the number of an old one.
    fn entry(&self, id: &str) -> Result<Entry, Failure> {
        let gone = "This request is gone: newer requests replaced it, the list was cleared, or the \
                    application was restarted.";
        self.find(id)
            .ok_or_else(|| Failure(StatusCode::NOT_FOUND, gone.to_owned()))
    }

    fn find(&self, id: &str) -> Option<Entry> {
        self.inspector.store.get(self.parse_id(id)?)
    }
}

/// Returns `null` for a record that is gone. At high request rates, this is normal, so it should
/// not appear as an error in the browser's console.
async fn detail(State(page): State<Page>, Path(id): Path<String>) -> Json<Value> {
    let Some(Entry { record, .. }) = page.find(&id) else {
        return Json(Value::Null);
    };
    let mut related = page.inspector.store.all();
    related.retain(|it| it.number != record.number && it.has_event_of(&record));
    Json(view::detail(&page.inspector, &record, &related))
}

async fn capture(State(page): State<Page>, Path(id): Path<String>) -> Result<Response, Failure> {
    let record = page.entry(&id)?.record;
    let file = record.capture(page.inspector.settings().show_sensitive_headers)?;
    let name = record.event_type().unwrap_or("request");
    let name = format!("{name}-{}", record.number);
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = name.chars().filter(|c| safe(*c)).collect();
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}.http\""),
        ),
    ];
    Ok((headers, file).into_response())
}

async fn explain(State(page): State<Page>, Path(id): Path<String>) -> Result<Json<Value>, Failure> {
    let record = page.entry(&id)?.record;
    let settings = page.inspector.settings();
    if settings.secrets.is_empty() {
        return Err(NO_SECRET.into());
    }
    record.whole_body()?;
    // A diagnosis hashes the body hundreds of times, so it must not run on a thread that other
    // tasks need.
    let diagnosis = task::spawn_blocking(move || {
        let diagnosis = diagnose(&settings.secrets, record.signature(), record.body());
        if diagnosis.is_right() {
            OTHER_SECRET.to_owned()
        } else {
            diagnosis.to_string()
        }
    });
    let diagnosis = diagnosis.await.map_err(|_| "The diagnosis failed.")?;
    Ok(Json(json!({"explanation": diagnosis})))
}

async fn replay(State(page): State<Page>, Path(id): Path<String>) -> Result<Json<Value>, Failure> {
    sent(page.inspector.replay(&page.entry(&id)?).await)
}

async fn send_as_new(
    State(page): State<Page>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    sent(page.inspector.send_as_new(&page.entry(&id)?).await)
}

#[derive(Deserialize)]
struct SampleRequest {
    sample: String,
    sender: String,
}

async fn send_sample(
    State(page): State<Page>,
    Json(request): Json<SampleRequest>,
) -> Result<Json<Value>, Failure> {
    let sample: Sample = request.sample.parse()?;
    let sender: Sender = request
        .sender
        .parse()
        .map_err(|_| "There is no such sender.")?;
    sent(page.inspector.send_sample(&sample, sender).await)
}

fn sent(sent: Sent) -> Result<Json<Value>, Failure> {
    let number = sent?.ok_or("The application gave no response that can be shown.")?;
    Ok(Json(json!({"number": number})))
}

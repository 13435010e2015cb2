//! Passes verified requests on to an application, returns its responses, and recognizes duplicates.

use std::{
    collections::{HashMap, HashSet},
    fmt::Display,
    hash::{BuildHasher, RandomState},
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    extract::State,
    http::{
        HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
        header::{CONNECTION, RETRY_AFTER, VIA},
    },
    response::IntoResponse,
    routing::{MethodRouter, post},
};
use http_body_util::Full;
use soundhash_webhook::{Delivery, idempotency::Key};
use tokio::{
    net::lookup_host,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::limit::Limit;
use crate::{
    error::Error,
    http::{Client, NoResponse, REPLAYED, remove_hop_by_hop},
    output::{self, escape::excerpt},
    url::host_and_port,
};

/// The maximum number of accepted events to remember for recognizing duplicates.
const MOST: usize = 100_000;

/// The maximum number of deliveries of one event that the application handles at a time. Its own
/// limit is often low, and it may not notice that a sender has hung up.
const HANDLED: usize = 16;

#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<HashSet<Key>>>);

impl Seen {
    /// Marks the response as a duplicate if the event has already been accepted, as an idempotency
    /// layer does. The inspector's verdict is then `duplicate`.
    pub(super) fn mark<B>(&self, delivery: &Delivery, response: &mut Response<B>) {
        if !response.status().is_success() {
            return;
        }
        let mut keys = lock(&self.0);
        if keys.len() >= MOST {
            keys.clear();
        }
        if !keys.insert(Key::from(delivery)) && !response.headers().contains_key(REPLAYED) {
            let headers = response.headers_mut();
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
            response.extensions_mut().insert(Marked);
        }
    }
}

/// The response extension of a response that [`Seen::mark`] has marked.
#[derive(Clone)]
struct Marked;

/// Removes the mark from an application's response. The application has handled the delivery, so
/// only the inspector may see the mark, which it also shows among the response's headers.
pub(super) async fn unmark(mut response: Response<Body>) -> Response<Body> {
    if response.extensions_mut().remove::<Marked>().is_some() {
        response.headers_mut().remove(REPLAYED);
    }
    response
}

/// The number of deliveries of each event that the application is handling.
#[derive(Default)]
struct InProgress(Mutex<HashMap<Key, usize>>);

/// A delivery that the application is handling until this is dropped.
struct Turn {
    forwarder: Arc<Forwarder>,
    key: Key,
    _connection: OwnedSemaphorePermit,
}

impl Turn {
    /// Returns `None` if the application is handling [`HANDLED`] deliveries of the event already, or
    /// if this command has too many connections to it.
    fn take(forwarder: &Arc<Forwarder>, key: Key) -> Option<Self> {
        let connection = forwarder.connections.clone().try_acquire_owned().ok()?;
        let mut counts = lock(&forwarder.in_progress.0);
        let count = counts.entry(key.clone()).or_default();
        if *count == HANDLED {
            return None;
        }
        *count += 1;
        drop(counts);
        let forwarder = forwarder.clone();
        Some(Self {
            forwarder,
            key,
            _connection: connection,
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut counts = lock(&self.forwarder.in_progress.0);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Forwarder {
    client: Client,
    url: Uri,
    /// The `Via` header value that identifies this process.
    via: HeaderValue,
    seen: Seen,
    in_progress: InProgress,
    /// A permit for each connection to the application.
    connections: Arc<Semaphore>,
    warnings: Mutex<Limit>,
}

impl Forwarder {
    /// Returns an error if `url` is this command's own address, because requests would be forwarded
    /// in an endless loop.
    pub(super) async fn new(
        url: Uri,
        timeout: Duration,
        own: SocketAddr,
        seen: Seen,
        most: usize,
    ) -> Result<Self, Error> {
        // It is not an error if the host does not resolve yet.
        let targets: Vec<_> = match lookup_host(host_and_port(&url)).await {
            Ok(targets) => targets.collect(),
            Err(_) => Vec::new(),
        };
        if targets.iter().any(|target| is_same(*target, own)) {
            return Err(Error::usage(format!(
                "--forward {url} is the address of this command, so each delivery would be \
                 forwarded to itself without end. Forward to your application, or listen elsewhere \
                 with --addr."
            )));
        }
        let instance = RandomState::new().hash_one(own);
        let via = format!("1.1 soundhash-webhook-{instance:016x}");
        Ok(Self {
            client: Client::direct(timeout).reset_connections(),
            url,
            via: HeaderValue::try_from(via).expect("letters and digits"),
            seen,
            in_progress: InProgress::default(),
            connections: Arc::new(Semaphore::new(most)),
            warnings: Mutex::new(Limit::new("warnings about the application")),
        })
    }

    pub(super) fn handler(self) -> MethodRouter {
        post(forward).with_state(Arc::new(self))
    }

    fn warn(&self, text: impl Display) {
        if lock(&self.warnings).allows() {
            output::warning(text);
        }
    }

    fn is_loop(&self, headers: &HeaderMap) -> bool {
        let via = self.via.as_bytes();
        let values = headers.get_all(VIA).into_iter();
        let mut hops = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        hops.any(|hop| hop.trim_ascii() == via)
    }
}

/// Returns whether a connection to `target` would reach `own`.
fn is_same(target: SocketAddr, own: SocketAddr) -> bool {
    // An address can only be bound if it belongs to this machine.
    let is_local = || UdpSocket::bind((target.ip(), 0)).is_ok();
    target.port() == own.port()
        && (target.ip() == own.ip()
            || target.ip().is_unspecified() && own.ip().is_loopback()
            || own.ip().is_unspecified() && is_local())
}

async fn forward(
    State(forwarder): State<Arc<Forwarder>>,
    delivery: Delivery,
    mut headers: HeaderMap,
) -> Response<Body> {
    let url = &forwarder.url;
    if forwarder.is_loop(&headers) {
        forwarder.warn(format_args!(
            "{url} leads back to this command, so a delivery was forwarded in a loop"
        ));
        let text = "The delivery was forwarded to this receiver in a loop";
        return (StatusCode::LOOP_DETECTED, text).into_response();
    }
    let Some(turn) = Turn::take(&forwarder, Key::from(&delivery)) else {
        forwarder.warn(format_args!(
            "{url}: the application has not responded to {HANDLED} deliveries of the same event, or to \
             too many others, so another one gets 503"
        ));
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")]).into_response();
    };
    remove_hop_by_hop(&mut headers);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.append(VIA, forwarder.via.clone());
    let mut request = Request::new(Full::from(delivery.body().clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url.clone();
    *request.headers_mut() = headers;
    // This continues if the sender hangs up, because the application may do so, too.
    let client = forwarder.client.clone();
    let exchange = tokio::spawn(async move {
        let received = client.send(request).await;
        drop(turn);
        received
    });
    let received = exchange.await;
    let received = received.unwrap_or_else(|error| Err(NoResponse::Broken(error.to_string())));
    // The whole response is received before its status is passed on, so that an incomplete response
    // does not acknowledge the delivery.
    let (status, text, reason) = match received {
        // SoundHash would follow the redirect and lose the event.
        Ok(response) if response.status.is_redirection() => {
            let location = response.location().map(|url| excerpt(&url, 200));
            let reason = format!(
                "{url}: the application redirects ({}) to {}, and a redirected event is lost. \
                 Forward to the URL that does not redirect.",
                response.status.as_u16(),
                location.as_deref().unwrap_or("another address")
            );
            (StatusCode::BAD_GATEWAY, "The application redirects", reason)
        }
        // If a 1xx status were passed on, the sender would keep waiting for the final response.
        Ok(response) if response.status.is_informational() => {
            let reason = format!(
                "{url}: the application responds with {} and then with nothing, which does not \
                 acknowledge the event",
                response.status
            );
            let text = "The application did not respond";
            (StatusCode::BAD_GATEWAY, text, reason)
        }
        Ok(mut response) => {
            remove_hop_by_hop(&mut response.headers);
            let mut response = (response.status, response.headers, response.body).into_response();
            forwarder.seen.mark(&delivery, &mut response);
            return response;
        }
        Err(error) => {
            let status = match error {
                NoResponse::Timeout => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            };
            let reason = match error {
                NoResponse::Unreachable { .. } => error.to_string(),
                _ => format!("{url}: {error}"),
            };
            (status, "", reason)
        }
    };
    // The line printed for the delivery shows only the status that the sender got, so the reason is
    // printed as a warning.
    forwarder.warn(&reason);
    (status, text).into_response()
}

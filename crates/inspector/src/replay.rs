//! The requests that the inspector sends: replays, new events and samples.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    extract::ConnectInfo,
    response::Response,
};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde_json::json;
use soundhash_webhook::{
    EventKind, SIGNATURE_HEADER, Secret, Sender,
    testing::{SignedRequest, fresh_sample},
};
use tokio::{net::TcpStream, time::timeout};

use crate::{Inspector, Record, application::Replay, event, store::Entry, verdict::Verdict};

/// How long SoundHash waits for a response.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait for the record of a request after the response has arrived.
const RECORDED: Duration = Duration::from_secs(2);
/// The maximum length of a response that is read to its end.
const MAX_RESPONSE: usize = 1024 * 1024;

pub(crate) const NO_SECRET: &str =
    "Give the inspector the endpoint's secret with `Inspector::with_secret`.";

pub(crate) const UNVERIFIED: &str =
    "Only a verified delivery can be sent as new, because anyone can have written this body.";

/// The new record's number, or `None` if the application did not respond. If nothing could be sent,
/// an error message.
pub(crate) type Sent = Result<Option<u64>, String>;

impl Inspector {
    fn secret(&self) -> Result<Secret, &'static str> {
        let settings = self.settings();
        let first = settings.secrets.first().ok_or(NO_SECRET)?;
        Ok(first.secret.clone())
    }

    /// Sends a recorded request again, with the same head and body.
    pub(crate) async fn replay(&self, entry: &Entry) -> Sent {
        let record = &entry.record;
        let head = record.to_request()?;
        let body = Bytes::copy_from_slice(record.whole_body()?);
        let request = Request::from_parts(head, body.into());
        self.send_to(entry, request, Some(record.number)).await
    }

    /// Sends a new event with the same payload, signed with the inspector's secret. An attacker's
    /// payload is not signed.
    pub(crate) async fn send_as_new(&self, entry: &Entry) -> Sent {
        let record = &entry.record;
        let secret = self.secret()?;
        if !record.is_verified() {
            return Err(UNVERIFIED.into());
        }
        let mut head = record.to_request()?;
        let body = event::renewed(record.whole_body()?);
        let headers = &mut head.headers;
        headers.insert(SIGNATURE_HEADER, secret.sign(&body).into());
        headers.remove(header::TRANSFER_ENCODING);
        headers.insert(header::CONTENT_LENGTH, body.len().into());
        let request = Request::from_parts(head, body.into());
        self.send_to(entry, request, Some(record.number)).await
    }

    /// Sends a request through the application that received the recorded request.
    async fn send_to(&self, entry: &Entry, mut request: Request<Body>, of: Option<u64>) -> Sent {
        let number = Arc::new(OnceLock::new());
        let extensions = request.extensions_mut();
        extensions.insert(Replay {
            of,
            number: number.clone(),
        });
        if let Some(peer) = entry.record.peer {
            extensions.insert(ConnectInfo(peer));
            extensions.insert(peer);
        }
        let (inspector, application) = (self.clone(), entry.application.clone());
        let service = move || application.inspected(inspector.clone());
        let sent = async {
            let response = entry.record.route.call(request, service).await;
            drain(response).await;
        };
        // Like SoundHash, this cancels a request that takes too long.
        let _ = timeout(PATIENCE, sent).await;
        Ok(number.get().copied())
    }

    /// Sends a sample to the webhook URL or to the route of the last request.
    pub(crate) async fn send_sample(&self, sample: &Sample, sender: Sender) -> Sent {
        let request = SignedRequest::new(self.secret()?)
            .body(sample.body(sender))
            .header(
                header::USER_AGENT,
                HeaderValue::from_static("soundhash-webhook-inspector"),
            );
        let Some(url) = &self.settings().webhook_url else {
            let mut records = self.store.all();
            records.retain(|it| is_route(it));
            // Anyone can send a request that is rejected, so those that were verified come last.
            records.sort_by_key(|it| it.is_verified());
            let mut routes = records.iter().rev();
            let last = routes.find_map(|it| self.store.get(it.number)).ok_or("Send one request to the application first, so that the inspector knows its route, or name it with `Inspector::webhook_url`.")?;
            let request = request.uri(last.record.path()).build();
            return self.send_to(&last, request, None).await;
        };
        let mut records = self.subscribe();
        let request = request.build();
        let signature = request.headers()[SIGNATURE_HEADER].clone();
        let status = match timeout(PATIENCE, send_over_http(url, request)).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return Err(format!("{url} cannot be reached: {error}.")),
            Err(_) => return Err(format!("{url} did not respond within 30 s.")),
        };
        let recorded = async {
            loop {
                if let Ok(record) = records.recv().await
                    && record.signature() == signature.as_bytes()
                {
                    return record.number;
                }
            }
        };
        timeout(RECORDED, recorded).await.map(Some).map_err(|_| {
            format!(
                "{url} responded with {}, but the inspector's layer did not see the request.",
                status.as_u16()
            )
        })
    }
}

/// Returns whether a layer that verifies requests protects the request's route. The handler can
/// respond with 404 to a request that was verified.
fn is_route(record: &Record) -> bool {
    let is_protected = record.is_verified() || record.verdict() == Verdict::Rejected;
    is_protected && record.path().parse::<Uri>().is_ok()
}

/// Reads a response to its end, so that it is recorded.
async fn drain(response: Response) {
    let _ = to_bytes(response.into_body(), MAX_RESPONSE).await;
}

async fn send_over_http(
    url: &Uri,
    mut request: Request<Body>,
) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let authority = url
        .authority()
        .ok_or(io::ErrorKind::InvalidInput)
        .map_err(io::Error::from)?;
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    *request.uri_mut() = url.path_and_query().map_or("/", |it| it.as_str()).parse()?;
    request
        .headers_mut()
        .insert(header::HOST, HeaderValue::from_str(authority.as_str())?);
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = client.send_request(request).await?;
    let status = response.status();
    drain(response.map(Body::new)).await;
    drop(client);
    connection.abort();
    Ok(status)
}

/// An event that the inspector can create.
pub(crate) enum Sample {
    Kind(EventKind),
    Unknown,
    Test,
    NaN,
}

impl std::str::FromStr for Sample {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "unknown" => Self::Unknown,
            "test" => Self::Test,
            "nan" => Self::NaN,
            name => Self::Kind(
                name.parse()
                    .map_err(|_| format!("There is no sample `{name}`."))?,
            ),
        })
    }
}

impl Sample {
    pub(crate) fn body(&self, sender: Sender) -> Vec<u8> {
        let kind = match self {
            Self::Kind(kind) => *kind,
            Self::Unknown | Self::Test => EventKind::VideoProcessed,
            Self::NaN => EventKind::MatchFound,
        };
        let mut event = fresh_sample(kind, sender);
        match self {
            Self::Kind(_) => {}
            Self::Unknown => {
                let key = if sender == Sender::Portal {
                    "event"
                } else {
                    "type"
                };
                event[key] = "video.remixed".into();
            }
            Self::Test => {
                event["resource_type"] = "test".into();
                event["resource_id"] = "test-resource".into();
                event["data"] = json!({"test": true, "message": "This is a test webhook"});
            }
            Self::NaN => {
                let text = String::from_utf8_lossy(&sender.to_bytes(&event)).into_owned();
                return text
                    .replacen("\"confidence\": 0.95", "\"confidence\": NaN", 1)
                    .into();
            }
        }
        sender.to_bytes(&event)
    }
}

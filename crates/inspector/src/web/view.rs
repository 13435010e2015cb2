//! Records as JSON for the page.

use std::{
    fmt::{self, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use soundhash_webhook::{SchemaChange, SchemaChangeKind};

use crate::{
    Inspector, Record, headers,
    record::{Head, Message},
    replay::NO_SECRET,
};

/// The maximum length of a typed event. A hostile payload can have little text and much
/// indentation.
const MAX_TYPED: usize = 256 * 1024;

/// One row of the list.
#[derive(Serialize)]
pub(super) struct Summary<'a> {
    number: u64,
    /// In milliseconds since 1970.
    time: u64,
    id: Option<&'a str>,
    r#type: Option<&'a str>,
    sender: Option<String>,
    verdict: &'static str,
    reason: Option<&'a str>,
    status: Option<u16>,
    /// In milliseconds.
    duration: f64,
    path: &'a str,
    verified: bool,
    replay_of: Option<u64>,
    /// Whether it counts against the deliveries or against the rejected requests.
    delivery: bool,
}

impl<'a> Summary<'a> {
    pub(super) fn of(record: &'a Record) -> Self {
        Self {
            number: record.number,
            time: milliseconds(record.time),
            id: record.event_id(),
            r#type: record.event_type(),
            sender: record.sender().map(|sender| sender.to_string()),
            verdict: record.verdict().as_str(),
            reason: record.reason(),
            status: record.status.map(|status| status.as_u16()),
            duration: record.duration.as_secs_f64() * 1e3,
            path: record.path(),
            verified: record.is_verified(),
            replay_of: record.replay_of,
            delivery: record.is_delivery(),
        }
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A difference between what SoundHash sends and the types of the crate.
#[derive(Serialize)]
pub(super) struct Change {
    kind: &'static str,
    r#type: String,
    detail: String,
    /// In milliseconds since 1970.
    first_seen: u64,
    count: u64,
}

impl From<SchemaChange> for Change {
    fn from(change: SchemaChange) -> Self {
        Self {
            kind: match change.kind {
                SchemaChangeKind::UnknownField => "new field",
                SchemaChangeKind::Misfit => "does not fit",
                _ => "new type",
            },
            r#type: change.event_type,
            detail: change.detail,
            first_seen: milliseconds(change.first_seen),
            count: change.count,
        }
    }
}

/// One record with all of its details.
#[derive(Serialize)]
pub(super) struct Detail<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    method: &'a str,
    peer: Option<String>,
    endpoint: Option<&'a str>,
    matched_secret: Option<usize>,
    request: Part<'a>,
    response: Option<Part<'a>>,
    typed: Option<String>,
    /// The other requests with the same event.
    related: Vec<Summary<'a>>,
    /// Whether the record was rejected because of its signature.
    explainable: bool,
    /// The reasons why actions are not possible.
    no_explain: Option<&'static str>,
    no_replay: Option<&'static str>,
    no_send_as_new: Option<&'static str>,
    no_save: Option<&'static str>,
}

#[derive(Serialize)]
struct Part<'a> {
    headers: Vec<Header<'a>>,
    headers_cut: bool,
    body: String,
    body_bytes: u64,
    body_kept: usize,
    body_whole: bool,
}

#[derive(Serialize)]
struct Header<'a> {
    name: &'a str,
    value: String,
    hidden: bool,
}

impl<'a> Detail<'a> {
    pub(super) fn of(
        inspector: &Inspector,
        record: &'a Record,
        related: &'a [std::sync::Arc<Record>],
    ) -> Self {
        let config = inspector.settings();
        let no_secret = config.secrets.is_empty().then_some(NO_SECRET);
        let no_body = record.whole_body().err();
        let no_head = record.to_request().err();
        let sensitive = config.show_sensitive_headers;
        Self {
            summary: Summary::of(record),
            method: record.method(),
            peer: record.peer.map(|peer| peer.to_string()),
            endpoint: record.endpoint(),
            matched_secret: record.matched_secret,
            request: Part::of(&record.request, sensitive),
            response: (record.response.as_ref()).map(|response| Part::of(response, sensitive)),
            typed: record.event().map(|event| typed(&event)),
            related: related.iter().map(|it| Summary::of(it)).collect(),
            explainable: record.judgment.explainable,
            no_explain: no_secret.or(no_body),
            no_replay: no_head.or(no_body),
            no_send_as_new: no_secret.or(no_head).or(no_body),
            no_save: no_head.or(no_body),
        }
    }
}

impl<'a> Part<'a> {
    fn of(message: &'a Message, sensitive: bool) -> Self {
        let Message { head, body } = message;
        Self {
            headers: head_of(head, sensitive),
            headers_cut: !head.whole,
            body: String::from_utf8_lossy(&body.bytes).into_owned(),
            body_bytes: body.total,
            body_kept: body.bytes.len(),
            body_whole: body.is_whole(),
        }
    }
}

fn head_of(head: &Head, sensitive: bool) -> Vec<Header<'_>> {
    let headers = head.headers().map(|(name, value)| {
        let (value, hidden) = headers::shown(name, value, sensitive);
        Header {
            name,
            value: value.into_owned(),
            hidden,
        }
    });
    headers.collect()
}

/// The event as the handler gets it.
fn typed(event: &impl fmt::Debug) -> String {
    let mut text = Bounded(String::new());
    if write!(text, "{event:#?}").is_err() {
        text.0.push_str("\n… (the rest is not shown)");
    }
    text.0
}

struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.0.len() + part.len() > MAX_TYPED {
            return Err(fmt::Error);
        }
        self.0.push_str(part);
        Ok(())
    }
}

//! The record of a request and its response.

use std::{
    fmt,
    net::SocketAddr,
    str,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use http::{Request, Response, StatusCode, Version};
use soundhash_webhook::{Event, Sender, idempotency::Key};

use crate::{
    application::Route,
    capture::Kept,
    event, headers,
    verdict::{Judgment, Verdict},
};

/// One request to the webhook and its outcome.
///
/// A record contains copies of the data, so that it never keeps a connection's read buffer alive.
pub struct Record {
    pub(crate) number: u64,
    pub(crate) time: SystemTime,
    pub(crate) duration: Duration,
    pub(crate) judgment: Judgment,
    pub(crate) status: Option<StatusCode>,
    pub(crate) endpoint: Option<Box<str>>,
    /// Identifies the event, if the layer verified the request.
    pub(crate) key: Option<Key>,
    pub(crate) matched_secret: Option<usize>,
    pub(crate) request: Message,
    pub(crate) response: Option<Message>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) route: Route,
    pub(crate) replay_of: Option<u64>,
    /// Whether another record of the same event is kept with the deliveries.
    pub(crate) is_repetition: bool,
    pub(crate) labels: OnceLock<event::Labels>,
}

/// The head and the body of a request or response, or the parts of them that were kept.
#[derive(Default)]
pub(crate) struct Message {
    pub(crate) head: Head,
    pub(crate) body: Kept,
}

/// The first line and the headers, each terminated by CR LF, as in HTTP/1.1.
#[derive(Default)]
pub(crate) struct Head {
    text: Box<[u8]>,
    pub(crate) whole: bool,
}

/// The maximum size of a copied head. Real deliveries have heads of less than 1 KiB.
const MAX_HEAD: usize = 16 * 1024;

impl Head {
    /// Creates a head from its copy, or an empty head if the copy was dropped.
    pub(crate) fn new(copy: Option<Vec<u8>>, whole: bool) -> Self {
        let whole = whole && copy.is_some();
        let text = copy.unwrap_or_default().into_boxed_slice();
        Self { text, whole }
    }

    /// Copies a request's head. The returned flag is `false` if the copy is truncated.
    pub(crate) fn of_request<B>(request: &Request<B>) -> (Vec<u8>, bool) {
        let path = request.uri().path_and_query().map_or("/", |it| it.as_str());
        let line = [request.method().as_str(), " ", path, " HTTP/1.1\r\n"];
        Self::copy(&line, request.headers())
    }

    /// Copies a response's head.
    pub(crate) fn of_response<B>(response: &Response<B>) -> (Vec<u8>, bool) {
        let status = response.status();
        Self::copy(&["HTTP/1.1 ", status.as_str(), "\r\n"], response.headers())
    }

    fn copy(line: &[&str], headers: &http::HeaderMap) -> (Vec<u8>, bool) {
        let len: usize = line.iter().map(|part| part.len()).sum::<usize>()
            + (headers.iter())
                .map(|(name, value)| name.as_str().len() + value.len() + 4)
                .sum::<usize>();
        let mut text = Vec::with_capacity(len.min(MAX_HEAD));
        for part in line {
            text.extend_from_slice(part.as_bytes());
        }
        let mut whole = text.len() <= MAX_HEAD;
        if !whole {
            text.truncate(MAX_HEAD);
        }
        for (name, value) in headers {
            whole &= text.len() + name.as_str().len() + value.len() + 4 <= MAX_HEAD;
            if !whole {
                break;
            }
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        (text, whole)
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// Returns the word at `index` in the first line.
    fn word(&self, index: usize) -> &str {
        let line = self.text.split(|byte| *byte == b'\r').next();
        let word = line.and_then(|line| line.split(|byte| *byte == b' ').nth(index));
        word.and_then(|word| str::from_utf8(word).ok())
            .unwrap_or_default()
    }

    /// Returns the headers, in the order in which they were received.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest = &*self.text;
        let lines = std::iter::from_fn(move || {
            let end = rest.windows(2).position(|it| it == b"\r\n")?;
            let line = &rest[..end];
            rest = &rest[end + 2..];
            Some(line)
        });
        lines.skip(1).filter_map(|line| {
            let colon = line.windows(2).position(|it| it == b": ")?;
            Some((str::from_utf8(&line[..colon]).ok()?, &line[colon + 2..]))
        })
    }
}

impl Record {
    /// Returns the record's number. The first request that the inspector saw has number 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the time at which the request's head arrived.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        self.time
    }

    /// Returns the time between the request's head and the response's head.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Returns the outcome of the request.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.judgment.verdict
    }

    /// Returns the reason why the request was not accepted, as a sentence.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.judgment.reason.as_deref()
    }

    /// Returns the status of the response, or `None` if the request got none.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Returns whether the request was verified. If not, do not trust anything in it.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.judgment.verified
    }

    /// Returns the event's id, or `None` if the body has no id or cannot be parsed.
    #[must_use]
    pub fn event_id(&self) -> Option<&str> {
        self.labels().id.as_deref()
    }

    /// Returns the event's type, or `None` if the body cannot be parsed.
    #[must_use]
    pub fn event_type(&self) -> Option<&str> {
        self.labels().event_type.as_deref()
    }

    /// Returns the sender of the body, according to its envelope.
    #[must_use]
    pub fn sender(&self) -> Option<Sender> {
        self.labels().sender
    }

    /// Returns the endpoint whose secret signed the request, if the
    /// [`SecretProvider`](soundhash_webhook::SecretProvider) named it.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// Returns the index of the secret that matched: 0 for the current secret, 1 for the first
    /// previous one.
    #[must_use]
    pub fn matched_secret(&self) -> Option<usize> {
        self.matched_secret
    }

    /// Returns the request's method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.request.head.word(0)
    }

    /// Returns the request's path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.request.head.word(1)
    }

    /// Returns the part of the request's body that was kept.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.request.body.bytes
    }

    /// Returns whether both requests are for the same event. If either has no verified event, their
    /// bodies are compared instead.
    pub(crate) fn has_event_of(&self, other: &Self) -> bool {
        match (&self.key, &other.key) {
            (Some(key), Some(other)) => key == other,
            _ => self.whole_body().is_ok() && self.whole_body() == other.whole_body(),
        }
    }

    /// Returns whether the record is kept with the deliveries, where an attacker cannot evict it.
    pub(crate) fn is_delivery(&self) -> bool {
        let is_authentic = self.judgment.verified && self.judgment.verdict != Verdict::Rejected;
        is_authentic && !self.is_repetition
    }

    /// Returns the value of the signature header, with several values joined by commas.
    pub(crate) fn signature(&self) -> Vec<u8> {
        let headers = self.request.head.headers();
        let signatures = headers.filter(|(name, _)| headers::is_signature(name));
        signatures
            .map(|(_, value)| value)
            .collect::<Vec<_>>()
            .join(&b", "[..])
    }

    pub(crate) fn event(&self) -> Option<Event> {
        let body = &self.request.body;
        body.is_whole()
            .then(|| Event::from_slice(&body.bytes).ok())?
    }

    fn labels(&self) -> &event::Labels {
        self.labels
            .get_or_init(|| event::Labels::of(self.event().as_ref()))
    }

    /// Returns the memory used by the record, in bytes.
    pub(crate) fn size(&self) -> usize {
        let message = |it: &Message| it.head.len() + it.body.bytes.len();
        // The size includes room for the labels, which are added later.
        size_of::<Self>()
            + event::MAX_LABELS
            + self.key.as_ref().map_or(0, |key| key.as_str().len())
            + self.route.size()
            + message(&self.request)
            + self.response.as_ref().map_or(0, message)
    }

    /// Returns the head for sending the request again, or the reason why that is not possible.
    pub(crate) fn to_request(&self) -> Result<http::request::Parts, &'static str> {
        if !self.request.head.whole {
            return Err("The request's head is longer than the inspector keeps.");
        }
        let mut builder = Request::builder()
            .method(self.method())
            .uri(self.path())
            .version(Version::HTTP_11);
        for (name, value) in self.request.head.headers() {
            builder = builder.header(name, value);
        }
        match builder.body(()) {
            Ok(request) => Ok(request.into_parts().0),
            Err(_) => Err("The request's head cannot be sent again."),
        }
    }

    /// Returns the whole body, or the reason why it was not kept.
    pub(crate) fn whole_body(&self) -> Result<&[u8], &'static str> {
        let body = &self.request.body;
        if body.is_whole() {
            Ok(&body.bytes)
        } else if body.total == 0 {
            Err("The application responded before it read the body, so there is no body to use.")
        } else if body.bytes.is_empty() {
            Err("Too many requests were in progress at the same time to keep this body.")
        } else if body.total > body.bytes.len() as u64 {
            Err("The body is longer than the inspector keeps. Raise `max_body_size`.")
        } else {
            Err("The application did not read the whole body.")
        }
    }
}

/// Omits headers and bodies.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("number", &self.number)
            .field("verdict", &self.judgment.verdict)
            .field("reason", &self.judgment.reason)
            .field("status", &self.status)
            .field("body_len", &self.request.body.total)
            .finish_non_exhaustive()
    }
}

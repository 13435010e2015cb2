//! Looks for responses of a handler that SoundHash cannot decode.
//!
//! SoundHash decodes the body of every response as text, strictly. A 2xx that it cannot decode counts
//! as a failure, so the event comes again.

use std::{
    borrow::Cow,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum_core::{Error, body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::telemetry;

const BAD_CODING: &str = "its Content-Encoding is neither gzip nor deflate";
const NOT_GZIP: &str = "its Content-Encoding is gzip, but its body is not";
const BAD_CHARSET: &str = "its charset is not UTF-8";
const NOT_ASCII: &str = "its charset is US-ASCII, but its body is not";
const NOT_UTF8: &str = "its body is not UTF-8";

/// Checks one response, and logs the first one of a layer that SoundHash cannot decode.
pub(super) struct ResponseCheck {
    /// Whether the layer has already logged such a response.
    logged: Arc<AtomicBool>,
    path: String,
}

impl ResponseCheck {
    pub(super) fn new(logged: &Arc<AtomicBool>, path: &str) -> Option<Box<Self>> {
        (!logged.load(Ordering::Relaxed)).then(|| {
            Box::new(Self {
                logged: logged.clone(),
                path: path.to_owned(),
            })
        })
    }

    /// Checks the head of the response now, and the body while it is sent.
    pub(super) fn check(self: Box<Self>, response: Response) -> Response {
        if !response.status().is_success() || response.body().is_end_stream() {
            return response;
        }
        match expected(response.headers()) {
            Err(problem) => {
                self.log(problem);
                response
            }
            Ok(None) => response,
            Ok(Some(expected)) => response.map(|body| {
                Body::new(Checked {
                    body,
                    expected,
                    rest: Vec::new(),
                    check: Some(self),
                })
            }),
        }
    }

    fn log(&self, problem: &'static str) {
        if !self.logged.swap(true, Ordering::Relaxed) {
            telemetry::undecodable_response(&self.path, problem);
        }
    }
}

/// What the bytes of a body must be.
#[derive(Clone, Copy, PartialEq)]
enum Expected {
    Utf8,
    Ascii,
    Gzip,
}

/// Returns what the head promises, or `None` if any bytes can be decoded.
///
/// # Errors
///
/// Returns the reason why no bytes can be decoded.
fn expected(headers: &HeaderMap) -> Result<Option<Expected>, &'static str> {
    let value = |name| headers.get(name).map(|it| it.to_str().unwrap_or("?"));
    let coding = value(header::CONTENT_ENCODING).map(|it| it.trim().to_ascii_lowercase());
    match coding.as_deref() {
        None | Some("" | "identity") => {}
        Some("gzip") => return Ok(Some(Expected::Gzip)),
        Some("deflate") => return Ok(None),
        Some(_) => return Err(BAD_CODING),
    }
    let parameters = value(header::CONTENT_TYPE).unwrap_or_default().split(';');
    let charset = parameters.skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"').to_ascii_lowercase();
        name.trim().eq_ignore_ascii_case("charset").then_some(value)
    });
    match charset.as_deref() {
        None | Some("utf-8" | "utf8") => Ok(Some(Expected::Utf8)),
        Some("us-ascii" | "ascii") => Ok(Some(Expected::Ascii)),
        // Every byte is a character.
        Some("iso-8859-1" | "latin-1" | "latin1") => Ok(None),
        Some(_) => Err(BAD_CHARSET),
    }
}

/// A body that is checked frame by frame. It keeps at most the three bytes of an incomplete
/// character.
struct Checked {
    body: Body,
    expected: Expected,
    rest: Vec<u8>,
    /// `None` once the body is known to be valid or not.
    check: Option<Box<ResponseCheck>>,
}

impl Checked {
    fn observe(&mut self, data: &[u8], is_end: bool) {
        let Some(check) = &self.check else { return };
        let text = match self.rest.is_empty() {
            true => Cow::Borrowed(data),
            false => Cow::Owned([&mem::take(&mut self.rest), data].concat()),
        };
        let problem = match self.expected {
            Expected::Ascii => (!text.is_ascii()).then_some(NOT_ASCII),
            Expected::Gzip if text.len() < 2 && !is_end => {
                self.rest = text.into_owned();
                None
            }
            Expected::Gzip => match text.starts_with(&[0x1f, 0x8b]) {
                true => {
                    self.check = None;
                    return;
                }
                false => Some(NOT_GZIP),
            },
            Expected::Utf8 => match std::str::from_utf8(&text) {
                Ok(_) => None,
                Err(error) if is_end || error.error_len().is_some() => Some(NOT_UTF8),
                Err(error) => {
                    self.rest = text[error.valid_up_to()..].to_vec();
                    None
                }
            },
        };
        if let Some(problem) = problem {
            check.log(problem);
        }
        if is_end || problem.is_some() {
            self.check = None;
        }
    }
}

impl HttpBody for Checked {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let is_end = polled.is_none() || self.body.is_end_stream();
        match &polled {
            Some(Ok(frame)) => {
                let data = frame.data_ref().map(AsRef::as_ref);
                self.observe(data.unwrap_or_default(), is_end);
            }
            Some(Err(_)) => self.check = None,
            None => self.observe(&[], true),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

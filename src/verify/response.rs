//! Detects handler responses that SoundHash cannot decode.
//!
//! SoundHash strictly decodes every response body as text. If it cannot decode the body of a 2xx,
//! it records a failure and resends the event.

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
const NOT_UTF8: &str = "its body is not UTF-8";

/// Checks one response. Each layer logs only the first response that SoundHash cannot decode.
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

    /// Checks the head of the response immediately, and the body while it is sent.
    pub(super) fn check(self: Box<Self>, response: Response) -> Response {
        if !response.status().is_success() || response.body().is_end_stream() {
            return response;
        }
        match is_gzip(response.headers()) {
            Err(problem) => {
                self.log(problem);
                response
            }
            Ok(None) => response,
            Ok(Some(is_gzip)) => response.map(|body| {
                Body::new(Checked {
                    body,
                    is_gzip,
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

/// Returns `true` if SoundHash decodes the body as gzip, `false` if it decodes it as UTF-8, and
/// `None` if it accepts any bytes or the check does not support the encoding.
///
/// # Errors
///
/// Returns the reason if SoundHash cannot decode any body with these headers.
fn is_gzip(headers: &HeaderMap) -> Result<Option<bool>, &'static str> {
    let value = |name| {
        let value = headers.get(name).map(|it| it.to_str().unwrap_or("?"));
        value.unwrap_or_default().to_ascii_lowercase()
    };
    match value(header::CONTENT_ENCODING).trim() {
        "" | "identity" => {}
        "gzip" => return Ok(Some(true)),
        "deflate" => return Ok(None),
        _ => return Err(BAD_CODING),
    }
    let content_type = value(header::CONTENT_TYPE);
    let charset = content_type.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        (name.trim() == "charset").then(|| value.trim().trim_matches('"'))
    });
    match charset {
        None | Some("utf-8" | "utf8" | "us-ascii") => Ok(Some(false)),
        // Every byte is a valid character in these charsets.
        Some("iso-8859-1" | "latin-1" | "latin1") => Ok(None),
        Some(_) => Err(BAD_CHARSET),
    }
}

/// A body that is checked frame by frame. At most three bytes of an incomplete character are
/// buffered.
struct Checked {
    body: Body,
    is_gzip: bool,
    rest: Vec<u8>,
    /// `None` once the check has reached a verdict.
    check: Option<Box<ResponseCheck>>,
}

impl Checked {
    fn observe(&mut self, data: &[u8], is_end: bool) {
        let Some(check) = self.check.as_ref().filter(|_| is_end || !data.is_empty()) else {
            return;
        };
        let text = match self.rest.is_empty() {
            true => Cow::Borrowed(data),
            false => Cow::Owned([&mem::take(&mut self.rest), data].concat()),
        };
        let problem = match std::str::from_utf8(&text) {
            // Checking the first byte is enough for gzip, because no text starts with this control
            // character.
            _ if self.is_gzip => (!matches!(*text, [] | [0x1f, ..])).then_some(NOT_GZIP),
            Ok(_) => None,
            Err(error) if is_end || error.error_len().is_some() => Some(NOT_UTF8),
            Err(error) => {
                self.rest = text[error.valid_up_to()..].to_vec();
                None
            }
        };
        if let Some(problem) = problem {
            check.log(problem);
        }
        if is_end || self.is_gzip || problem.is_some() {
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
                self.observe(data.unwrap_or_default(), is_end || frame.is_trailers());
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

//! Interprets a response, and checks whether SoundHash can read it.

use std::{io::Read, time::Duration};

use axum::{
    Router,
    body::to_bytes,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, WWW_AUTHENTICATE},
    },
};
use flate2::read::{GzDecoder, ZlibDecoder};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use soundhash_webhook::{SoundHashWebhookLayer, testing::SignedRequest};
use tower_service::Service;

use super::{
    probe::Result,
    report::{
        Check,
        Verdict::{Failed, Unknown, Warning},
    },
};
use crate::{
    http::{MAX_RESPONSE, NoResponse, Response},
    output::escape::excerpt,
    url::milliseconds,
};

/// The advice for a response that takes too long.
const LATER: &str = "SoundHash waits 30 s, and then sends the event again. Store the event, \
                     respond, and do the work later.";
/// The clock difference that an `IdempotencyLayer` with `max_age` tolerates by default.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(60);
/// The `Date` header is in whole seconds, and some servers update it only once a second.
const DATE_STEP: SignedDuration = SignedDuration::from_secs(3);

/// Judges the response to an authentic event. `cure` is the advice if the signature was rejected.
pub(super) fn judge(name: &'static str, result: &Result, cure: &str) -> Check {
    let (seen, cure) = match result {
        Ok(it) if it.status.is_success() => return Check::ok(name, shown(it)),
        Ok(it) if it.status == StatusCode::UNAUTHORIZED => (shown(it), cure),
        Ok(it) => (shown(it), cure_of_status(it)),
        Err(NoResponse::Timeout) => (NoResponse::Timeout.to_string(), LATER),
        Err(error) => {
            let cure = "Look into the logs of the application and of the proxy in front of it.";
            (error.to_string(), cure)
        }
    };
    Check::new(Failed, name, seen, cure)
}

/// Displays the status, with the response time on success or the text on failure.
fn shown(response: &Response) -> String {
    let status = response.status.as_u16();
    let text = excerpt(&response.text(), 120);
    match response.status.is_success() || text.is_empty() {
        true => format!("{status} in {}", milliseconds(response.duration)),
        false => format!("{status}: {text}"),
    }
}

fn cure_of_status(response: &Response) -> &'static str {
    // The layer responds with these texts. Any other text means that a proxy responded.
    match (response.status.as_u16(), response.text().as_str()) {
        (300..=399, _) => "The receiver redirects. Register a URL that does not redirect.",
        (400 | 415 | 422, _) => {
            "The handler rejects test events. SoundHash's test button sends them, too: respond \
             with 2xx to what you do not handle, or choose a type with --event."
        }
        (403, _) => "A firewall or a login in front rejects the request. Exclude this path.",
        (404 | 405, _) => "No route takes a POST at this path. Compare it with your router.",
        (408, "Body not received in time") => "Raise the layer's `body_timeout`.",
        (408, _) => "Raise the proxy's time limit for bodies (nginx: `client_body_timeout`).",
        (411, _) => "A proxy requires a Content-Length. SoundHash sends one today.",
        (413, "Body too large") => "Raise the layer's `max_body_size` to 1 MiB or more.",
        (413, _) => {
            "A proxy limits bodies. Raise its limit to the layer's `max_body_size`, by default \
             1 MiB (nginx: `client_max_body_size`)."
        }
        (417, _) => "A proxy does not support `Expect`. SoundHash does not send it today.",
        (429, _) => "A rate limit is in front. Exclude this path, because events come in bursts.",
        (502, _) => "A proxy cannot reach the application, or got a broken response from it.",
        (503, _) => "The application or its proxy is overloaded or starting. Look into its log.",
        (504, _) => "The proxy's time limit is too short (nginx: `proxy_read_timeout 29s`).",
        (500, "Internal server error") => {
            "No SoundHashWebhookLayer is around the handler. Add it after the route."
        }
        _ => "The handler failed. Look into the application's log.",
    }
}

/// Judges the response to a forged event, which should exactly match the layer's response.
pub(super) async fn judge_forged(result: &Result) -> Check {
    let name = "forged event";
    let Ok(response) = result else {
        return judge(name, result, "");
    };
    let (expected, text) = rejection().await;
    let has_header = response.headers.get(WWW_AUTHENTICATE) == expected.get(WWW_AUTHENTICATE);
    let seen = shown(response);
    match response.status {
        status if status.is_success() => Check::new(
            Failed,
            name,
            format!("accepted: {seen}"),
            "The endpoint does not verify signatures, so anyone can send events to it. Add \
             SoundHashWebhookLayer after the route.",
        ),
        StatusCode::UNAUTHORIZED if has_header && response.body == text.as_bytes() => {
            Check::ok(name, "401, byte for byte as this crate responds")
        }
        StatusCode::UNAUTHORIZED if has_header && response.text().starts_with(&text) => {
            let cure = "The reason helps an attacker. Turn `explain_rejections` off in production.";
            Check::new(Warning, name, seen, cure)
        }
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Check::new(
            Warning,
            name,
            format!("{seen}, probably not from this crate"),
            "If the application uses this crate, a login or a gateway responds in its place: \
             exclude this path. Otherwise, this is right.",
        ),
        _ => judge(name, result, ""),
    }
}

/// Returns the layer's response to a forged event.
async fn rejection() -> (HeaderMap, String) {
    let layer = SoundHashWebhookLayer::new("a");
    let mut app = Router::<()>::new().fallback(|| async {}).layer(layer);
    let Ok(response) = app.call(SignedRequest::new("b").build()).await;
    let (head, body) = response.into_parts();
    let body = to_bytes(body, MAX_RESPONSE).await.unwrap_or_default();
    (head.headers, String::from_utf8_lossy(&body).into_owned())
}

/// Checks that SoundHash's dispatcher can decode a 2xx response. Otherwise, the dispatcher records
/// a failure.
pub(super) fn decodable(response: &Response) -> Check {
    let name = "response";
    let cure = "SoundHash records a failure and sends the event again. Respond without a body, or \
                with UTF-8.";
    let header = |name| {
        let value = response.headers.get(name).map(HeaderValue::as_bytes);
        String::from_utf8_lossy(value.unwrap_or_default()).to_lowercase()
    };
    let encoding = header(CONTENT_ENCODING);
    let Some(body) = decompressed(&encoding, &response.body) else {
        let seen = format!("not readable as Content-Encoding `{encoding}`");
        return Check::new(Failed, name, seen, cure);
    };
    let content_type = header(CONTENT_TYPE);
    let charset = content_type.split_once("charset=").map(|(_, it)| it);
    let charset = charset.and_then(|it| it.trim_matches('"').split([';', '"', ' ']).next());
    let charset = charset.unwrap_or("utf-8");
    let is_text = match charset {
        "utf-8" | "utf8" => str::from_utf8(&body).is_ok(),
        "ascii" | "us-ascii" => body.is_ascii(),
        "iso-8859-1" | "latin-1" | "latin1" => true,
        _ => {
            let seen = format!("in the charset `{charset}`, which SoundHash may not know");
            return Check::new(Unknown, name, seen, cure);
        }
    };
    match (is_text, body.len()) {
        (false, _) => Check::new(Failed, name, format!("not {charset}"), cure),
        (true, 0) => Check::ok(name, "no body, which SoundHash always reads"),
        (true, bytes) => Check::ok(name, format!("{bytes} bytes that SoundHash can read")),
    }
}

fn decompressed(encoding: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    let reader: Box<dyn Read> = match encoding {
        "" | "identity" => Box::new(body),
        "gzip" | "x-gzip" => Box::new(GzDecoder::new(body)),
        "deflate" => Box::new(ZlibDecoder::new(body)),
        _ => return None,
    };
    let most = MAX_RESPONSE as u64;
    reader.take(most).read_to_end(&mut read).ok()?;
    Some(read)
}

/// Compares the clocks using the response's `Date`.
pub(super) fn clock(response: &Response) -> Check {
    let name = "clock";
    let date = response.headers.get(DATE).and_then(|it| it.to_str().ok());
    let Some(date) = date.and_then(|it| rfc2822::parse(it).ok()) else {
        let cure = "Check that the clock of the application's machine is synchronized by NTP.";
        return Check::new(Unknown, name, "the response has no Date", cure);
    };
    let ahead = date.timestamp().duration_since(Timestamp::now());
    let relation = if ahead.is_negative() {
        "behind"
    } else {
        "ahead of"
    };
    let seen = format!(
        "the receiver is {} s {relation} this machine",
        ahead.abs().as_secs()
    );
    let cure = "Synchronize both clocks by NTP. With `max_age`, a clock that is behind rejects new \
                events, and a clock that is ahead rejects late retries.";
    match ahead.abs() {
        it if it <= DATE_STEP => Check::ok(name, "the receiver's and this machine's agree"),
        it if it <= CLOCK_SKEW => Check::new(Warning, name, seen, cure),
        _ => Check::new(Failed, name, seen, cure),
    }
}

/// Compares the slowest response with SoundHash's time limit.
pub(super) fn time(slowest: Duration, limit: Duration) -> Check {
    let seen = format!("the slowest response took {}", milliseconds(slowest));
    match slowest > limit / 3 {
        true => Check::new(Warning, "time", seen, LATER),
        false => Check::ok("time", seen),
    }
}

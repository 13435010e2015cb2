//! A delivery that a redirect turned into a GET is rejected with a separate reason.

use axum::{body::Body, http::Method};
use http::Request;
use soundhash_webhook::{RejectionKind, SIGNATURE_HEADER, Secret};

use super::check;
use crate::support::SECRET;

const EVENT: &str = "an event";

fn request(method: &Method, signed: &str, body: &'static str) -> Request<Body> {
    let signature = Secret::new(SECRET).sign(signed.as_bytes()).to_string();
    let request = Request::builder().method(method);
    let request = request.header(SIGNATURE_HEADER, signature);
    request.body(Body::from(body)).unwrap()
}

#[tokio::test]
async fn a_wrong_signature_with_another_method_is_that_of_a_redirect() {
    for (method, body) in [
        (Method::GET, ""),
        (Method::HEAD, ""),
        (Method::PUT, "another body"),
    ] {
        let rejected = check(request(&method, EVENT, body)).await;
        assert_eq!(rejected, Err(RejectionKind::Redirected), "{method} {body}");
    }
    // A redirect that keeps the method also keeps the body, so something else dropped it.
    for body in ["", "another body"] {
        let rejected = check(request(&Method::POST, EVENT, body)).await;
        assert_eq!(rejected, Err(RejectionKind::WrongSignature), "{body}");
    }
}

#[tokio::test]
async fn an_authentic_request_is_accepted_whatever_its_method_and_length() {
    for (method, body) in [(Method::PUT, EVENT), (Method::POST, "")] {
        let received = check(request(&method, body, body)).await;
        assert_eq!(received.as_deref(), Ok(body.as_bytes()));
    }
}

/// The log is rate-limited, but rejections for other reasons do not suppress this line.
#[cfg(feature = "tracing")]
#[tokio::test(start_paused = true)]
async fn the_log_says_that_a_redirect_may_have_lost_the_event() {
    use std::time::Duration;

    use tower::ServiceExt;
    use tracing::Level;

    use super::layer;
    use crate::{support::echo, telemetry::log::Log};

    let (log, service) = (Log::up_to(Level::WARN), echo(layer()));
    let send = async |method, body| {
        let Ok(response) = service.clone().oneshot(request(method, EVENT, body)).await;
        assert_eq!(response.status(), 401);
    };
    for _ in 0..100 {
        send(&Method::POST, "forged").await;
    }
    log.take();
    send(&Method::GET, "").await;
    let line = log.line();
    for part in [
        "WARN",
        "reason=\"redirected\"",
        "signature does not match",
        "if SoundHash sent it",
        "register the exact URL",
        "https",
        "slash",
        "www",
        "login",
    ] {
        assert!(line.contains(part), "{line}");
    }
    send(&Method::GET, "").await;
    tokio::time::advance(Duration::from_secs(61)).await;
    send(&Method::GET, "").await;
    assert!(log.take().contains("redirected 2"));
}

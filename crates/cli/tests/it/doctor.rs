//! Runs `doctor` against correct receivers, and against receivers with various faults.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::{any, post},
};
use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use soundhash_webhook::{
    Event, EventData, SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, MemoryStore},
};
use soundhash_webhook_tests::proxy::Proxy;

use crate::{
    support::{self, App, Ran, Run, SECRET, bare, check, cli, closed_addr, response},
    tls,
};

/// Serves an application, and returns its webhook URL.
fn serve(app: Router) -> String {
    format!("http://{}/hooks", support::serve(app))
}

/// Returns an application that is set up as in the guides and accepts only events marked as tests.
fn right() -> Router {
    let layer = IdempotencyLayer::new(MemoryStore::new(100));
    receiver()
        .layer(layer.max_age(Duration::from_secs(15 * 60)))
        .layer(verification())
}

fn receiver() -> Router {
    let receive = async |event: Event| match &event.data {
        EventData::Unrecognized(it) if it.payload["test"] == true => StatusCode::NO_CONTENT,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Router::new().route("/hooks", post(receive))
}

fn verification() -> SoundHashWebhookLayer {
    SoundHashWebhookLayer::new(SECRET)
}

type Change = fn(Vec<u8>) -> Vec<u8>;

/// Returns the correct application behind a layer that changes request bodies, as a proxy could.
fn behind(change: Change) -> Router {
    right().layer(middleware::from_fn(
        move |request: Request, next: Next| async move {
            let (mut head, body) = request.into_parts();
            let body = change(to_bytes(body, 2 << 20).await.unwrap().into());
            head.headers.remove(header::CONTENT_LENGTH);
            next.run(Request::from_parts(head, body.into())).await
        },
    ))
}

/// Returns an application that responds to every verified delivery in the same way.
fn responding(response: impl IntoResponse + Clone + Send + Sync + 'static) -> Router {
    let handler = any(async move |_: Bytes| response.clone());
    Router::new()
        .fallback_service(handler)
        .layer(verification())
}

fn doctor(url: &str) -> Ran {
    cli!("doctor {url}").reads("")
}

#[test]
fn a_right_receiver_passes_every_check() {
    let url = serve(right());
    let ran = cli!("doctor {url} --json").expect(0, "");
    let checks: Vec<Value> = (ran.stdout.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |result: &str| {
        let checks = checks.iter().filter(|it| it["result"] == result);
        checks
            .map(|it| it["check"].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("warning"), ["address"], "{ran:#?}");
    let passed = "connection, redirects, forged event, dispatcher event, portal event, \
                  trailing newline, NaN, non-ASCII, 900 kB, chunked, Expect, late retry, \
                  duplicates, response, clock, time";
    assert_eq!(of("ok").join(", "), passed, "{ran:#?}");
    doctor(&url).expect(0, "17 checks: 16 ok, 1 warning | marked as replayed");
}

#[test]
fn signatures_that_are_not_verified_or_do_not_match_are_failures() {
    let open = Router::new().route("/hooks", any(|| async {}));
    doctor(&serve(open)).expect(1, "accepted: 200 | anyone can send events");
    doctor(&serve(receiver())).expect(1, "No SoundHashWebhookLayer is around the handler");
    let other = || receiver().layer(SoundHashWebhookLayer::new("whsec_other"));
    doctor(&serve(other())).expect(1, "401: Invalid signature | has another secret");
    let mut rotated = cli!("doctor {}", serve(other()));
    rotated.env("SOUNDHASH_WEBHOOK_PREVIOUS_SECRET", "whsec_other");
    rotated.expect(1, "only the previous secret");
    let explained = receiver().layer(verification().explain_rejections(true));
    doctor(&serve(explained)).expect(0, "`explain_rejections` off");
    let login = App::start(|_| response("401 Unauthorized", "Please log in"));
    doctor(&login.to_string()).expect(1, "401: Please log in, probably not from this crate");
    let elsewhere = serve(right()).replace("/hooks", "/hook");
    doctor(&elsewhere).expect(1, "404 | No route takes a POST");
}

#[test]
fn redirects_are_followed_and_shown_with_what_arrives() {
    // No sender follows a redirect to a `file` URL, and the output shortens its long target.
    let to = format!("file:///etc/{}", "x".repeat(9_000));
    let ran = doctor(&App::redirecting(307, &to).to_string());
    let parts = "failed redirects | 307 to file:///etc/xx | which no sender follows";
    assert!(ran.expect(1, parts).all().len() < 2_000);
    doctor(&App::redirecting(308, "/").to_string()).expect(1, "which no sender follows");
    let url = serve(right());
    let login = Router::new().route("/login", any(async || "Please log in"));
    let login = serve(login.route("/hooks", any(async || Redirect::to("/login"))));
    let app = |status, to: &str| App::redirecting(status, to).to_string();
    let rows = format!(
        "{} | 1 | 301 to http | gets 401 Unauthorized | the event is lost | run this again
        {} | 1 | 302 to http | 303 to http | /login; there, a GET | gets 200 | the event is lost
        {} | 0 | 308 to http | there, the event gets 204 | Nothing is lost | ok Expect",
        app(301, &url),
        app(302, &login),
        app(308, &url)
    );
    check(|url| cli!("doctor {url}"), &rows);
}

#[test]
fn a_changed_body_is_found_and_the_change_is_named() {
    let rewrite = |body: Vec<u8>| match serde_json::from_slice::<Value>(&body) {
        Ok(event) => event.to_string().into(),
        Err(_) => body,
    };
    doctor(&serve(behind(rewrite))).expect(1, "parses JSON and writes it again");
    let changes: [(Change, _); 4] = [
        (|body| body.trim_ascii_end().to_vec(), "trailing newline"),
        (|body| replaced(&body, "NaN", "null"), "NaN"),
        (|body| replaced(&body, "í", "i"), "non-ASCII"),
        (|body| body.into_iter().take(800_000).collect(), "900 kB"),
    ];
    for (change, failed) in changes {
        let parts = format!("failed {failed} | 1 failed | Invalid signature");
        doctor(&serve(behind(change))).expect(1, parts);
    }
}

fn replaced(body: &[u8], from: &str, to: &str) -> Vec<u8> {
    str::from_utf8(body).unwrap().replace(from, to).into()
}

#[test]
fn limits_of_size_time_and_age_are_found() {
    let small = receiver().layer(verification().max_body_size(100_000));
    doctor(&serve(small)).expect(1, "413: Body too large | layer's `max_body_size`");
    let strict = IdempotencyLayer::new(MemoryStore::new(100)).max_age(Duration::from_secs(300));
    let strict = receiver().layer(strict).layer(verification());
    doctor(&serve(strict)).expect(1, "failed late retry | Raise `max_age`");

    // The first receiver responds slowly to the first event, and the second one never responds.
    for (limit, delay, count, status, part) in [
        ("20", 8, 1, 0, "warning time"),
        ("2", 600, usize::MAX, 1, "no response in time"),
    ] {
        let requests = Arc::new(AtomicUsize::new(0));
        let slow = middleware::from_fn(move |request: Request, next: Next| {
            let is_slow = requests.fetch_add(1, Ordering::Relaxed) < count;
            let delay = Duration::from_secs(if is_slow { delay } else { 0 });
            async move {
                tokio::time::sleep(delay).await;
                next.run(request).await
            }
        });
        let url = serve(right().layer(slow));
        cli!("doctor {url} --timeout {limit}")
            .expect(status, format!("{part} | do the work later"));
    }
}

#[test]
fn a_wrong_clock_is_found() {
    for (date, part) in [
        ("Sun, 06 Nov 1994 08:49:37 GMT", "s behind this machine"),
        ("Fri, 06 Nov 2195 08:49:37 GMT", "s ahead of this machine"),
    ] {
        let wrong = move |it: Response| async move { ([(header::DATE, date)], it) };
        let url = serve(right().layer(middleware::map_response(wrong)));
        doctor(&url).expect(1, format!("failed clock | {part} | by NTP"));
    }
}

#[test]
fn a_2xx_that_soundhash_cannot_read_is_a_failure() {
    let latin = Bytes::from_static(b"re\xe7u");
    let text = |charset: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            format!("text/plain{charset}").parse().unwrap(),
        );
        headers
    };
    let mut packed = HeaderMap::new();
    packed.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all("rea\u{e7}u".as_bytes()).unwrap();
    let read = doctor(&serve(responding((packed.clone(), gzip.finish().unwrap()))));
    read.expect(0, "6 bytes that SoundHash can read");
    for (headers, status, part) in [
        (text(""), 1, "not utf-8"),
        (text("; charset=US-ASCII"), 1, "not us-ascii"),
        (
            text("; charset=\"iso-8859-1\""),
            0,
            "4 bytes that SoundHash can read",
        ),
        (text("; charset=koi8-r"), 0, "unknown response"),
        (packed, 1, "Content-Encoding `gzip`"),
    ] {
        let ran = doctor(&serve(responding((headers, latin.clone()))));
        // The responses do not show whether duplicates are recognized.
        ran.expect(status, format!("{part} | unknown duplicates"));
    }
}

#[test]
fn http2_and_certificates_are_checked_over_tls() {
    let trusting = |url: &str| {
        let mut doctor = cli!("doctor {url}hooks");
        doctor.env("SSL_CERT_FILE", format!("{}/ca.pem", tls::FOLDER));
        doctor
    };
    for (http2, part) in [(true, "ok HTTP/2 204"), (false, "ok HTTP/2 not offered")] {
        let url = tls::serve(right(), tls::VALID, http2);
        trusting(&url).expect(0, format!("certificate valid until 2126-10-31 | {part}"));
        let untrusted = "failed certificate | does not trust | whole chain";
        doctor(&url).expect(1, untrusted);
        let other = url.replace("localhost", "127.0.0.2");
        let parts = "failed certificate | another host name | the host of this URL";
        trusting(&other).expect(1, parts);
    }
    let expired = tls::serve(right(), "expired.pem", false);
    let parts = "failed certificate | expired on 2025-02-01 | Renew";
    trusting(&expired).expect(1, parts);
}

#[test]
fn each_status_has_its_cure() {
    for row in "408 | Body not received in time | the layer's `body_timeout`
        408 | slow | nginx: `client_body_timeout`
        411 | | requires a Content-Length
        413 | Body too large | the layer's `max_body_size`
        413 | big | nginx: `client_max_body_size`
        415 | | The handler rejects test events
        417 | | does not support `Expect`
        429 | | A rate limit is in front
        500 | oops | The handler failed
        502 | | cannot reach the application
        503 | | overloaded or starting
        504 | | nginx: `proxy_read_timeout 29s`"
        .lines()
    {
        let [status, body, cure] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        let app = App::start(move |_| response(&format!("{status} Status"), body));
        let parts = format!("failed dispatcher event | {status} | {cure}");
        doctor(&app.to_string()).expect(1, parts);
    }
}

#[test]
fn a_receiver_that_cannot_be_reached_has_status_2() {
    let closed = format!("http://{}/", closed_addr());
    doctor(&closed).expect(2, "failed connection | Connection refused");
    doctor("http://nowhere.invalid/").expect(2, "cannot be resolved | A and AAAA");
    bare!("doctor {closed}").expect(2, "set SOUNDHASH_WEBHOOK_SECRET");
}

#[test]
fn nginx_and_haproxy_change_nothing() {
    let upstream = serve(right());
    let addr = upstream
        .trim_start_matches("http://")
        .trim_end_matches("/hooks");
    let nginx = format!("location / {{ proxy_pass http://{addr}; proxy_http_version 1.1; }}");
    for proxy in [Proxy::nginx(&nginx), Proxy::haproxy(addr)] {
        let Some(proxy) = proxy else {
            eprintln!("nginx or HAProxy is missing: not tried");
            continue;
        };
        doctor(&format!("{}/hooks", proxy.url)).expect(0, "16 ok, 1 warning");
    }
}

#[test]
fn limits_and_redirects_of_nginx_are_found() {
    let upstream = serve(right());
    let upstream = upstream.trim_end_matches("/hooks");
    let proxy = format!("proxy_pass {upstream}; proxy_http_version 1.1;");
    let config = format!(
        "location /hooks {{ {proxy} client_max_body_size 100k; }}
         location /old {{ return 308 /hooks; }}
         location /moved/ {{ {proxy} }}"
    );
    let Some(nginx) = Proxy::nginx(&config) else {
        eprintln!("nginx is missing: not tried");
        return;
    };
    check(
        |path| cli!("doctor {}/{path}", nginx.url),
        "hooks | 1 | 413 | nginx: `client_max_body_size` | 1 failed
        old | 1 | 308 to http | there, the event gets 204 | 413
        moved | 1 | 301 to http | /moved/; there, a GET | trailing slash",
    );
}

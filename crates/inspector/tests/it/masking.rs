//! The values that the API hides.

use reqwest::header::HeaderMap;
use soundhash_webhook::{EventKind, Secret};

use crate::support::{App, SECRET, body};

const SENSITIVE: [(&str, &str); 4] = [
    ("authorization", "Bearer t0ps3cret"),
    ("cookie", "session=t0ps3cret"),
    ("x-tenant-key", "t0ps3cret"),
    ("proxy-authorization", "t0ps3cret"),
];

/// Sends a delivery with sensitive headers. Returns everything that the API says about it, and the
/// delivery's signature.
async fn shown(app: &App) -> (String, String) {
    let body = body(EventKind::MatchFound);
    let signature = Secret::new(SECRET).sign(&body).to_string();
    let mut headers = HeaderMap::new();
    headers.insert("x-webhook-signature", signature.parse().unwrap());
    for (name, value) in SENSITIVE {
        headers.insert(name, value.parse().unwrap());
    }
    app.send(headers, body).await;
    let mut shown = String::new();
    for (method, path) in [
        ("GET", "/api/records/1"),
        ("POST", "/api/records/1/explain"),
        ("GET", "/api/search?text=match"),
    ] {
        let response = app.ask(method, path).send().await.unwrap();
        shown += &response.text().await.unwrap();
    }
    (shown, signature)
}

#[tokio::test]
async fn signatures_and_sensitive_headers_are_hidden() {
    let app = App::start().await;
    let (shown, signature) = shown(&app).await;
    assert!(!shown.contains("t0ps3cret"), "{shown}");
    assert!(
        !shown.contains(&signature) && shown.contains(&signature[..8]),
        "{shown}"
    );
    for (name, _) in SENSITIVE {
        assert!(shown.contains(name), "{name}: {shown}");
    }
    assert!(!shown.contains(SECRET), "{shown}");
}

#[tokio::test]
async fn they_are_shown_on_request_but_the_secret_never() {
    let app =
        App::with(|inspector, _| inspector.with_secret(SECRET).show_sensitive_headers(true)).await;
    let (shown, signature) = shown(&app).await;
    assert!(
        shown.contains("Bearer t0ps3cret") && shown.contains(&signature),
        "{shown}"
    );
    assert!(!shown.contains(SECRET), "{shown}");
}

#[tokio::test]
async fn the_state_and_the_live_updates_do_not_contain_the_secret() {
    let app = App::start().await;
    let (_, signature) = shown(&app).await;
    let state = app.ask_json("GET", "/api/state").await.to_string();
    assert!(!state.contains(SECRET), "{state}");
    let mut events = app.ask("GET", "/api/events").send().await.unwrap();
    let batch = events.chunk().await.unwrap().unwrap();
    let batch = String::from_utf8_lossy(&batch);
    assert!(
        batch.contains("match.found") && !batch.contains(SECRET) && !batch.contains(&signature)
    );
}

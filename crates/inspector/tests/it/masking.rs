//! Tests which values the API hides.

use reqwest::header::HeaderMap;
use soundhash_webhook::{EventKind, Secret};
use soundhash_webhook_inspector::Inspector;

use crate::support::{App, SECRET, body};

const SENSITIVE: [(&str, &str); 4] = [
    ("authorization", "Bearer t0ps3cret"),
    ("cookie", "session=t0ps3cret"),
    ("x-tenant-key", "t0ps3cret"),
    ("proxy-authorization", "t0ps3cret"),
];

/// Sends a delivery with sensitive headers. Returns everything that the API reveals about it, along
/// with the delivery's signature.
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
async fn signatures_and_sensitive_headers_are_hidden_unless_allowed_and_secrets_always() {
    for allowed in [false, true] {
        let show = |inspector: Inspector, _: &str| {
            inspector
                .with_secret(SECRET)
                .show_sensitive_headers(allowed)
        };
        let app = App::with(show).await;
        let (shown, signature) = shown(&app).await;
        assert!(!shown.contains(SECRET), "{shown}");
        assert!(shown.contains(&signature[..8]), "{shown}");
        for hidden in [&signature[..], "t0ps3cret"] {
            assert_eq!(shown.contains(hidden), allowed, "{hidden}: {shown}");
        }
        for (name, _) in SENSITIVE {
            assert!(shown.contains(name), "{name}: {shown}");
        }
        let state = app.ask_json("GET", "/api/state").await.to_string();
        let mut events = app.ask("GET", "/api/events").send().await.unwrap();
        let batch = events.chunk().await.unwrap().unwrap();
        let batch = String::from_utf8_lossy(&batch);
        assert!(batch.contains("match.found"), "{batch}");
        for hidden in [SECRET, &signature] {
            assert!(!batch.contains(hidden), "{batch}");
        }
        assert!(!state.contains(SECRET), "{state}");
    }
}

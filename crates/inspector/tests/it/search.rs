//! Tests searching ids and bodies.

use serde_json::json;
use tokio::time::timeout;

use crate::support::{App, PATIENCE, SECRET, titled};

async fn search(app: &App, text: &str) -> serde_json::Value {
    let text: String = text
        .bytes()
        .flat_map(|byte| format!("%{byte:02x}").into_bytes())
        .map(char::from)
        .collect();
    let request = app.ask("GET", &format!("/api/search?text={text}"));
    let response = timeout(PATIENCE, request.send()).await.expect("a response");
    let text = response.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn ids_and_bodies_are_found_as_a_user_reads_them() {
    let app = App::start().await;
    // SoundHash escapes all non-ASCII characters.
    let body = titled("one", "Título 🎵 \"A\"");
    assert!(String::from_utf8_lossy(&body).contains(r"T\u00edtulo \ud83c\udfb5"));
    app.send_signed(SECRET, body).await;
    app.send_signed("whsec_of_nobody", titled("TWO", "Night Drive"))
        .await;
    for (text, found) in [
        ("Título", json!([1])),
        ("tÍTULO 🎵 \"a\"", json!([1])),
        (r"T\u00edtulo", json!([1])),
        ("two", json!([2])),
        ("nIGHT dRIVE", json!([2])),
        ("video.processed", json!([1, 2])),
        ("Titulo", json!([])),
    ] {
        assert_eq!(search(&app, text).await, found, "{text}");
    }
}

/// Attack: bodies in which the search text almost matches at every byte.
#[tokio::test]
async fn a_hostile_search_takes_linear_time() {
    let app = App::start().await;
    for _ in 0..20 {
        app.send_signed("whsec_of_nobody", "y".repeat(60_000)).await;
    }
    assert_eq!(search(&app, &("y".repeat(5_000) + "Q")).await, json!([]));
}

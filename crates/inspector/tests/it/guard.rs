//! Tests who can access the page: host names, tokens and other sites.

use axum::Router;
use http::{StatusCode, header};
use soundhash_webhook_inspector::Inspector;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{App, PATIENCE, client};

async fn get(url: impl AsRef<str>) -> reqwest::Response {
    client().get(url.as_ref()).send().await.unwrap()
}

#[tokio::test]
async fn a_request_without_the_token_is_rejected() {
    let app = App::start().await;
    let wrong = app.cookie.replace(|c: char| c.is_ascii_uppercase(), "x");
    for path in "|/app.js|/style.css|/api/state|/api/events|/api/records/1".split('|') {
        let url = format!("{}{path}", app.base);
        for request in [
            client().get(&url),
            client().get(format!("{url}?token=")),
            client().get(format!("{url}?token=AAAAAAAAAAAAAAAAAAAAAA")),
            client().get(&url).header("cookie", &wrong),
        ] {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        }
    }
    let clear = client().post(format!("{}/api/clear", app.base));
    let cleared = clear.send().await.unwrap();
    assert_eq!(cleared.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_token_moves_from_the_url_into_a_cookie() {
    let app = App::start().await;
    let response = get(&app.page).await;
    assert_eq!(response.status(), StatusCode::OK);
    // Browsers send a host's cookies to all of its ports, so another server on this machine could
    // receive a cookie for `/`. A cookie for a random path is safe, because the other server does
    // not know the path.
    let path = app.base.strip_prefix(app.origin()).unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    let expected = format!("{}; HttpOnly; SameSite=Strict; Path={path}", app.cookie);
    assert_eq!(cookie, expected);
    assert_eq!(path.len(), 23, "{path}");
    assert!(!app.cookie.contains(&path[1..]), "{path} {}", app.cookie);
    let token = |app: &App| app.page.split_once("token=").unwrap().1.to_owned();
    assert_eq!(token(&app).len(), 22);
    assert_ne!(token(&app), token(&App::start().await));
    for path in ["", "/api/state"] {
        let response = app.ask("GET", path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let outside = client().get(format!("{}{path}", app.origin()));
        let outside = outside.header("cookie", &app.cookie).send().await.unwrap();
        assert_eq!(outside.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
}

/// Attack: DNS rebinding. The name of an attacker's site resolves to 127.0.0.1.
#[tokio::test]
async fn a_foreign_host_is_rejected() {
    let app = App::start().await;
    let port = app.origin().rsplit_once(':').unwrap().1;
    for (host, status) in [
        (format!("attacker.example:{port}"), 403),
        ("[::1].attacker.example".to_owned(), 403),
        ("x@localhost".to_owned(), 403),
        ("localhost:attacker.example".to_owned(), 403),
        (String::new(), 403),
        (format!("LOCALHOST:{port}"), 200),
    ] {
        let request = app.ask("GET", "").header("host", &host);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{host}");
    }
}

#[tokio::test]
async fn a_post_from_another_site_is_rejected() {
    let app = App::start().await;
    let actions = "clear samples records/1/replay records/1/send-as-new records/1/explain";
    for path in actions.split(' ') {
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            // A page on another port of this machine.
            ("sec-fetch-site", "same-site"),
            ("origin", "http://attacker.example"),
            ("origin", "null"),
        ] {
            let request = client().post(format!("{}/api/{path}", app.base));
            let request = request.header("cookie", &app.cookie).header(name, value);
            let status = request.send().await.unwrap().status();
            assert_eq!(status, StatusCode::FORBIDDEN, "{path} {name}: {value}");
        }
    }
    let own = app.ask("POST", "/api/clear").send().await.unwrap();
    assert_eq!(own.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn every_response_has_headers_that_keep_other_sites_out() {
    let app = App::start().await;
    let foreign = app.ask("GET", "").header("host", "attacker.example");
    let cross = app
        .ask("POST", "/api/clear")
        .header("origin", "null")
        .header("sec-fetch-site", "cross-site");
    for request in [
        app.ask("GET", ""),
        app.ask("GET", "/app.js"),
        app.ask("GET", "/api/state"),
        app.ask("GET", "/api/events"),
        app.ask("GET", "/api/records/1"),
        app.ask("GET", "/nowhere"),
        client().get(&app.page),
        client().get(app.origin()),
        foreign,
        cross,
    ] {
        let response = request.send().await.unwrap();
        let headers = response.headers();
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert_eq!(headers[header::X_FRAME_OPTIONS], "DENY");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
    }
}

#[tokio::test]
async fn the_inspector_listens_only_on_loopback_addresses() {
    let inspector = Inspector::new();
    for addr in ["0.0.0.0:0", "[::]:0"] {
        let error = inspector.bind(addr).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{addr}");
        let advice = "Inspector::allow_remote";
        assert!(error.to_string().contains(advice), "{error}");
        let error = inspector.serve(addr).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{addr}");
    }
    let server = inspector.bind("localhost:0").await.unwrap();
    assert!(server.local_addr().ip().is_loopback());
    let inspector = inspector.allow_remote(true);
    let server = inspector.bind("0.0.0.0:0").await.unwrap();
    assert!(server.local_addr().ip().is_unspecified());
}

#[tokio::test]
async fn a_remote_inspector_accepts_any_name_but_requires_the_token() {
    let app = App::with(|inspector, _| inspector.allow_remote(true)).await;
    let request = app.ask("GET", "").header("host", "dev.example.org");
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    let request = client().get(app.origin()).header("host", "dev.example.org");
    let status = request.send().await.unwrap().status();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn nested_routes_require_no_token_but_reject_other_sites() {
    let routes = Router::new().nest("/admin/inspector", Inspector::new().routes());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, routes).into_future());

    let page = get(format!("{origin}/admin/inspector")).await;
    assert_eq!(page.status(), StatusCode::OK);
    assert_eq!(page.headers()[header::X_FRAME_OPTIONS], "DENY");
    let html = page.text().await.unwrap();
    let base = r#"<base href="/admin/inspector/">"#;
    assert!(html.contains(base), "{html}");
    let state = get(format!("{origin}/admin/inspector/api/state")).await;
    assert_eq!(state.status(), StatusCode::OK);
    let clear = client().post(format!("{origin}/admin/inspector/api/clear"));
    let clear = clear.header("sec-fetch-site", "cross-site").send().await;
    assert_eq!(clear.unwrap().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn debug_shows_no_secret_and_no_token() {
    let inspector = Inspector::new().with_secret("s3cr3t");
    let server = inspector.bind("127.0.0.1:0").await.unwrap();
    let url = server.url();
    let token = url.split_once("token=").unwrap().1;
    let shown = format!("{inspector:?} {server:?} {:?}", inspector.layer());
    for secret in ["s3cr3t", token] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// Attack: exhaust the process's file descriptors with connections to the page.
#[tokio::test]
async fn idle_connections_to_the_page_are_few() {
    let app = App::start().await;
    let authority = app.origin().strip_prefix("http://").unwrap();
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(authority).await.unwrap());
    }
    // The server closes the oldest connections to make room for new ones.
    for stream in &mut idle[..300 - 64] {
        let mut byte = [0];
        let closed = timeout(PATIENCE, stream.read(&mut byte)).await;
        let closed = closed.expect("the server closes the connection");
        assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    }
    let page = app.ask("GET", "").send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
}

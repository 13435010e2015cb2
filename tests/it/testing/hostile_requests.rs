//! `testing::hostile_requests`: correct applications pass, and every mistake is found.

use std::{collections::HashSet, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::{any, get, post},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header, request::Parts};
use serde_json::Value;
use soundhash_webhook::{
    BoxError, Delivery, Event, EventData, Rejection, RejectionKind, SIGNATURE_HEADER, Secret,
    SecretProvider, Secrets, SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, MemoryStore},
    testing::{
        Failure,
        FailureKind::{
            self, AcceptedElsewhere, BodyChanged, BodyLimit, BodyRead, HeadChanged, MaxBodySize,
            NoRoute, NoSecret, NotAccepted, OtherRoute, Redirected, Unprotected,
        },
        FailureReport, HostileRequests, hostile_requests,
    },
};
use tower::{ServiceBuilder, ServiceExt};
use tower_http::limit::RequestBodyLimitLayer;

use crate::support::SECRET;

const PATH: &str = "/webhooks/soundhash";

fn secret() -> Secret {
    Secret::new(SECRET)
}

fn layer() -> SoundHashWebhookLayer {
    SoundHashWebhookLayer::new(SECRET)
}

fn route() -> Router {
    Router::new().route(PATH, post(|_: Event| async { StatusCode::OK }))
}

async fn failures_of(requests: HostileRequests, app: Router, path: &str) -> Vec<Failure> {
    let mut failures = Vec::new();
    for hostile in requests {
        let Ok(response) = app.clone().oneshot(hostile.request(path)).await;
        failures.extend(hostile.check(&response).err());
    }
    failures
}

async fn failures(app: Router) -> Vec<Failure> {
    failures_of(hostile_requests(&secret()), app, PATH).await
}

type Found = (&'static str, FailureKind);

fn kinds(failures: &[Failure]) -> Vec<Found> {
    failures.iter().map(|it| (it.name(), it.kind())).collect()
}

/// Checks that an application produces exactly these failures.
async fn finds(app: Router, expected: &[Found]) {
    assert_eq!(kinds(&failures(app).await), expected);
}

/// Checks that all authentic requests fail in this way.
async fn loses_everything(app: Router, kind: FailureKind) -> Vec<Failure> {
    let found = failures(app).await;
    assert_eq!(of_authentic(&found), [kind; AUTHENTIC]);
    found
}

/// Returns the failure kinds of authentic requests.
fn of_authentic(failures: &[Failure]) -> Vec<FailureKind> {
    let mut kinds = kinds(failures);
    kinds.retain(|(name, _)| name.starts_with("authentic"));
    kinds.into_iter().map(|(_, kind)| kind).collect()
}

const AUTHENTIC: usize = 8;
const READ: &str = "no signature, and a body that waits for a 100";
const LARGEST: &str = "authentic, and as large as allowed";

// ---- redirects

/// The URL that was registered may have a mistake.
#[tokio::test]
async fn a_fallback_that_accepts_deliveries_is_found() {
    let page = route().layer(layer()).fallback(|| async { "<html>" });
    let names = [
        "with or without a trailing slash",
        "at a path that does not exist",
    ];
    finds(page, &names.map(|name| (name, AcceptedElsewhere))).await;
}

/// SoundHash follows a redirect with a bodiless GET, and records the status of that response.
#[tokio::test]
async fn a_router_that_redirects_is_found() {
    const SLASH: &str = "with or without a trailing slash";
    const NOWHERE: &str = "at a path that does not exist";
    let receiving = || route().layer(layer());
    let trimmed =
        get(|| async { Redirect::permanent(PATH) }).post(|| async { Redirect::permanent(PATH) });
    let normalizing = receiving().route(&format!("{PATH}/"), trimmed);
    let to_login = receiving().fallback(|| async { Redirect::to("/login") });
    finds(normalizing, &[(SLASH, Redirected)]).await;
    finds(to_login, &[(SLASH, Redirected), (NOWHERE, Redirected)]).await;

    // This also covers a login page in front of the whole application, and a redirect to HTTPS.
    let login = |_: Request| async { Redirect::to("/login") };
    let found = loses_everything(Router::new().fallback(login), Redirected).await;
    assert!(found[0].to_string().contains("SoundHash follows redirects"));
}

// ---- names and statuses

/// The output of a failed test can be pasted anywhere.
#[test]
fn they_show_no_secret() {
    let requests = hostile_requests(&Secret::new("s3cr3t"));
    let shown = format!("{requests:?}");
    let each: Vec<_> = requests.map(|hostile| format!("{hostile:?}")).collect();
    assert!(!shown.contains("s3cr3t") && !each.concat().contains("s3cr3t"));
    let first = r#"HostileRequest { name: "no signature", status: Some(401), .. }"#;
    assert_eq!(each[0], first);
}

/// Each request is rejected for the reason that it is meant to test.
#[tokio::test]
async fn each_has_the_reason_that_it_is_made_for() {
    let app = route().layer(layer());
    let mut reasons = Vec::new();
    for hostile in hostile_requests(&secret()) {
        let Ok(response) = app.clone().oneshot(hostile.request(PATH)).await;
        hostile.check(&response).unwrap();
        let rejection = response.extensions().get::<Rejection>();
        reasons.extend(rejection.map(Rejection::kind));
    }
    let expected = [
        (RejectionKind::MissingSignature, 4),
        (RejectionKind::SeveralSignatures, 1),
        (RejectionKind::MalformedSignature, 6),
        (RejectionKind::WrongSignature, 7),
        (RejectionKind::BodyTooLarge, 3),
        (RejectionKind::BodyBroken, 1),
    ];
    let expected = expected.map(|(kind, times)| vec![kind; times]);
    assert_eq!(reasons, expected.concat());
}

// ---- correct applications

/// The layer can be in any of these places, together with middleware that leaves the body
/// unchanged.
#[tokio::test]
async fn applications_that_are_right_pass() {
    async fn look(request: Request, next: Next) -> Response {
        let path = request.uri().path();
        let replayed = ["/", "/health", "/healthz", "/status"].contains(&path);
        assert!(path.starts_with(PATH) || replayed, "{path}");
        next.run(request).await
    }
    async fn own_words(response: Response) -> Response {
        match response.status() {
            StatusCode::OK => response,
            status => (status, "in our own words").into_response(),
        }
    }
    let once = || {
        let store = MemoryStore::new(100);
        IdempotencyLayer::new(store).max_age(Duration::from_secs(15 * 60))
    };
    let handler = || post(|_: Event| async { StatusCode::NO_CONTENT });
    for app in [
        route().layer(layer()),
        route().route_layer(layer()),
        Router::new().route(PATH, handler().layer(layer())),
        Router::new().nest(
            "/webhooks",
            Router::new().route("/soundhash", handler()).layer(layer()),
        ),
        route().layer(ServiceBuilder::new().layer(layer()).layer(once())),
        route().layer(SoundHashWebhookLayer::new("whsec_new").previous_secret(SECRET)),
        route().layer(layer()).layer(middleware::from_fn(look)),
        route()
            .layer(layer())
            .layer(middleware::map_response(own_words)),
        // A limit inside the layer is fine if it is larger than any verified body.
        route().layer(DefaultBodyLimit::max(2 << 20)).layer(layer()),
    ] {
        assert_eq!(failures(app).await, []);
    }
}

#[tokio::test]
async fn the_limit_of_the_body_can_be_set() {
    let app = |limit| route().layer(layer().max_body_size(limit));
    for limit in [2_000, 64 * 1024, 2 << 20] {
        let requests = hostile_requests(&secret()).max_body_size(limit);
        assert_eq!(failures_of(requests, app(limit), PATH).await, []);
    }
    // If `hostile_requests` is not told the layer's limit, its requests for that limit fail.
    finds(app(64 * 1024), &[(LARGEST, MaxBodySize)]).await;
    let expected = [
        (
            "a body over the limit, without a declared length",
            MaxBodySize,
        ),
        ("signed, and over the limit by one byte", MaxBodySize),
    ];
    finds(app(2 << 20), &expected).await;
}

/// Each run sends new events. Otherwise, an idempotency layer would respond instead of the handler.
#[tokio::test]
async fn authentic_requests_reach_the_handler_unchanged_each_time() {
    let (seen, mut events) = tokio::sync::mpsc::unbounded_channel();
    let receive = async move |event: Event, delivery: Delivery, body: Bytes| {
        assert_eq!(*delivery.body(), body);
        let json: Value = delivery.json().unwrap();
        assert!(json["data"].is_object());
        if let EventData::VideoProcessed(video) = &event.data {
            assert!(video.title.is_some());
        }
        seen.send((event.id.unwrap(), body.len())).unwrap();
    };
    let store = MemoryStore::new(100);
    let once = IdempotencyLayer::new(store).max_age(Duration::from_secs(60));
    let app: Router = Router::new()
        .route(PATH, post(receive))
        .layer(ServiceBuilder::new().layer(layer()).layer(once));
    for _ in 0..2 {
        assert_eq!(failures(app.clone()).await, []);
    }
    drop(app);
    let mut ids = HashSet::new();
    let mut largest = 0;
    while let Ok((id, len)) = events.try_recv() {
        assert!(ids.insert(id));
        largest = largest.max(len);
    }
    assert_eq!(ids.len(), 2 * AUTHENTIC);
    assert_eq!(largest, 1024 * 1024);
}

// ---- mistakes

/// Mistake: the layer is missing. `Event` fails closed, which is also reported.
#[tokio::test]
async fn a_layer_that_is_missing_is_found() {
    let found = failures(route()).await;
    assert_eq!(found.len(), 30);
    assert!(
        found
            .iter()
            .all(|it| it.status() == StatusCode::INTERNAL_SERVER_ERROR)
    );
    let unsigned = &found[0];
    assert_eq!(unsigned.kind(), Unprotected);
    assert_eq!(
        unsigned.to_string(),
        "no signature: responded with 500 and not 401. Nothing verified the request: there is no \
         `SoundHashWebhookLayer` around this route, so anyone who knows its URL can send events. A \
         `.layer` call does not protect routes that are added after it. On such a route, a handler \
         that takes `Event` or `Delivery` responds with 500, and one that takes `Json` or `Bytes` \
         accepts the forged event."
    );
    // `unwrap` prints the `Debug` output, which is therefore the same text.
    assert_eq!(format!("{unsigned:?}"), unsigned.to_string());
}

/// Mistake: a second route, added below the layer, whose handler accepts any JSON.
#[tokio::test]
async fn an_unprotected_sibling_that_takes_json_is_found() {
    #[derive(serde::Deserialize)]
    struct Theirs {
        #[expect(dead_code, reason = "it is there to be missed")]
        their_id: u64,
    }

    let app = route()
        .layer(layer())
        .route("/webhooks/legacy", post(|_: Json<Value>| async {}));
    assert_eq!(failures(app.clone()).await, []);
    let requests = hostile_requests(&secret());
    let found = failures_of(requests, app, "/webhooks/legacy").await;
    assert_eq!(found[0].status(), StatusCode::OK);
    let found = kinds(&found);
    for name in [
        "no signature",
        READ,
        "a guessed signature",
        "signed with another secret",
        "a terabyte declared",
    ] {
        assert!(found.contains(&(name, Unprotected)), "{name}: {found:?}");
    }
    // The handler rejects an event that does not fit its type, but it is still unprotected.
    let theirs = Router::new().route(PATH, post(|_: Json<Theirs>| async {}));
    let found = failures(theirs).await;
    assert_eq!(found[0].status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(found[0].kind(), FailureKind::RejectedElsewhere);
}

/// Mistakes: middleware outside the layer that logs bodies, which lets attackers exhaust memory,
/// and middleware that reserializes JSON or consumes the body.
#[tokio::test]
async fn a_middleware_outside_that_reads_bodies_is_found() {
    async fn read(request: Request, change: fn(Bytes) -> Bytes) -> Request {
        let (head, body) = request.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await;
        Request::from_parts(head, Body::from(change(bytes.unwrap_or_default())))
    }
    let outside = |change: fn(Bytes) -> Bytes| {
        let middleware = middleware::map_request(move |request| read(request, change));
        route().layer(layer()).layer(middleware)
    };
    let rewrite = |bytes: Bytes| match serde_json::from_slice::<Value>(&bytes) {
        Ok(value) => serde_json::to_vec(&value).unwrap().into(),
        Err(_) => bytes,
    };
    let found = failures(outside(|bytes| bytes)).await;
    // The middleware turns a truncated body into an empty one.
    assert!(kinds(&found).contains(&(READ, BodyRead)), "{found:?}");
    assert_eq!(of_authentic(&found), []);
    let text = found
        .iter()
        .find(|it| it.name() == READ)
        .unwrap()
        .to_string();
    let start = format!("{READ}: responded with 401. Something outside of the layer read the");
    assert!(text.starts_with(&start), "{text}");

    let found = loses_everything(outside(rewrite), BodyChanged).await;
    assert!(kinds(&found).contains(&(READ, BodyRead)));
    loses_everything(outside(|_| Bytes::new()), BodyChanged).await;
}

/// Mistake: axum's limit rejects a body before the layer's limit does.
#[tokio::test]
async fn limits_that_are_not_the_layers_are_found() {
    // Outside the layer, the limit rejects requests before the signature is checked.
    let limited = |limit| {
        route()
            .layer(layer())
            .layer(RequestBodyLimitLayer::new(limit))
    };
    let expected = [("no signature, and a terabyte declared", BodyLimit)];
    finds(limited(1 << 20), &expected).await;
    // A lower limit also loses deliveries.
    let found = failures(limited(64 * 1024)).await;
    assert_eq!(of_authentic(&found), [BodyLimit]);

    // Inside the layer, the limit rejects bodies that the layer has accepted.
    let bytes = Router::new().route(PATH, post(|_: Bytes| async {}));
    let inside = bytes.clone().layer(DefaultBodyLimit::max(64 * 1024));
    finds(inside.layer(layer()), &[(LARGEST, BodyLimit)]).await;
    // axum's default limit has the same effect if the layer allows more than 2 MB.
    let app = bytes.layer(layer().max_body_size(4 << 20));
    let requests = hostile_requests(&secret()).max_body_size(4 << 20);
    let found = failures_of(requests, app, PATH).await;
    assert_eq!(kinds(&found), [(LARGEST, BodyLimit)]);
}

/// Mistake: a proxy or middleware changes the header.
#[tokio::test]
async fn a_middleware_outside_that_touches_the_header_is_found() {
    async fn lenient(mut request: Request) -> Request {
        let headers = request.headers_mut();
        let first = headers
            .get(SIGNATURE_HEADER)
            .and_then(|it| it.to_str().ok());
        let digits = first.map(|it| it.trim_start_matches("sha256=").to_owned());
        if let Some(value) = digits.and_then(|it| HeaderValue::try_from(it).ok()) {
            headers.insert(SIGNATURE_HEADER, value);
        }
        request
    }
    async fn strip(mut request: Request) -> Request {
        request.headers_mut().remove(SIGNATURE_HEADER);
        request
    }
    let app = route().layer(layer());
    let expected = [
        ("the signature twice", Unprotected),
        ("a signature with a prefix", Unprotected),
    ];
    finds(
        app.clone().layer(middleware::map_request(lenient)),
        &expected,
    )
    .await;
    loses_everything(app.layer(middleware::map_request(strip)), HeadChanged).await;
}

/// Mistake: a layer around the whole router, including a route that responds to GET with 200.
#[tokio::test]
async fn a_replay_to_another_route_under_the_same_layer_is_found() {
    let status = |path| Router::new().route(path, get(|| async { "all is well" }));
    let once = || IdempotencyLayer::new(MemoryStore::new(100));
    for name in [
        "replayed as GET /",
        "replayed as GET /health",
        "replayed as GET /healthz",
    ] {
        let path = name.split(' ').next_back().unwrap();
        let found = route().merge(status(path)).layer(layer());
        finds(found, &[(name, OtherRoute)]).await;
        // The idempotency layer rejects such a replay without calling the route.
        let layers = ServiceBuilder::new().layer(layer()).layer(once());
        finds(route().merge(status(path)).layer(layers), &[]).await;
        // Outside the layers, a route may accept every request.
        finds(route().layer(layer()).merge(status(path)), &[]).await;
    }

    // The idempotency layer cannot know which of two POST routes is the right one.
    let health = Router::new().route("/health", any(|| async { "all is well" }));
    let layers = ServiceBuilder::new().layer(layer()).layer(once());
    let expected = [("replayed as POST /health", OtherRoute)];
    finds(route().merge(health).layer(layers), &expected).await;

    // The webhook's route must not accept other methods either.
    let any = Router::new().route(PATH, any(|_: Event| async {}));
    let found = failures(any.layer(layer())).await;
    assert_eq!(kinds(&found), [("replayed as GET", OtherRoute)]);
    let text = found[0].to_string();
    assert!(
        text.contains("only around the route of the webhook"),
        "{text}"
    );
}

// ---- the report

#[tokio::test]
async fn the_report_names_each_cause_once() {
    let report: FailureReport = failures(route()).await.into_iter().collect();
    assert_eq!(report.failures().count(), 30);
    let text = report.to_string();
    // Authentic deliveries are lost only because the layer is missing, so the report does not list
    // this as a separate cause.
    assert_eq!(text.matches("Nothing verified the request").count(), 1);
    assert_eq!(text.lines().count(), 31);
    assert!(
        text.lines().skip(1).all(|line| line.starts_with("- ")),
        "{text}"
    );
    assert!(
        text.contains("- no signature: responded with 500 and not 401\n"),
        "{text}"
    );
    assert!(
        text.ends_with("- authentic, and as large as allowed: responded with 500 and not 2xx\n")
    );
    assert_eq!(format!("{report:?}"), text);

    let two_causes = route()
        .route("/status", get(|| async {}))
        .layer(layer())
        .layer(RequestBodyLimitLayer::new(64 * 1024));
    let mut report = FailureReport::default();
    assert!(report.is_empty() && report.to_string().is_empty());
    report.extend(failures(two_causes).await);
    let causes: Vec<_> = (report.to_string().lines())
        .filter(|line| !line.starts_with("- "))
        .map(|line| line.split([':', ' ']).next().unwrap().to_owned())
        .collect();
    assert_eq!(causes, ["A", "The"]);
}

/// Mistakes that lose deliveries: a wrong path, a wrong secret, and a handler that rejects events.
#[tokio::test]
async fn applications_that_lose_authentic_deliveries_are_found() {
    struct Nobody;
    impl SecretProvider for Nobody {
        async fn secrets(&self, _: &Parts) -> Result<Option<Secrets>, BoxError> {
            Ok(None)
        }
    }

    async fn json_only(request: Request, next: Next) -> Response {
        if request.headers()[header::CONTENT_TYPE] == "application/json" {
            next.run(request).await
        } else {
            StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response()
        }
    }

    let app = route().route_layer(layer());
    let found = failures_of(hostile_requests(&secret()), app.clone(), "/webhooks").await;
    assert_eq!(found.len(), 30);
    assert!(found.iter().all(|it| it.kind() == NoRoute));

    let another = hostile_requests(&Secret::new("whsec_another"));
    let found = failures_of(another, app, PATH).await;
    assert_eq!(of_authentic(&found), [BodyChanged; AUTHENTIC]);
    let nobody = route().layer(SoundHashWebhookLayer::with_provider(Nobody));
    loses_everything(nobody, NoSecret).await;

    let picky = async |event: Event| match event.data {
        EventData::Unrecognized(_) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::OK,
    };
    let expected = [
        ("authentic, of a new type", NotAccepted),
        ("authentic, from the test button", NotAccepted),
    ];
    let app = Router::new().route(PATH, post(picky)).layer(layer());
    finds(app, &expected).await;
    let app = route().layer(layer()).layer(middleware::from_fn(json_only));
    let expected = [("authentic, with a custom content type", NotAccepted)];
    finds(app, &expected).await;
}

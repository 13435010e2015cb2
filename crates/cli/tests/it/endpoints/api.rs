//! A server that behaves like SoundHash's API. The token selects a fault.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

use crate::support::{bare, free_addr};

pub(crate) const TOKEN: &str = "t0ken-0f-0urs";
pub(crate) const REFRESH_TOKEN: &str = "refr3sh";
const EVENTS: [&str; 6] = [
    "match.found",
    "video.processed",
    "job.failed",
    "user.created",
    "subscription.updated",
    "api_limit.reached",
];

#[derive(Default)]
pub(crate) struct Stored {
    pub(crate) endpoints: BTreeMap<u64, Value>,
    pub(crate) deliveries: Vec<Value>,
    /// The method, path and body of each request.
    pub(crate) log: Vec<(String, Value)>,
    /// How many seconds the clock is ahead.
    pub(crate) clock_ahead: i64,
}

#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) url: String,
    pub(crate) stored: Arc<Mutex<Stored>>,
}

type Answer = Result<Response, (StatusCode, Json<Value>)>;

fn error(status: StatusCode, detail: impl Into<Value>) -> (StatusCode, Json<Value>) {
    (status, Json(json!({ "detail": detail.into() })))
}

impl Api {
    pub(crate) fn start() -> Self {
        let addr = free_addr();
        let api = Self {
            url: format!("http://{addr}"),
            stored: Arc::default(),
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind(addr)).unwrap();
        let app = Router::new()
            .route("/api/v1/webhooks/events", get(events))
            .route("/api/v1/auth/refresh", post(refresh))
            .route("/api/v1/webhooks", get(list).post(create))
            .route(
                "/api/v1/webhooks/{id}",
                get(show).patch(update).delete(delete),
            )
            .route("/api/v1/webhooks/{id}/test", post(test))
            .route("/api/v1/webhooks/{id}/deliveries", get(deliveries))
            .route("/api/v1/webhooks/{id}/stats", get(stats))
            .fallback(|| async { error(StatusCode::NOT_FOUND, "Not Found") })
            .layer(middleware::from_fn_with_state(api.clone(), authorize))
            .with_state(api.clone());
        thread::spawn(move || runtime.block_on(async { axum::serve(listener, app).await }));
        api
    }

    /// Returns the command `endpoints` with the given arguments.
    pub(crate) fn command(&self, line: &str) -> Command {
        self.command_with(TOKEN, line)
    }

    pub(crate) fn command_with(&self, token: &str, line: &str) -> Command {
        let mut command = self.bare("endpoints", line);
        command.env("SOUNDHASH_API_TOKEN", token);
        command
    }

    /// Returns a command without a token.
    pub(crate) fn bare(&self, name: &str, line: &str) -> Command {
        let mut command = bare([name]);
        command
            .args(line.split_whitespace())
            .env("SOUNDHASH_API_URL", &self.url);
        command
    }

    /// Adds an endpoint, and returns its id.
    pub(crate) fn add(&self, body: &Value) -> u64 {
        let mut stored = self.stored.lock().unwrap();
        let id = stored.endpoints.keys().max().map_or(7, |id| id + 1);
        let mut endpoint = json!({
            "id": id, "user_id": 1, "tenant_id": null, "description": null, "is_active": true,
            "rate_limit_per_minute": null, "custom_headers": null,
            "total_deliveries": 0, "successful_deliveries": 0, "failed_deliveries": 0,
            "last_delivery_at": null, "last_success_at": null, "last_failure_at": null,
            "created_at": "2026-11-23T08:56:12.681555", "updated_at": "2026-11-23T08:56:12.681555",
        });
        for (name, value) in body.as_object().unwrap() {
            endpoint[name] = value.clone();
        }
        stored.endpoints.insert(id, endpoint);
        id
    }

    pub(crate) fn log(&self) -> Vec<(String, Value)> {
        self.stored.lock().unwrap().log.clone()
    }
}

/// Checks the token as SoundHash does, or commits the fault that the token selects.
async fn authorize(State(api): State<Api>, request: Request, next: Next) -> Response {
    let mut response = authorized(&api, request, next).await;
    let ahead = SignedDuration::from_secs(api.stored.lock().unwrap().clock_ahead);
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&(Timestamp::now() + ahead));
    let date = date.unwrap().parse().unwrap();
    response.headers_mut().insert(header::DATE, date);
    response
}

async fn authorized(api: &Api, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let token = bearer(&head.headers);
    let line = format!("{} {}", head.method, head.uri);
    let json = serde_json::from_slice(&body).unwrap_or_default();
    let count = {
        let log = &mut api.stored.lock().unwrap().log;
        log.push((line, json));
        log.len()
    };

    let is_open = ["/events", "/refresh"]
        .iter()
        .any(|it| head.uri.path().ends_with(it));
    match token.as_str() {
        _ if is_open => {}
        TOKEN => {}
        // Expires after the first request.
        "brief" if count == 1 => {}
        "busy" if count == 2 => {
            let headers = [(header::RETRY_AFTER, "0")];
            return (StatusCode::TOO_MANY_REQUESTS, headers, Json(json!({}))).into_response();
        }
        "unsteady" if count == 2 => {
            return error(StatusCode::SERVICE_UNAVAILABLE, "Restarting").into_response();
        }
        "busy" | "unsteady" => {}
        "" => return error(StatusCode::FORBIDDEN, "Not authenticated").into_response(),
        "inactive" => {
            return error(StatusCode::FORBIDDEN, "Inactive user account").into_response();
        }
        "limited" => {
            let answer = json!({
                "error": "Rate limit exceeded",
                "details": [{"code": "rate_limit", "message": "5 per 1 minute"}],
            });
            return (StatusCode::TOO_MANY_REQUESTS, Json(answer)).into_response();
        }
        "broken" => {
            let detail = "Failed to create webhook";
            return error(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response();
        }
        "proxy" => {
            let page = "<html>\u{1b}[31mBad Gateway</html>";
            let headers = [(header::CONTENT_TYPE, "text/html")];
            return (StatusCode::BAD_GATEWAY, headers, page).into_response();
        }
        "page" => return axum::response::Html("<html>Log in</html>").into_response(),
        "truncated" => {
            let headers = [(header::CONTENT_TYPE, "application/json")];
            return (headers, r#"[{"id": 1, "#).into_response();
        }
        "other-json" => return Json(json!({"status": "ok"})).into_response(),
        "redirect" => return Redirect::temporary("https://login.example.com/").into_response(),
        "slow" => {
            sleep(Duration::from_secs(20)).await;
        }
        _ => {
            let detail = "Could not validate credentials";
            return error(StatusCode::UNAUTHORIZED, detail).into_response();
        }
    }
    next.run(Request::from_parts(head, body.into())).await
}

fn bearer(headers: &HeaderMap) -> String {
    let value = headers.get(header::AUTHORIZATION);
    let value = value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value.strip_prefix("Bearer ").unwrap_or_default().to_owned()
}

async fn events() -> Json<Value> {
    Json(json!({"events": EVENTS, "descriptions": {}}))
}

async fn list(
    State(api): State<Api>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Json<Value> {
    let stored = api.stored.lock().unwrap();
    let endpoints = stored.endpoints.values().filter(|endpoint| {
        let is_active = query.get("is_active");
        is_active.is_none_or(|is_active| endpoint["is_active"] == (is_active == "true"))
    });
    Json(endpoints.cloned().collect())
}

fn validate(body: &Value) -> Result<(), (StatusCode, Json<Value>)> {
    let missing = |name| {
        let detail =
            json!([{"type": "too_long", "loc": ["body", name], "msg": "String is too long"}]);
        error(StatusCode::UNPROCESSABLE_ENTITY, detail)
    };
    if body["description"]
        .as_str()
        .is_some_and(|text| text.len() > 500)
    {
        return Err(missing("description"));
    }
    if let Some(url) = body["url"].as_str()
        && (!url.starts_with("http")
            || ["localhost", "127.0.0.1"].iter().any(|it| url.contains(it)))
    {
        let detail = "Invalid webhook URL. Must be HTTP/HTTPS and not localhost.";
        return Err(error(StatusCode::BAD_REQUEST, detail));
    }
    let mut events = body["events"].as_array().into_iter().flatten();
    if !events.all(|event| EVENTS.iter().any(|it| event == it)) {
        let detail = "Invalid event types. Use /webhooks/events to see supported events.";
        return Err(error(StatusCode::BAD_REQUEST, detail));
    }
    Ok(())
}

async fn create(State(api): State<Api>, body: Bytes) -> Answer {
    let mut body: Value = serde_json::from_slice(&body).unwrap();
    validate(&body)?;
    if let Some(body) = body.as_object_mut() {
        body.remove("secret");
    }
    let id = api.add(&body);
    let mut endpoint = api.stored.lock().unwrap().endpoints[&id].clone();
    endpoint["secret"] = json!(format!("made-by-soundhash-{id}"));
    Ok((StatusCode::CREATED, Json(endpoint)).into_response())
}

fn find(stored: &Stored, id: u64) -> Result<Value, (StatusCode, Json<Value>)> {
    // Endpoint 99 belongs to another account.
    if id == 99 {
        let detail = "Not authorized to access this webhook";
        return Err(error(StatusCode::FORBIDDEN, detail));
    }
    let endpoint = stored.endpoints.get(&id).cloned();
    endpoint.ok_or_else(|| error(StatusCode::NOT_FOUND, "Webhook not found"))
}

async fn show(State(api): State<Api>, Path(id): Path<u64>) -> Answer {
    Ok(Json(find(&api.stored.lock().unwrap(), id)?).into_response())
}

async fn update(State(api): State<Api>, Path(id): Path<u64>, body: Bytes) -> Answer {
    let body: Value = serde_json::from_slice(&body).unwrap();
    validate(&body)?;
    let mut stored = api.stored.lock().unwrap();
    let mut endpoint = find(&stored, id)?;
    for (name, value) in body.as_object().unwrap() {
        endpoint[name] = value.clone();
    }
    stored.endpoints.insert(id, endpoint.clone());
    Ok(Json(endpoint).into_response())
}

async fn delete(State(api): State<Api>, Path(id): Path<u64>) -> Answer {
    let mut stored = api.stored.lock().unwrap();
    find(&stored, id)?;
    stored.endpoints.remove(&id);
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn test(State(api): State<Api>, Path(id): Path<u64>, body: Bytes) -> Answer {
    find(&api.stored.lock().unwrap(), id)?;
    let body: Value = serde_json::from_slice(&body).unwrap();
    let answer = match body["event_type"].as_str().unwrap() {
        "rejected" => json!({
            "success": false, "status_code": 401, "response_body": "Invalid\u{1b}[2J signature",
            "error_message": null, "duration_ms": 12,
        }),
        "unreachable" => json!({
            "success": false, "status_code": null, "response_body": null,
            "error_message": "Cannot connect to host", "duration_ms": 30,
        }),
        _ => json!({
            "success": true, "status_code": 200, "response_body": "", "error_message": null,
            "duration_ms": 8,
        }),
    };
    Ok(Json(answer).into_response())
}

async fn refresh(body: Bytes) -> Answer {
    let body: Value = serde_json::from_slice(&body).unwrap();
    if body["refresh_token"] != REFRESH_TOKEN {
        return Err(error(StatusCode::UNAUTHORIZED, "Invalid refresh token"));
    }
    let answer = json!({
        "access_token": TOKEN, "refresh_token": REFRESH_TOKEN, "token_type": "bearer",
        "expires_in": 1800,
    });
    Ok(Json(answer).into_response())
}

/// Returns the latest attempts, as SoundHash does: there is no offset.
async fn deliveries(
    State(api): State<Api>,
    Path(id): Path<u64>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Answer {
    let stored = api.stored.lock().unwrap();
    find(&stored, id)?;
    let status = query.get("status");
    let limit: usize = query["limit"].parse().unwrap();
    let mut attempts: Vec<_> = (stored.deliveries.iter())
        .filter(|it| it["webhook_id"] == id)
        .filter(|it| status.is_none_or(|status| it["status"] == **status))
        .collect();
    attempts.sort_by_key(|it| Reverse(it["created_at"].as_str()));
    attempts.truncate(limit.min(1000));
    Ok(Json(json!(attempts)).into_response())
}

async fn stats(State(api): State<Api>, Path(id): Path<u64>) -> Answer {
    let endpoint = find(&api.stored.lock().unwrap(), id)?;
    let answer = json!({
        "webhook_id": id, "total_deliveries": endpoint["total_deliveries"],
        "successful_deliveries": endpoint["successful_deliveries"],
        "failed_deliveries": endpoint["failed_deliveries"], "success_rate": 97.5609,
        "average_response_time_ms": 41.6, "last_delivery_at": "2026-11-23T08:56:12.681555",
        "last_success_at": "2026-11-23T08:56:12.681555+00:00", "last_failure_at": null,
    });
    Ok(Json(answer).into_response())
}

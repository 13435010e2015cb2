//! A server that behaves like SoundHash's API. The token in a request selects the fault to
//! simulate.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::to_bytes,
    extract::{Query, Request, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{bare, check, serve};

pub(crate) const TOKEN: &str = "t0ken-0f-0urs";
pub(crate) const REFRESH_TOKEN: &str = "refr3sh";
const EVENTS: &str = "match.found video.processed job.failed user.created subscription.updated \
    api_limit.reached";

#[derive(Default)]
pub(crate) struct Stored {
    pub(crate) endpoints: BTreeMap<u64, Value>,
    pub(crate) deliveries: Vec<Value>,
    /// The method, path and body of each request.
    pub(crate) log: Vec<(String, Value)>,
    /// How many seconds the server's clock is ahead.
    pub(crate) clock_ahead: i64,
}

impl Stored {
    /// Adds an endpoint, and returns its id.
    fn add(&mut self, body: &Value) -> u64 {
        let id = self.endpoints.keys().max().map_or(7, |id| id + 1);
        let mut endpoint = json!({
            "id": id, "user_id": 1, "tenant_id": null, "description": null, "is_active": true,
            "rate_limit_per_minute": null, "custom_headers": null,
            "total_deliveries": 0, "successful_deliveries": 0, "failed_deliveries": 0,
            "last_delivery_at": null, "last_success_at": null, "last_failure_at": null,
            "created_at": "2026-11-23T08:56:12.681555", "updated_at": "2026-11-23T08:56:12.681555",
        });
        merge(&mut endpoint, body);
        self.endpoints.insert(id, endpoint);
        id
    }
}

pub(crate) struct Api {
    pub(crate) url: String,
    pub(crate) stored: Arc<Mutex<Stored>>,
}

impl Api {
    pub(crate) fn start() -> Self {
        let stored = Arc::<Mutex<Stored>>::default();
        let app = Router::new().fallback(respond).with_state(stored.clone());
        let url = format!("http://{}", serve(app));
        Self { url, stored }
    }

    /// Returns an `endpoints` command with the given arguments.
    pub(crate) fn command(&self, line: &str) -> Command {
        self.command_with(TOKEN, &format!("endpoints {line}"))
    }

    /// Runs `endpoints` for each row, which has the arguments, the expected exit status, and
    /// expected parts of the output.
    pub(crate) fn check(&self, rows: &str) {
        check(|line| self.command(line), rows);
    }

    pub(crate) fn command_with(&self, token: &str, line: &str) -> Command {
        let mut command = self.bare(line);
        command.env("SOUNDHASH_API_TOKEN", token);
        command
    }

    /// Returns a command with the API's URL but no token in its environment.
    pub(crate) fn bare(&self, line: &str) -> Command {
        let mut command = bare!("{line}");
        command.env("SOUNDHASH_API_URL", &self.url);
        command
    }

    pub(crate) fn add(&self, body: &Value) {
        self.stored.lock().unwrap().add(body);
    }

    pub(crate) fn log(&self) -> Vec<(String, Value)> {
        self.stored.lock().unwrap().log.clone()
    }
}

fn merge(endpoint: &mut Value, changes: &Value) {
    for (name, value) in changes.as_object().unwrap() {
        endpoint[name] = value.clone();
    }
}

/// A status and a JSON body, or an error status and its detail.
type Answer = Result<(StatusCode, Value), (StatusCode, Value)>;

/// Responds as SoundHash does, or simulates the fault that the token selects.
async fn respond(State(stored): State<Arc<Mutex<Stored>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let line = format!("{} {}", head.method, head.uri);
    let count = {
        let log = &mut stored.lock().unwrap().log;
        log.push((line.clone(), body.clone()));
        log.len()
    };
    let token = head.headers.get(header::AUTHORIZATION);
    let token = token.map_or("", |it| it.to_str().unwrap());
    let token = token.strip_prefix("Bearer ").unwrap_or_default();
    let fault = match line.ends_with("/events") || line.ends_with("/refresh") {
        true => None,
        false => fault(token, count).await,
    };
    let mut response = fault.unwrap_or_else(|| {
        let query = Query::try_from_uri(&head.uri).unwrap();
        let mut stored = stored.lock().unwrap();
        let answer = match line
            .split(['?', ' '])
            .nth(1)
            .unwrap()
            .strip_prefix("/api/v1/")
        {
            Some(path) => answer(&mut stored, head.method.as_str(), path, &query, &body),
            None => Err((StatusCode::NOT_FOUND, json!("Not Found"))),
        };
        match answer {
            Ok((StatusCode::NO_CONTENT, _)) => StatusCode::NO_CONTENT.into_response(),
            Ok((status, body)) => (status, Json(body)).into_response(),
            Err((status, detail)) => (status, Json(json!({ "detail": detail }))).into_response(),
        }
    });
    let ahead = SignedDuration::from_secs(stored.lock().unwrap().clock_ahead);
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&(Timestamp::now() + ahead));
    let date = date.unwrap().parse().unwrap();
    response.headers_mut().insert(header::DATE, date);
    response
}

async fn fault(token: &str, count: usize) -> Option<Response> {
    use StatusCode as S;

    let error =
        |status: S, detail: &str| (status, Json(json!({ "detail": detail }))).into_response();
    Some(match token {
        TOKEN => return None,
        // This token expires after the first request.
        "brief" if count == 1 => return None,
        "busy" if count == 2 => {
            let headers = [(header::RETRY_AFTER, "0")];
            (S::TOO_MANY_REQUESTS, headers, Json(json!({}))).into_response()
        }
        "unsteady" if count == 2 => error(S::SERVICE_UNAVAILABLE, "Restarting"),
        "busy" | "unsteady" => return None,
        "" => error(S::FORBIDDEN, "Not authenticated"),
        "inactive" => error(S::FORBIDDEN, "Inactive user account"),
        "limited" => {
            let details = json!([{"code": "rate_limit", "message": "5 per 1 minute"}]);
            let body = json!({"error": "Rate limit exceeded", "details": details});
            (S::TOO_MANY_REQUESTS, Json(body)).into_response()
        }
        "broken" => error(S::INTERNAL_SERVER_ERROR, "Failed to create webhook"),
        "proxy" => {
            let page = Html("<html>\u{1b}[31mBad Gateway</html>");
            (S::BAD_GATEWAY, page).into_response()
        }
        "page" => Html("<html>Log in</html>").into_response(),
        "truncated" => {
            let headers = [(header::CONTENT_TYPE, "application/json")];
            (headers, r#"[{"id": 1, "#).into_response()
        }
        "other-json" => Json(json!({"status": "ok"})).into_response(),
        // If these members were kept, they would take up a hundred times as much memory as their
        // text.
        "large" => format!("[{}0]", r#"{"a":0},"#.repeat(1_900_000)).into_response(),
        "redirect" => Redirect::temporary("https://login.example.com/").into_response(),
        "slow" => {
            sleep(Duration::from_secs(20)).await;
            return None;
        }
        _ => error(S::UNAUTHORIZED, "Could not validate credentials"),
    })
}

fn answer(
    stored: &mut Stored,
    method: &str,
    path: &str,
    query: &BTreeMap<String, String>,
    body: &Value,
) -> Answer {
    let (id, rest) = match path.split('/').collect::<Vec<_>>()[..] {
        ["webhooks"] => ("", ""),
        ["webhooks", id] => (id, ""),
        ["webhooks", id, rest] => (id, rest),
        ["auth", rest] => ("", rest),
        _ => return Err((StatusCode::NOT_FOUND, json!("Not Found"))),
    };
    let endpoint = match id.parse::<u64>() {
        Err(_) => None,
        // Endpoint 99 belongs to another account.
        Ok(99) => {
            let detail = json!("Not authorized to access this webhook");
            return Err((StatusCode::FORBIDDEN, detail));
        }
        Ok(id) => match stored.endpoints.get(&id) {
            Some(endpoint) => Some((id, endpoint.clone())),
            None => return Err((StatusCode::NOT_FOUND, json!("Webhook not found"))),
        },
    };
    let json = match (method, endpoint, rest) {
        ("GET", None, "") if id == "events" => {
            let events: Vec<_> = EVENTS.split(' ').collect();
            json!({"events": events, "descriptions": {}})
        }
        ("POST", None, "refresh") if body["refresh_token"] == REFRESH_TOKEN => {
            json!({"access_token": TOKEN, "token_type": "bearer", "expires_in": 1800})
        }
        ("POST", None, "refresh") => {
            return Err((StatusCode::UNAUTHORIZED, json!("Invalid refresh token")));
        }
        ("GET", None, _) => {
            let endpoints = stored.endpoints.values().filter(|endpoint| {
                let is_active = query.get("is_active");
                is_active.is_none_or(|is_active| endpoint["is_active"] == (is_active == "true"))
            });
            endpoints.cloned().collect()
        }
        ("POST", None, _) => {
            validate(body)?;
            let id = stored.add(body);
            let mut endpoint = stored.endpoints[&id].clone();
            endpoint["secret"] = json!(format!("made-by-soundhash-{id}"));
            return Ok((StatusCode::CREATED, endpoint));
        }
        ("GET", Some((_, endpoint)), "") => endpoint,
        ("PATCH", Some((id, mut endpoint)), _) => {
            validate(body)?;
            merge(&mut endpoint, body);
            stored.endpoints.insert(id, endpoint.clone());
            endpoint
        }
        ("DELETE", Some((id, _)), _) => {
            stored.endpoints.remove(&id);
            return Ok((StatusCode::NO_CONTENT, Value::Null));
        }
        ("POST", Some(_), "test") => tested(body["event_type"].as_str().unwrap()),
        ("GET", Some((id, _)), "deliveries") => deliveries(stored, id, query),
        ("GET", Some((id, endpoint)), "stats") => json!({
            "webhook_id": id, "total_deliveries": endpoint["total_deliveries"],
            "successful_deliveries": endpoint["successful_deliveries"],
            "failed_deliveries": endpoint["failed_deliveries"], "success_rate": 97.5609,
            "average_response_time_ms": 41.6, "last_delivery_at": "2026-11-23T08:56:12.681555",
            "last_success_at": "2026-11-23T08:56:12.681555+00:00", "last_failure_at": null,
        }),
        _ => return Err((StatusCode::METHOD_NOT_ALLOWED, json!("Method Not Allowed"))),
    };
    Ok((StatusCode::OK, json))
}

fn validate(body: &Value) -> Result<(), (StatusCode, Value)> {
    let description = body["description"].as_str().unwrap_or_default();
    if description.len() > 500 {
        let error = json!([{"loc": ["body", "description"], "msg": "String is too long"}]);
        return Err((StatusCode::UNPROCESSABLE_ENTITY, error));
    }
    let url = body["url"].as_str().unwrap_or("http");
    if !url.starts_with("http") || url.contains("localhost") || url.contains("127.0.0.1") {
        let detail = "Invalid webhook URL. Must be HTTP/HTTPS and not localhost.";
        return Err((StatusCode::BAD_REQUEST, json!(detail)));
    }
    let mut events = body["events"].as_array().into_iter().flatten();
    if !events.all(|event| EVENTS.split(' ').any(|it| event == it)) {
        let detail = "Invalid event types. Use /webhooks/events to see supported events.";
        return Err((StatusCode::BAD_REQUEST, json!(detail)));
    }
    Ok(())
}

/// Returns the latest attempts. Like SoundHash's API, it does not support an offset.
fn deliveries(stored: &Stored, id: u64, query: &BTreeMap<String, String>) -> Value {
    let status = query.get("status");
    let limit: usize = query["limit"].parse().unwrap();
    let mut attempts: Vec<_> = (stored.deliveries.iter())
        .filter(|it| it["webhook_id"] == id)
        .filter(|it| status.is_none_or(|status| it["status"] == **status))
        .collect();
    attempts.sort_by_key(|it| Reverse(it["created_at"].as_str()));
    attempts.truncate(limit.min(1000));
    json!(attempts)
}

fn tested(event_type: &str) -> Value {
    let (code, body, error) = match event_type {
        "rejected" => (Some(401), Some("Invalid\u{1b}[2J signature"), None),
        "unreachable" => (None, None, Some("Cannot connect to host")),
        _ => (Some(200), Some(""), None),
    };
    json!({
        "success": code == Some(200), "status_code": code, "response_body": body,
        "error_message": error, "duration_ms": 8,
    })
}

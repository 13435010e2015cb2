//! Calls the function as Lambda does: the function polls an HTTP server for events and posts its
//! responses.

use std::{process::Command, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;
use soundhash_webhook::Secret;
use soundhash_webhook_tests::{
    captures,
    process::{PATIENCE, Process},
    redis_server::RedisServer,
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
    time::timeout,
};

const SECRET: &str = "whsec_test";
/// A certificate for 127.0.0.1, its key, and the authority that signed it.
const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/cli/tests/tls");

/// A stand-in for Lambda's side of the runtime interface.
struct Lambda {
    process: Process,
    events: mpsc::Sender<Value>,
    responses: mpsc::Receiver<Value>,
}

type Runtime = Arc<(Mutex<mpsc::Receiver<Value>>, mpsc::Sender<Value>)>;

async fn next(State(runtime): State<Runtime>) -> impl IntoResponse {
    let event = runtime.0.lock().await.recv().await;
    let function = "arn:aws:lambda:eu-west-1:123456789012:function:soundhash";
    let headers = [
        ("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8"),
        ("lambda-runtime-deadline-ms", "32503680000000"),
        ("lambda-runtime-invoked-function-arn", function),
        ("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e8"),
    ];
    (headers, Json(event))
}

async fn respond(State(runtime): State<Runtime>, _: Path<String>, body: Bytes) -> StatusCode {
    let _ = runtime.1.send(serde_json::from_slice(&body).unwrap()).await;
    StatusCode::ACCEPTED
}

impl Lambda {
    async fn start(redis: &str) -> Self {
        let (events, receiver) = mpsc::channel(1);
        let (sender, responses) = mpsc::channel(1);
        let runtime: Runtime = Arc::new((Mutex::new(receiver), sender));
        let api = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(respond),
            )
            .with_state(runtime);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        tokio::spawn(async { axum::serve(listener, api).await });
        let process = Process::start(
            Command::new(env!("CARGO_BIN_EXE_lambda"))
                .env("AWS_LAMBDA_RUNTIME_API", addr)
                .env("AWS_LAMBDA_FUNCTION_NAME", "soundhash")
                .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
                .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
                .env("AWS_LAMBDA_LOG_STREAM_NAME", "stream")
                .env("AWS_LAMBDA_LOG_GROUP_NAME", "group")
                .env("SOUNDHASH_WEBHOOK_SECRET", SECRET)
                .env("SOUNDHASH_WEBHOOK_REDIS", redis)
                .env("SSL_CERT_FILE", format!("{CERTIFICATES}/ca.pem")),
        );
        Self {
            process,
            events,
            responses,
        }
    }

    /// Invokes the function and returns the status of its response.
    async fn call(&mut self, event: Value) -> u64 {
        self.events.send(event).await.unwrap();
        let response = timeout(PATIENCE, self.responses.recv()).await;
        let response = response.expect("a response of the function").unwrap();
        response["statusCode"].as_u64().unwrap()
    }
}

fn signature(body: &[u8]) -> String {
    Secret::new(SECRET).sign(body).to_string()
}

/// Returns the same delivery in every form that a gateway can send: from an HTTP API or a function
/// URL, from a REST API, and from a load balancer with single-value or multi-value headers.
fn forms(body: &[u8], signature: &str) -> Vec<Value> {
    let events = [
        include_str!("events/http_api.json"),
        include_str!("events/rest_api.json"),
        include_str!("events/load_balancer.json"),
        include_str!("events/load_balancer_multi_value.json"),
    ];
    let text = std::str::from_utf8(body).unwrap().to_owned();
    let forms = events.into_iter().flat_map(|event| {
        let event = event.replace("SIGNATURE", signature);
        [(text.clone(), false), (BASE64.encode(body), true)].map(|(body, is_base64)| {
            let mut event: Value = serde_json::from_str(&event).unwrap();
            event["body"] = body.into();
            event["isBase64Encoded"] = is_base64.into();
            event
        })
    });
    forms.collect()
}

#[tokio::test]
async fn every_form_of_event_is_verified_and_each_delivery_is_printed_once() {
    let redis = RedisServer::start();
    let url = redis.url();
    let mut instances = [Lambda::start(&url).await, Lambda::start(&url).await];
    let bodies = captures::bodies();
    for body in bodies.values() {
        let signature = signature(body);
        for (form, instance) in forms(body, &signature).into_iter().zip((0..2).cycle()) {
            assert_eq!(instances[instance].call(form.clone()).await, 200, "{form}");
        }
        let forged = "0".repeat(64);
        for form in forms(body, &forged) {
            assert_eq!(instances[0].call(form.clone()).await, 401, "{form}");
        }
    }
    let mut printed = 0;
    for (instance, gets_forgeries) in instances.into_iter().zip([true, false]) {
        instance.process.signal("TERM");
        let (_, lines, log) = instance.process.ended();
        assert_eq!(log.contains("wrong_signature"), gets_forgeries, "{log}");
        printed += lines.len();
    }
    assert_eq!(printed, bodies.len());
}

/// Most hosted Redis servers require TLS.
#[tokio::test]
async fn a_redis_server_can_require_tls() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let file = |name: &str| &*format!("{CERTIFICATES}/{name}").leak();
    let settings = [
        ["--tls-port", port.clone().leak()],
        ["--tls-cert-file", file("server.pem")],
        ["--tls-key-file", file("server.key")],
        ["--tls-auth-clients", "no"],
    ];
    let _redis = RedisServer::start_with(settings.concat().leak());
    let mut lambda = Lambda::start(&format!("rediss://127.0.0.1:{port}")).await;
    let bodies = captures::bodies();
    let body = bodies.values().next().unwrap();
    for form in forms(body, &signature(body)) {
        assert_eq!(lambda.call(form.clone()).await, 200, "{form}");
    }
    lambda.process.signal("TERM");
    let (_, lines, log) = lambda.process.ended();
    assert_eq!(lines.len(), 1, "{log}");
}

//! The function, called as Lambda calls it: it polls an HTTP server for events, and posts responses.

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
use serde_json::{Value, json};
use soundhash_webhook::{SIGNATURE_HEADER, Secret};
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
const PATH: &str = "/webhooks/soundhash";

/// The interface between Lambda and a function.
struct Lambda {
    process: Process,
    events: mpsc::Sender<Value>,
    responses: mpsc::Receiver<Value>,
}

type Runtime = Arc<(Mutex<mpsc::Receiver<Value>>, mpsc::Sender<Value>)>;

async fn next(State(runtime): State<Runtime>) -> impl IntoResponse {
    let event = runtime.0.lock().await.recv().await;
    let headers = [
        (
            "lambda-runtime-aws-request-id",
            "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        ),
        ("lambda-runtime-deadline-ms", "32503680000000"),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-west-1:123456789012:function:soundhash",
        ),
        (
            "lambda-runtime-trace-id",
            "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
        ),
    ];
    (headers, Json(event))
}

async fn respond(State(runtime): State<Runtime>, _: Path<String>, body: Bytes) -> StatusCode {
    let _ = runtime.1.send(serde_json::from_slice(&body).unwrap()).await;
    StatusCode::ACCEPTED
}

impl Lambda {
    async fn start(redis: &RedisServer) -> Self {
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
                .env("SOUNDHASH_WEBHOOK_REDIS", redis.url()),
        );
        Self {
            process,
            events,
            responses,
        }
    }

    /// Calls the function, and returns the status of its response.
    async fn call(&mut self, event: Value) -> u64 {
        self.events.send(event).await.unwrap();
        let response = timeout(PATIENCE, self.responses.recv()).await;
        let response = response.expect("a response of the function").unwrap();
        response["statusCode"].as_u64().unwrap()
    }
}

/// The body as a gateway passes it, and whether it is base64.
fn encoded(body: &[u8], base64: bool) -> (String, bool) {
    match base64 {
        true => (BASE64.encode(body), true),
        false => (String::from_utf8(body.to_vec()).unwrap(), false),
    }
}

fn signature(body: &[u8]) -> String {
    Secret::new(SECRET).sign(body).to_string()
}

/// An API Gateway with an HTTP API, or a function URL.
fn version_2(body: &[u8], signature: &str, base64: bool) -> Value {
    let (body, base64) = encoded(body, base64);
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": PATH,
        "rawQueryString": "",
        "headers": { SIGNATURE_HEADER.as_str(): signature, "content-type": "application/json" },
        "requestContext": {
            "accountId": "123456789012", "apiId": "api", "domainName": "id.execute-api.eu-west-1.amazonaws.com",
            "domainPrefix": "id", "requestId": "id", "routeKey": "$default", "stage": "$default",
            "time": "12/Mar/2026:19:03:58 +0000", "timeEpoch": 1_583_348_638_390_u64,
            "http": {
                "method": "POST", "path": PATH, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1",
                "userAgent": "SoundHash-Webhook/1.0"
            }
        },
        "body": body,
        "isBase64Encoded": base64
    })
}

/// An API Gateway with a REST API.
fn version_1(body: &[u8], signature: &str, base64: bool) -> Value {
    let (body, base64) = encoded(body, base64);
    json!({
        "resource": "/{proxy+}",
        "path": PATH,
        "httpMethod": "POST",
        "headers": { "X-Webhook-Signature": signature },
        "multiValueHeaders": { "X-Webhook-Signature": [signature] },
        "queryStringParameters": null,
        "multiValueQueryStringParameters": null,
        "pathParameters": { "proxy": "webhooks/soundhash" },
        "stageVariables": null,
        "requestContext": {
            "accountId": "123456789012", "apiId": "api", "httpMethod": "POST", "path": PATH,
            "protocol": "HTTP/1.1", "requestId": "id", "resourceId": "id", "resourcePath": "/{proxy+}",
            "stage": "$default", "identity": { "sourceIp": "192.0.2.1" }
        },
        "body": body,
        "isBase64Encoded": base64
    })
}

/// A load balancer, whose target group passes each header once or several times.
fn balancer(body: &[u8], signature: &str, base64: bool, several: bool) -> Value {
    let (body, base64) = encoded(body, base64);
    let mut event = json!({
        "requestContext": { "elb": { "targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/soundhash/1" } },
        "httpMethod": "POST",
        "path": PATH,
        "body": body,
        "isBase64Encoded": base64
    });
    if several {
        event["multiValueHeaders"] = json!({ SIGNATURE_HEADER.as_str(): [signature] });
        event["multiValueQueryStringParameters"] = json!({});
    } else {
        event["headers"] = json!({ SIGNATURE_HEADER.as_str(): signature });
        event["queryStringParameters"] = json!({});
    }
    event
}

/// The same delivery in each form that a gateway can give it.
fn forms(body: &[u8], signature: &str) -> [Value; 8] {
    [
        version_2(body, signature, false),
        version_2(body, signature, true),
        version_1(body, signature, false),
        version_1(body, signature, true),
        balancer(body, signature, false, false),
        balancer(body, signature, true, false),
        balancer(body, signature, false, true),
        balancer(body, signature, true, true),
    ]
}

#[tokio::test]
async fn every_form_of_event_is_verified_and_each_delivery_is_printed_once() {
    let redis = RedisServer::start();
    let mut instances = [Lambda::start(&redis).await, Lambda::start(&redis).await];
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
    for instance in instances {
        instance.process.signal("TERM");
        let (_, lines, log) = instance.process.ended();
        assert_eq!(log, "");
        printed += lines.len();
    }
    assert_eq!(printed, bodies.len());
}

//! The example as a process, and the service that it sends events on to.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::{Value, json};
use soundhash_webhook::{SIGNATURE_HEADER, Secret};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::timeout,
};

pub(crate) const SECRET: &str = "whsec_test";
/// How long anything may take on a busy machine: a worker is taken for dead after 5 s.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn event(id: &str) -> Value {
    json!({"type": "video.processed", "id": id, "data": {"video_id": 7, "title": "A song"}})
}

/// Sends the event as SoundHash does, and gives the status.
pub(crate) async fn deliver(receiver: &Program, secret: &str, event: &Value) -> u16 {
    let body = event.to_string();
    let signature = Secret::new(secret).sign(body.as_bytes()).to_string();
    let request = reqwest::Client::new()
        .post(&receiver.url)
        .header(SIGNATURE_HEADER, signature)
        .body(body);
    request.send().await.expect("an answer").status().as_u16()
}

/// The running example; killed when dropped.
pub(crate) struct Program {
    child: Child,
    /// Where it listens, if it does.
    pub(crate) url: String,
}

impl Program {
    /// `receive`, `work`, or both for an empty role.
    pub(crate) fn start(role: &str, redis: &str, forward: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_soundhash-webhook-queue-example"))
            .args(Some(role).filter(|role| !role.is_empty()))
            .env_remove("RUST_LOG")
            .env("SOUNDHASH_WEBHOOK_SECRET", SECRET)
            .env("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:0")
            .env("SOUNDHASH_WEBHOOK_REDIS", redis)
            .env("SOUNDHASH_WEBHOOK_FORWARD", forward)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut lines = log.lines().map_while(Result::ok);
        let listening = |line: String| Some(line.split_once("listening on ")?.1.to_owned());
        let url = if role == "work" {
            String::new()
        } else {
            lines.by_ref().find_map(listening).expect("it listens")
        };
        // Shown where the test fails, and read so that nobody waits for a full pipe.
        thread::spawn(move || lines.for_each(|line| println!("{line}")));
        Self { child, url }
    }

    /// As `kill -s`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &id]).status();
        assert!(kill.expect("kill").success());
    }

    pub(crate) async fn ended(mut self) -> ExitStatus {
        let ended = tokio::task::spawn_blocking(move || self.child.wait().expect("its status"));
        let ended = timeout(PATIENCE, ended).await.expect("an end in time");
        ended.expect("no panic")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Stands for the service: each request waits until the test answers it.
pub(crate) struct Service {
    pub(crate) url: String,
    requests: mpsc::UnboundedReceiver<Request>,
}

/// A request that was not answered yet. Dropped, it fails.
pub(crate) struct Request {
    pub(crate) key: String,
    event: Value,
    answer: oneshot::Sender<StatusCode>,
}

impl Request {
    pub(crate) fn answer(self, status: StatusCode) {
        // Nobody waits for the answer to a worker that was killed.
        let _ = self.answer.send(status);
    }
}

async fn serve(
    State(requests): State<mpsc::UnboundedSender<Request>>,
    headers: HeaderMap,
    Json(event): Json<Value>,
) -> StatusCode {
    let key = headers["idempotency-key"].to_str().expect("text");
    let (answer, answered) = oneshot::channel();
    let request = Request {
        key: key.to_owned(),
        event,
        answer,
    };
    // Nobody takes it where the test has ended.
    let _ = requests.send(request);
    answered.await.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

impl Service {
    pub(crate) async fn start() -> Self {
        let (sender, requests) = mpsc::unbounded_channel();
        let app = Router::new()
            .route("/events", post(serve))
            .with_state(sender);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        tokio::spawn(async { axum::serve(listener, app).await });
        let url = format!("http://{addr}/events");
        Self { url, requests }
    }

    /// The next request.
    pub(crate) async fn asked(&mut self) -> Request {
        let request = timeout(PATIENCE, self.requests.recv()).await;
        request.expect("a request in time").expect("a request")
    }

    /// The next request's key and event; it is answered with `status`.
    pub(crate) async fn gets(&mut self, status: StatusCode) -> (String, Value) {
        let mut request = self.asked().await;
        let (key, event) = (request.key.clone(), request.event.take());
        request.answer(status);
        (key, event)
    }

    /// Longer than a worker needs for a job that is there.
    pub(crate) async fn gets_nothing(&mut self) {
        let request = timeout(Duration::from_secs(2), self.requests.recv()).await;
        let key = request.ok().flatten().map(|request| request.key);
        assert_eq!(key, None);
    }
}

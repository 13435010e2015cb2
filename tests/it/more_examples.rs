//! The examples that show a single thing, as programs that do what their first lines promise.

use std::{
    fs,
    path::PathBuf,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::header;
use reqwest::Client;
use serde_json::{Value, json};
use soundhash_webhook::{SIGNATURE_HEADER, Secret};
use tokio::{io::AsyncWriteExt, process::Command, task::JoinHandle, time::sleep};

use crate::{
    process::{Receiver, begin, example, exchange, response_head, status},
    support::{BODY, head, sign},
};

/// Sends the usual body to `url`, signed with `secret`, and returns the status.
async fn deliver(client: &Client, url: &str, secret: &str) -> u16 {
    let request = client
        .post(url)
        .header(SIGNATURE_HEADER, Secret::new(secret).sign(BODY).to_string())
        .body(BODY);
    request.send().await.unwrap().status().as_u16()
}

// ---- rotation

/// Sends deliveries one after the other until it is stopped, and counts them.
struct Sender {
    sent: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Sender {
    fn start(url: &str, secret: &'static str) -> Self {
        let sent = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let (sent, stop, url) = (sent.clone(), stop.clone(), url.to_owned());
            async move {
                let client = Client::new();
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(deliver(&client, &url, secret).await, 200, "{secret}");
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { sent, stop, task }
    }

    /// Waits for some more deliveries.
    async fn go_on(&self) {
        let until = self.sent.load(Ordering::Relaxed) + 5;
        while self.sent.load(Ordering::Relaxed) < until && !self.task.is_finished() {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Stops, and fails if a delivery was rejected.
    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        assert!(self.sent.load(Ordering::Relaxed) > 0);
    }
}

// The senders have separate threads, so that they continue while this one waits for the log.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_rotated_without_rejecting_a_delivery() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("rotation-secrets");
    fs::write(&file, "whsec_old\n").unwrap();
    let mut receiver = Receiver::of(
        "rotation",
        &[("SOUNDHASH_WEBHOOK_SECRETS", file.to_str().unwrap())],
    );
    let url = receiver.url();
    let client = Client::new();
    let mut secrets = |lines: &str, log: &str| {
        fs::write(&file, lines).unwrap();
        receiver.signal("HUP");
        receiver.wait_for_log(log)
    };

    let old = Sender::start(&url, "whsec_old");
    old.go_on().await;
    assert_eq!(deliver(&client, &url, "whsec_new").await, 401);

    // Both secrets are valid, and stay valid during every other change.
    secrets("whsec_new\nwhsec_old\n", "2 valid");
    let new = Sender::start(&url, "whsec_new");
    for _ in 0..10 {
        secrets("whsec_old\n\nwhsec_other\nwhsec_new\n", "3 valid");
        new.go_on().await;
        secrets("whsec_new\r\nwhsec_old", "2 valid");
        old.go_on().await;
    }
    // SoundHash is not locked out by a broken file or a missing file.
    secrets("\n", "the old secrets stay valid: secret is empty");
    secrets(
        "1\n2\n3\n4\n5\n",
        "the old secrets stay valid: more than four",
    );
    new.go_on().await;
    old.go_on().await;

    // SoundHash signs with the new secret only, so the old one can be removed.
    old.stop().await;
    secrets("whsec_new\n", "1 valid");
    assert_eq!(deliver(&client, &url, "whsec_old").await, 401);
    new.go_on().await;
    new.stop().await;

    receiver.signal("KILL");
    let (_, lines, log) = receiver.ended();
    assert!(lines.contains(&"video.processed 0".to_owned()));
    assert!(lines.contains(&"video.processed 1".to_owned()));
    assert!(log.contains("signed with secret 1"), "{log}");
    assert!(!log.contains("whsec_"), "{log}");
}

// ---- tenants

#[cfg(feature = "cache")]
#[tokio::test]
async fn each_tenant_is_looked_up_once() {
    let receiver = Receiver::of("tenants", &[]);
    let client = Client::new();
    let deliver = async |endpoint: &str, secret: &str| {
        let url = format!("http://{}/webhooks/{endpoint}", receiver.addr);
        deliver(&client, &url, secret).await
    };
    // All requests are sent at once, so that none of them finds a cached secret.
    let statuses = tokio::join!(
        deliver("acme", "whsec_acme"),
        deliver("acme", "whsec_acme"),
        deliver("acme", "whsec_acme"),
        deliver("globex", "whsec_globex_old"),
    );
    assert_eq!(statuses, (200, 200, 200, 200));
    for _ in 0..3 {
        assert_eq!(deliver("acme", "whsec_acme").await, 200);
        // Attack: a tenant signs in the name of another tenant.
        assert_eq!(deliver("globex", "whsec_acme").await, 401);
        // Attack: send unknown names, so that each asks the database.
        assert_eq!(deliver("nobody", "whsec_acme").await, 401);
        // Attack: fill the memory with names.
        assert_eq!(deliver(&"n".repeat(257), "whsec_acme").await, 401);
        // The lookup fails. SoundHash sends the delivery again, and the provider looks it up again.
        assert_eq!(deliver("initech", "whsec_initech").await, 503);
    }
    receiver.signal("KILL");
    let (_, mut lines, log) = receiver.ended();
    let lookups = |name: &str| log.matches(&format!("looking up \"{name}\"")).count();
    assert_eq!(
        ["acme", "globex", "nobody", "initech"].map(lookups),
        [1, 1, 1, 3],
        "{log}"
    );
    assert_eq!(lookups(&"n".repeat(257)), 0);
    lines.sort();
    assert_eq!(lines[..6], ["acme video.processed"; 6]);
    assert_eq!(lines[6..], ["globex video.processed"]);
}

// ---- rejections

#[tokio::test]
async fn a_rejection_gets_a_custom_response_and_an_audit_line() {
    let receiver = Receiver::of("rejections", &[]);
    let client = Client::new();
    let accepted = deliver(&client, &receiver.url(), "whsec_test").await;
    assert_eq!(accepted, 200);

    let audit = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let mut texts = Vec::new();
    for (signature, reason) in [
        (None, "missing_signature"),
        (Some("sha256=00"), "malformed_signature"),
        (Some(&*sign(b"another")), "wrong_signature"),
    ] {
        let mut request = client.post(receiver.url()).body(BODY);
        if let Some(signature) = signature {
            request = request.header(SIGNATURE_HEADER, signature);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401);
        assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
        let content_type = &response.headers()[header::CONTENT_TYPE];
        assert_eq!(content_type, "application/problem+json");
        texts.push(response.text().await.unwrap());
        let path = "/webhooks/soundhash";
        let line = json!({"path": path, "peer": "127.0.0.1", "reason": reason, "status": 401});
        assert_eq!(audit(&receiver.line()), line);
    }
    // The sender does not learn the reason.
    assert_eq!(texts, [r#"{"status":401,"title":"Unauthorized"}"#; 3]);

    let too_large = head(&"0".repeat(64), 2_000_000);
    let head = exchange(&receiver.addr, too_large.as_bytes()).await;
    assert_eq!(status(&head), "413");
    assert_eq!(audit(&receiver.line())["reason"], "body_too_large");

    receiver.signal("KILL");
    let (_, lines, _) = receiver.ended();
    assert_eq!(lines, [""; 0], "a line for each rejection, and no others");
}

// ---- plain_tower

#[tokio::test]
async fn a_delivery_is_verified_without_axum() {
    let mut receiver = Receiver::of("plain_tower", &[]);
    let client = Client::new();
    let url = receiver.url();
    assert_eq!(deliver(&client, &url, "whsec_test").await, 200);
    assert_eq!(receiver.line(), "video.processed");
    assert_eq!(deliver(&client, &url, "whsec_wrong").await, 401);
    let elsewhere = format!("http://{}/", receiver.addr);
    assert_eq!(deliver(&client, &elsewhere, "whsec_test").await, 404);
    // Signed, but not an event.
    let request = client.post(&url).header(SIGNATURE_HEADER, sign(b"hello"));
    let response = request.body("hello").send().await.unwrap();
    assert_eq!(response.status(), 400);

    // Requests in progress are completed when the program stops.
    let head = head(&sign(BODY), BODY.len());
    let mut in_flight = begin(&receiver.addr, &head).await;
    receiver.signal("INT");
    receiver.wait_for_log("stopping");
    in_flight.write_all(BODY).await.unwrap();
    assert_eq!(status(&response_head(&mut in_flight).await), "200");
    let (status, lines, _) = receiver.ended();
    assert_eq!(status.code(), Some(0));
    assert_eq!(lines, ["video.processed"]);
}

/// Attack: start a request and never finish its head.
#[tokio::test]
async fn an_unfinished_head_ends_the_connection_without_axum() {
    let receiver = Receiver::of("plain_tower", &[]);
    let head = exchange(&receiver.addr, b"POST / HTTP/1.1\r\n").await;
    assert!(head.is_empty() || status(&head) == "408", "{head}");
}

// ---- hostile

#[tokio::test]
async fn hostile_finds_two_mistakes_and_none_where_there_is_none() {
    let output = Command::new(example("hostile")).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let (report, _) = printed(&output);
    let (head, legacy) = report
        .split_once("wrong, /webhooks/legacy: 22 failures\n")
        .expect("three parts");
    assert_eq!(
        head,
        "right, /webhooks/soundhash: 0 failures\n\
         wrong, /webhooks/soundhash: 1 failures\n\
         Something other than the layer read its body: it is outside of the layer and reads \
         unverified bodies before any limit applies. Put it inside of the layer, where it gets \
         the verified body.\n\
         - no signature, and a body that waits for a 100: responded with 401\n"
    );
    assert!(legacy.starts_with("Nothing verified it:"), "{legacy}");
    assert!(legacy.contains("- no signature: responded with 200 and not 401\n"));
}

// ---- the guides' shell lines

fn printed(output: &Output) -> (&str, &str) {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// The lines of the quick start are accepted, and are rejected after a single letter is changed.
#[tokio::test]
async fn the_shell_lines_of_the_quick_start_are_a_delivery() {
    let guide = include_str!("../../docs/guide/quick_start.md");
    let receiver = Receiver::of("receiver", &[]);
    let parts = ["body=", "signature=", "curl "];
    let lines: Vec<_> = guide
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .filter(|line| parts.iter().any(|it| line.starts_with(it)))
        .collect();
    assert_eq!(lines.len(), 3);
    let script = lines.join("\n").replace("127.0.0.1:3000", &receiver.addr);
    let changed = script.replace("curl", "body=${body%?}]; curl");
    for (script, status) in [(script, "200 OK"), (changed, "401 Unauthorized")] {
        let tools = "command -v openssl curl >/dev/null || exit 77\n";
        let script = tools.to_owned() + &script;
        let output = Command::new("sh").args(["-c", &script]).output().await;
        let output = output.unwrap();
        if output.status.code() == Some(77) {
            eprintln!("openssl or curl is missing: not tried");
            return;
        }
        let (response, _) = printed(&output);
        let start = format!("HTTP/1.1 {status}");
        assert!(response.starts_with(&start), "{response}");
    }
    assert!(receiver.line().contains(r#""title":"A song""#));
}

//! The examples over real sockets, with the requests that SoundHash sent.

use std::{collections::HashMap, process::Command, time::Duration};

use serde_json::{Value, json};
use soundhash_webhook::Secret;
use soundhash_webhook_tests::captures;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    process::{Output, Receiver, begin, example, exchange, response_head, status},
    support::{BODY, head, sign, signed_bytes},
};

/// The requests were recorded at another path, which is not signed.
fn at_our_path(request: &[u8]) -> Vec<u8> {
    let line_end = request.iter().position(|&byte| byte == b'\r').unwrap();
    [b"POST /webhooks/soundhash HTTP/1.1", &request[line_end..]].concat()
}

// ---- receiver

#[tokio::test]
async fn the_receiver_prints_every_event_that_soundhash_really_sent() {
    let receiver = Receiver::start(&[]);
    let bodies = captures::bodies();
    for (name, request) in captures::requests() {
        let body: Value = serde_json::from_slice(&bodies[&name]).unwrap();
        let head = exchange(&receiver.addr, &at_our_path(&request)).await;
        assert_eq!(status(&head), "200", "{name}");
        let event: Value = serde_json::from_str(&receiver.line()).unwrap();
        let id = body.get("delivery_id").or(body.get("id")).unwrap();
        assert_eq!(event["id"], *id, "{name}");
        let event_type = body.get("event").or(body.get("type")).unwrap();
        assert_eq!(event["type"], *event_type, "{name}");
        let time = event["created_at"].as_str().unwrap();
        assert!(time.ends_with('Z'), "{name}");
        assert!(event["data"].is_object(), "{name}");
    }
    receiver.signal("TERM");
    let (status, stdout, _) = receiver.ended();
    assert!(status.success());
    assert_eq!(stdout, [] as [&str; 0], "stdout is for events only");
}

#[tokio::test]
async fn health_is_open_and_the_webhook_is_not() {
    let receiver = Receiver::start(&[]);
    let get = |path| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = exchange(&receiver.addr, get("/healthz").as_bytes()).await;
    assert_eq!(status(&head), "200");
    let unsigned = b"POST /webhooks/soundhash HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(status(&exchange(&receiver.addr, unsigned).await), "401");
}

/// Attack: read the secret from the log, or from a process list after the line was pasted.
#[tokio::test]
async fn a_given_secret_is_printed_nowhere() {
    let secret = "whsec_0nly-f0r-us";
    let mut receiver =
        Receiver::start(&[("SOUNDHASH_WEBHOOK_SECRET", secret), ("RUST_LOG", "trace")]);
    let signature = Secret::new(secret).sign(BODY).to_string();
    let right = [head(&signature, BODY.len()).as_bytes(), BODY].concat();
    assert_eq!(status(&exchange(&receiver.addr, &right).await), "200");
    let wrong = signed_bytes(BODY);
    assert_eq!(status(&exchange(&receiver.addr, &wrong).await), "401");
    let line = receiver.line();
    assert!(!receiver.log().contains("ANYBODY"));
    receiver.signal("INT");
    let (_, _, log) = receiver.ended();
    for text in [log, line] {
        assert!(!text.contains("0nly"), "{text}");
    }
}

#[test]
fn a_secret_that_cannot_be_right_stops_the_receiver() {
    let started = Command::new(example("receiver"))
        .env("SOUNDHASH_WEBHOOK_SECRET", "whsec_padded\n")
        .env("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:0")
        .output()
        .unwrap();
    assert!(!started.status.success());
    let log = String::from_utf8(started.stderr).unwrap();
    assert!(log.contains("whitespace"), "{log}");
    assert!(!log.contains("whsec_padded"), "{log}");
}

#[tokio::test]
async fn the_printed_curl_line_is_a_valid_delivery() {
    let mut receiver = Receiver::start(&[("SOUNDHASH_WEBHOOK_SECRET", "whsec_other")]);
    let log = receiver.log();
    let line = log.lines().find(|line| line.starts_with("curl ")).unwrap();
    // curl may not be installed here, but a shell is. The shell splits the line.
    let script = format!(r#"set -- {line}; for a; do printf '%s\n' "$a"; done"#);
    let arguments = Command::new("sh").args(["-c", &script]).output().unwrap();
    let arguments = String::from_utf8(arguments.stdout).unwrap();
    let mut arguments = arguments.lines();
    let mut request = reqwest::Client::new().post(receiver.url());
    while let Some(argument) = arguments.next() {
        if argument == "-H" {
            let (name, value) = arguments.next().unwrap().split_once(": ").unwrap();
            request = request.header(name, value);
        } else if argument == "--data-binary" {
            request = request.body(arguments.next().unwrap().to_owned());
        }
    }
    assert_eq!(request.send().await.unwrap().status(), 200);
    receiver.line();
}

/// Requests in progress are finished, new ones are not accepted, and the exit status is 0.
#[tokio::test]
async fn sigterm_and_sigint_stop_it_gracefully() {
    for signal in ["TERM", "INT"] {
        let mut receiver = Receiver::start(&[]);
        let head = head(&sign(BODY), BODY.len());
        let mut in_flight = begin(&receiver.addr, &head).await;
        receiver.signal(signal);
        receiver.wait_for_log("stopping");
        in_flight.write_all(BODY).await.unwrap();
        assert_eq!(status(&response_head(&mut in_flight).await), "200");
        // The line is written just before the socket is closed.
        let closed = async {
            while TcpStream::connect(&receiver.addr).await.is_ok() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), closed).await.unwrap();
        let (status, stdout, _) = receiver.ended();
        assert_eq!(status.code(), Some(0));
        assert_eq!(stdout.len(), 1);
    }
}

/// A receiver whose handler never ends ends at the second signal, with the usual status.
#[cfg(unix)]
#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    use std::os::unix::process::ExitStatusExt;

    let mut receiver = Receiver::start(&[]);
    let head = head(&sign(BODY), BODY.len());
    let _in_flight = begin(&receiver.addr, &head).await;
    receiver.signal("INT");
    receiver.wait_for_log("stopping");
    receiver.signal("TERM");
    let (status, _, _) = receiver.ended();
    assert_eq!(status.signal(), Some(15));
}

/// A reader that does not read, a reader that ended, a full disk, and streams that are closed at
/// the start. A delivery gets 200 only if its event was printed, and every one gets a response.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receiver_serves_whatever_happens_to_its_output() {
    const DELIVERIES: usize = 200;
    // Together, the events are longer than the buffer of a pipe.
    let title = "x".repeat(1000);
    let body = json!({"type": "video.processed", "id": "a", "data": {"title": title}}).to_string();
    let delivery = signed_bytes(body.as_bytes());
    for output in Output::FAULTS {
        for level in ["info", "debug"] {
            let mut command = Command::new(example("receiver"));
            command
                .env("SOUNDHASH_WEBHOOK_IDEMPOTENCY", "off")
                .env("RUST_LOG", level);
            let receiver = Receiver::with_output(&command, output);
            let mut deliveries = JoinSet::new();
            for _ in 0..DELIVERIES {
                let (addr, delivery) = (receiver.addr.clone(), delivery.clone());
                deliveries.spawn(async move { exchange(&addr, &delivery).await });
            }
            let mut statuses = HashMap::new();
            for response in deliveries.join_all().await {
                *statuses.entry(status(&response).to_owned()).or_insert(0) += 1;
            }
            let printed = statuses.remove("200").unwrap_or(0);
            let expected = match output {
                // It prints to `/dev/null`, which Rust opens in this case.
                Output::Closed => printed == DELIVERIES,
                Output::Unread => (1..DELIVERIES).contains(&printed),
                _ => printed == 0,
            };
            assert!(expected, "{output:?}, {level}: {printed} printed");
            let retried = statuses.remove("503").unwrap_or(0);
            let served = printed + retried;
            assert_eq!(served, DELIVERIES, "{output:?}, {level}: {statuses:?}");
            receiver.signal("TERM");
            let (status, _, _) = receiver.ended();
            assert_eq!(status.code(), Some(0), "{output:?}, {level}");
        }
    }
}

#[test]
fn an_address_that_is_in_use_is_named() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = other.local_addr().unwrap().to_string();
    for name in ["receiver", "plain_tower"] {
        let started = Command::new(example(name))
            .env("SOUNDHASH_WEBHOOK_ADDR", &addr)
            .output()
            .unwrap();
        assert_eq!(started.status.code(), Some(1));
        let log = String::from_utf8(started.stderr).unwrap();
        let error = format!("SOUNDHASH_WEBHOOK_ADDR: cannot listen on \"{addr}\"");
        assert!(log.contains(&error), "{log}");
    }
}

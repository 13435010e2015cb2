//! Runs the examples, and checks over sockets that they do what their docs promise.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use axum::http::header;
use reqwest::Client;
use serde_json::{Value, json};
use soundhash_webhook::{SIGNATURE_HEADER, Secret};
use soundhash_webhook_tests::{captures, requests};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    process::{
        Output, PATIENCE, Receiver, begin, example, exchange, response_head, signal, status,
    },
    support::{BODY, head, sign, signed_bytes},
};

/// Replaces the request's path, which is not signed, because the requests were recorded with a
/// different one.
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

/// A compose file passes an unset variable as an empty one.
#[tokio::test]
async fn an_empty_filter_does_not_hide_the_log() {
    let mut receiver = Receiver::start(&[("RUST_LOG", "")]);
    assert!(receiver.log().contains("ANYONE CAN SIGN"));
}

/// Attack: read the secret, or a delivery that is signed with it, from the log.
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
    assert!(!receiver.log().contains("ANYONE"));
    receiver.signal("INT");
    let (_, _, log) = receiver.ended();
    for text in [log, line] {
        assert!(
            !text.contains("0nly") && !text.contains("X-Webhook-Signature"),
            "{text}"
        );
    }
}

/// Attack: an event that moves the cursor, reverses the text direction or starts a new line.
#[tokio::test]
async fn a_senders_text_cannot_control_the_terminal() {
    let text = "a\u{9b}2J\u{202e}b\nforged";
    let body = json!({"type": text, "id": text, "data": {}}).to_string();
    for name in ["receiver", "plain_tower"] {
        let receiver = Receiver::of(name, &[]);
        let head = exchange(&receiver.addr, &signed_bytes(body.as_bytes())).await;
        assert_eq!(status(&head), "200");
        let line = receiver.line();
        assert!(
            line.is_ascii() && line.contains("forged"),
            "{name}: {line:?}"
        );
        assert!(line.contains(r"\u009b2J\u202eb"), "{name}: {line:?}");
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
    let mut receiver = Receiver::start(&[]);
    let log = receiver.log();
    let line = log.lines().find(|line| line.starts_with("curl ")).unwrap();
    // A shell splits the command line into arguments but does not run it, because curl may not be
    // installed.
    let script = format!(r#"set -- {line}; for a; do printf '%s\n' "$a"; done"#);
    let arguments = Command::new("sh").args(["-c", &script]).output().unwrap();
    let arguments = String::from_utf8(arguments.stdout).unwrap();
    let mut arguments = arguments.lines();
    let mut request = Client::new().post(receiver.url());
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

/// After either signal, requests in progress finish, new connections are refused, and the exit
/// status is 0.
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
        // The receiver logs `stopping` just before it closes the listening socket.
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

/// If a handler never ends, a second signal kills the receiver, with the usual exit status for that
/// signal.
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

/// The kernel ignores the default actions of the first process in a container.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_second_signal_ends_it_at_once_in_a_container() {
    use std::os::unix::fs::MetadataExt;

    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return eprintln!("skipped: only root can start a process in a new namespace");
    }
    let mut container = Command::new("unshare");
    container.args(["--pid", "--fork", "--kill-child"]);
    container.arg(example("receiver"));
    let mut receiver = Receiver::listening(container.env("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:0"));
    let id = receiver.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let first = children.trim().parse().unwrap();
    let _in_flight = begin(&receiver.addr, &head(&sign(BODY), BODY.len())).await;
    signal(first, "TERM");
    receiver.wait_for_log("stopping");
    signal(first, "TERM");
    assert_eq!(receiver.ended().0.code(), Some(128 + 15));
}

/// Attack: fill the log. `h2` logs each connection that resets many streams.
#[tokio::test]
async fn reset_streams_are_not_logged() {
    let receiver = Receiver::start(&[]);
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings].concat();
    for id in (1..400_u32).step_by(2).map(u32::to_be_bytes) {
        let (headers, reset) = ([0, 0, 3, 1, 5], [0, 0, 4, 3, 0]);
        // `GET http:/`, and the code for a canceled stream.
        let (request, code) = ([0x82, 0x86, 0x84], [0, 0, 0, 8]);
        bytes.extend(
            [headers, reset]
                .into_iter()
                .zip([&request[..], &code])
                .flat_map(|(head, payload)| [&head[..], &id, payload].concat()),
        );
    }
    for _ in 0..5 {
        let mut peer = TcpStream::connect(&receiver.addr).await.unwrap();
        peer.write_all(&bytes).await.unwrap();
        // The server closes the connection once it has read the resets.
        let closed = timeout(PATIENCE, peer.read_to_end(&mut Vec::new())).await;
        let _ = closed.expect("the connection is closed");
    }
    receiver.signal("TERM");
    let (_, _, log) = receiver.ended();
    assert!(!log.contains("h2::"), "{log}");
}

/// Attack: repeat a recorded delivery. Returns the log and the number of minutes that it covers.
async fn log_of_a_repeated_delivery(program: &str) -> (String, u64) {
    let receiver = Receiver::of(program, &[]);
    let begin = Instant::now();
    let delivery = signed_bytes(BODY);
    for _ in 0..1_200 {
        assert_eq!(status(&exchange(&receiver.addr, &delivery).await), "200");
    }
    let minutes = begin.elapsed().as_secs() / 60 + 1;
    receiver.signal("TERM");
    (receiver.ended().2, minutes)
}

#[tokio::test]
async fn repeated_deliveries_do_not_flood_the_log() {
    let (log, minutes) = log_of_a_repeated_delivery("receiver").await;
    let lines = log.matches("webhook already handled").count() as u64;
    assert!((1_000..=1_000 * minutes).contains(&lines), "{lines} lines");
    let says_so = log
        .matches("1000 lines like the next one within a minute")
        .count() as u64;
    assert!((1..=minutes).contains(&says_so) || minutes > 1, "{log}");
}

/// The example's handler logs each delivery, because it does not recognize duplicates.
#[tokio::test]
async fn the_lines_of_a_handler_do_not_flood_the_log() {
    let (log, minutes) = log_of_a_repeated_delivery("rejections").await;
    let lines = log.matches("received").count() as u64;
    assert!((1_000..=1_000 * minutes).contains(&lines), "{lines} lines");
    assert!(log.contains("the rest is left out") || minutes > 1, "{log}");
}

/// Even if the output is not read, has lost its reader, is on a full disk or is closed from the
/// start, every delivery gets a response. It is 200 only if the event was printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receiver_serves_whatever_happens_to_its_output() {
    const DELIVERIES: usize = 200;
    // Together, the events exceed a pipe's buffer.
    let title = "x".repeat(1000);
    let deliveries: Vec<_> = (0..DELIVERIES)
        .map(|id| {
            let id = id.to_string();
            let event = json!({"type": "video.processed", "id": id, "data": {"title": title}});
            signed_bytes(event.to_string().as_bytes())
        })
        .collect();
    for output in Output::FAULTS {
        for level in ["info", "debug"] {
            let mut command = Command::new(example("receiver"));
            command
                .env("SOUNDHASH_WEBHOOK_IDEMPOTENCY", "off")
                .env("RUST_LOG", level);
            let receiver = Receiver::with_output(&command, output);
            let mut exchanges = JoinSet::new();
            for delivery in deliveries.clone() {
                let addr = receiver.addr.clone();
                exchanges.spawn(async move { exchange(&addr, &delivery).await });
            }
            let mut statuses = HashMap::new();
            for response in exchanges.join_all().await {
                *statuses.entry(status(&response).to_owned()).or_insert(0) += 1;
            }
            let printed = statuses.remove("200").unwrap_or(0);
            let expected = match output {
                // If a stream is closed, Rust opens `/dev/null` in its place, so printing succeeds.
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
    let started = Command::new(example("receiver"))
        .env("SOUNDHASH_WEBHOOK_ADDR", &addr)
        .output()
        .unwrap();
    assert_eq!(started.status.code(), Some(1));
    let log = String::from_utf8(started.stderr).unwrap();
    let error = format!("SOUNDHASH_WEBHOOK_ADDR: cannot listen on \"{addr}\"");
    assert!(log.contains(&error), "{log}");
}

/// Sends the usual body to `url`, signed with `secret`, and returns the status.
async fn deliver(url: &str, secret: &str) -> u16 {
    let status = requests::deliver(url, secret, BODY).await;
    status.expect("a response")
}

// ---- rotation

#[cfg(unix)]
#[tokio::test]
async fn secrets_are_rotated_by_a_signal_and_a_broken_file_changes_nothing() {
    // The statuses of two deliveries, one signed with the old secret and one with the new secret.
    const OLD: &[u16] = &[200, 401];
    const BOTH: &[u16] = &[200, 200];
    const NEW: &[u16] = &[401, 200];
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("rotation-secrets");
    // An earlier run that failed may have left a named pipe.
    let _ = fs::remove_file(&file);
    fs::write(&file, "whsec_old\n").unwrap();
    let mut receiver = Receiver::of(
        "rotation",
        &[("SOUNDHASH_WEBHOOK_SECRETS", file.to_str().unwrap())],
    );
    let url = receiver.url();
    for (lines, log, statuses) in [
        ("whsec_old\n", "1 valid", OLD),
        ("whsec_new\nwhsec_old\n", "2 valid", BOTH),
        ("whsec_old\n\nwhsec_other\nwhsec_new\n", "3 valid", BOTH),
        ("whsec_new\r\nwhsec_old", "2 valid", BOTH),
        // A broken file must not lock SoundHash out.
        ("\n", "the old secrets stay valid: secret is empty", BOTH),
        (
            "1\n2\n3\n4\n5\n",
            "the old secrets stay valid: more than four",
            BOTH,
        ),
        (
            "\u{feff}whsec_other\n",
            "the old secrets stay valid: secret contains an invisible character",
            BOTH,
        ),
        (&"\n".repeat(100_000), "too long: set it to a file", BOTH),
        ("whsec_new\n", "1 valid", NEW),
    ] {
        fs::write(&file, lines).unwrap();
        receiver.signal("HUP");
        receiver.wait_for_log(log);
        for (secret, status) in ["whsec_old", "whsec_new"].into_iter().zip(statuses) {
            assert_eq!(deliver(&url, secret).await, *status, "{lines:?}");
        }
    }

    // Nobody writes to the pipe, so it blocks. Deliveries go on, and so does the next signal.
    fs::remove_file(&file).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&file)
            .status()
            .unwrap()
            .success()
    );
    receiver.signal("HUP");
    for _ in 0..4 {
        assert_eq!(deliver(&url, "whsec_new").await, 200);
    }
    receiver.wait_for_log("timed out: set it to a file");
    fs::remove_file(&file).unwrap();
    fs::write(&file, "whsec_old\n").unwrap();
    receiver.signal("HUP");
    receiver.wait_for_log("1 valid");
    assert_eq!(deliver(&url, "whsec_old").await, 200);

    receiver.signal("KILL");
    let (_, lines, log) = receiver.ended();
    for index in [0, 1] {
        assert!(lines.contains(&format!("video.processed {index}")));
    }
    assert!(log.contains("signed with secret 1"), "{log}");
    assert!(!log.contains("whsec_"), "{log}");
}

// ---- tenants

#[cfg(feature = "cache")]
#[tokio::test]
async fn tenants_are_known_from_the_start() {
    let receiver = Receiver::of("tenants", &[]);
    let deliver = async |endpoint: &str, secret: &str| {
        let url = format!("http://{}/webhooks/{endpoint}", receiver.addr);
        deliver(&url, secret).await
    };
    assert_eq!(deliver("globex", "whsec_globex_old").await, 200);
    for _ in 0..3 {
        assert_eq!(deliver("acme", "whsec_acme").await, 200);
        // Attack: a tenant signs on behalf of another tenant.
        assert_eq!(deliver("globex", "whsec_acme").await, 401);
        // Attack: send unknown names, each of which causes a database query.
        assert_eq!(deliver("nobody", "whsec_acme").await, 401);
        // Attack: exhaust memory with long names.
        assert_eq!(deliver(&"n".repeat(257), "whsec_acme").await, 401);
        // The lookup fails. SoundHash resends the delivery, which starts a new lookup.
        assert_eq!(deliver("initech", "whsec_initech").await, 503);
    }
    receiver.signal("KILL");
    let (_, mut lines, log) = receiver.ended();
    let lookups = |name: &str| log.matches(&format!("looking up \"{name}\"")).count();
    assert_eq!(
        ["acme", "globex", "nobody", "initech"].map(lookups),
        [0, 0, 1, 3],
        "{log}"
    );
    assert_eq!(lookups(&"n".repeat(257)), 0);
    lines.sort();
    assert_eq!(lines[..3], ["acme video.processed"; 3]);
    assert_eq!(lines[3..], ["globex video.processed"]);
}

// ---- rejections

#[tokio::test]
async fn a_rejection_gets_a_custom_response_and_an_audit_line() {
    let receiver = Receiver::of("rejections", &[]);
    let client = Client::new();
    let accepted = deliver(&receiver.url(), "whsec_test").await;
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
        texts.push(audit(&response.text().await.unwrap()));
        let path = "/webhooks/soundhash";
        let line = json!({"path": path, "peer": "127.0.0.1", "reason": reason, "status": 401});
        assert_eq!(audit(&receiver.line()), line);
    }
    // The response does not reveal the reason.
    let text = json!({"title": "Unauthorized", "status": 401});
    assert!(texts.iter().all(|it| *it == text), "{texts:?}");

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
    let receiver = Receiver::of("plain_tower", &[]);
    let url = receiver.url();
    assert_eq!(deliver(&url, "whsec_test").await, 200);
    assert_eq!(receiver.line(), "video.processed");
    assert_eq!(deliver(&url, "whsec_wrong").await, 401);
    let elsewhere = format!("http://{}/", receiver.addr);
    assert_eq!(deliver(&elsewhere, "whsec_test").await, 404);
    // This body is signed, but it is not an event.
    let status = requests::deliver(&url, "whsec_test", b"hello").await;
    assert_eq!(status, Some(400));

    receiver.signal("INT");
    let (status, lines, _) = receiver.ended();
    assert_eq!((status.code(), lines.len()), (Some(0), 0));
}

// ---- hostile

#[test]
fn hostile_finds_exactly_two_mistakes() {
    let output = Command::new(example("hostile")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report = String::from_utf8(output.stdout).unwrap();
    let (head, legacy) = report
        .split_once("wrong, /webhooks/legacy: 22 failures\n")
        .expect("three parts");
    assert_eq!(
        head,
        "right, /webhooks/soundhash: 0 failures\n\
         wrong, /webhooks/soundhash: 1 failures\n\
         Something outside of the layer read the unverified body, before any limit applied. Move \
         it inside of the layer, where it gets the verified body.\n\
         - no signature, and a body that waits for a 100: responded with 401\n"
    );
    assert!(
        legacy.starts_with("Nothing verified the request:"),
        "{legacy}"
    );
    assert!(legacy.contains("- no signature: responded with 200 and not 401\n"));
}

// ---- the guides' shell lines

/// The quick start's delivery is accepted, but rejected if a single letter is changed.
#[test]
fn the_shell_lines_of_the_quick_start_are_a_delivery() {
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
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        if output.status.code() == Some(77) {
            eprintln!("openssl or curl is missing: not tried");
            return;
        }
        let response = String::from_utf8(output.stdout).unwrap();
        let start = format!("HTTP/1.1 {status}");
        assert!(response.starts_with(&start), "{response}");
    }
    assert!(receiver.line().contains(r#""title":"A song""#));
}

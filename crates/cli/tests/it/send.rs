//! `send` with a receiver that records its requests.

use std::{
    collections::HashSet,
    fs,
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use soundhash_webhook::{EventKind, Secret};

use crate::support::{App, Listen, PATIENCE, Process, Run, SECRET, bare, cli, folder, response};

fn events(app: &App) -> Vec<Value> {
    let requests = app.requests().into_iter();
    let events = requests.map(|it| serde_json::from_slice(&it.body).unwrap());
    events.collect()
}

#[test]
fn all_sends_every_type_from_both_senders_and_listen_accepts_them() {
    let listen = Listen::start(&["--json"]);
    let ran = cli!("send --all --url {}", listen.url).expect(0, "");
    assert_eq!(ran.stdout.lines().count(), 24, "{ran:#?}");
    assert!(!ran.all().contains('\u{1b}'), "colors: {ran:#?}");
    for line in ran.stdout.lines() {
        assert!(line.contains("200 OK") && line.len() <= 80, "{line}");
        let (kind, rest) = line.split_once(' ').unwrap();
        let delivery = listen.json();
        assert_eq!(delivery["type"], kind);
        assert_eq!(delivery["verdict"], "accepted");
        let sender = delivery["sender"].as_str().unwrap();
        assert!(rest.contains(sender), "{delivery}");
    }
    for kind in EventKind::ALL {
        assert!(ran.stdout.contains(kind.as_str()));
    }
}

#[test]
fn an_event_is_signed_and_written_like_its_sender_does() {
    let app = App::ok();
    for (envelope, agent, id, space) in [
        ("portal", "SoundHash-Webhooks/1.0", "delivery_id", "{\n  \""),
        ("dispatcher", "SoundHash-Webhook/1.0", "id", "{\""),
    ] {
        cli!("send --event match.found --envelope {envelope} --url {app}").expect(0, "match.found");
        let request = app.requests().pop().unwrap();
        let signature = Secret::new(SECRET).sign(&request.body).to_string();
        assert_eq!(request.header("x-webhook-signature"), [signature]);
        assert_eq!(request.header("user-agent"), [agent]);
        assert_eq!(request.header("content-type"), ["application/json"]);
        assert!(request.head.starts_with("POST /hooks?a=1 "), "{request:?}");
        assert!(request.body.starts_with(space.as_bytes()));
        assert!(events(&app).pop().unwrap()[id].is_string());
    }
    // The event type can be arbitrary, even one that SoundHash does not have.
    cli!("send --event made.up --url {app}").expect(0, "");
    let event = events(&app).pop().unwrap();
    assert_eq!(event["type"], "made.up");
    assert_eq!(event["data"]["test"], true);
    assert_eq!(event["resource_type"], "test");
    cli!("send --event match.fund --url {app}").expect(0, "Do you mean `match.found`? | 200 OK");
}

#[test]
fn many_events_have_a_rate_a_summary_and_unique_ids() {
    let app = App::ok();
    let start = Instant::now();
    let ran =
        cli!("send --count 60 --rate 100 --url {app}").expect(0, "60 sent in | 60 200 OK | median");
    assert!(start.elapsed() >= Duration::from_millis(590));
    assert_eq!(ran.stderr, "", "no bar without a terminal");
    let events = events(&app);
    let ids: HashSet<_> = events.iter().map(|it| it["id"].to_string()).collect();
    assert_eq!(ids.len(), 60);
}

#[test]
fn a_forged_event_has_to_be_rejected() {
    let listen = Listen::start(&[]);
    // No secret is set, because forging does not need it.
    bare!("send --forge --url {}", listen.url).expect(0, "401 Unauthorized | Rejected, as forged");
    assert!(listen.line().contains("rejected"));
    bare!("send --forge --url {}", App::ok()).expect(1, "200 OK");
    let broken = App::start(|_| response("500 Internal Server Error", ""));
    bare!("send --forge --url {broken}").expect(1, "500");
}

#[test]
fn retries_repeat_the_same_bytes_until_one_is_accepted() {
    let attempts = AtomicUsize::new(0);
    let app = App::start(move |_| match attempts.fetch_add(1, Ordering::Relaxed) {
        0 => response("500 Internal Server Error", "try again"),
        // The server hangs up without a response.
        1 => Vec::new(),
        _ => response("204 No Content", ""),
    });
    let parts = "retry in 50.0 ms | retry in 100 ms | 204 No Content";
    let ran = cli!("send --retry --retry-delay 0.05 --url {app}").expect(0, parts);
    // Only the last attempt is printed as a result.
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:#?}");
    let requests = app.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|it| it.body == requests[0].body));

    let app = App::start(|_| response("503 Service Unavailable", "busy"));
    cli!("send --retry --retry-delay 0.01 --url {app}").expect(1, "503 | busy");
    assert_eq!(app.requests().len(), 4);
    cli!("send --url {app}").expect(1, "503");
    assert_eq!(app.requests().len(), 5);
}

#[test]
fn redirects_are_followed_as_soundhash_follows_them() {
    for status in [301, 302, 303, 307, 308] {
        let other = App::ok();
        let app = App::redirecting(status, &other.to_string());
        let mut send = cli!("send --url {app}");
        let request = if status < 307 {
            let parts = "lost (200) | GET without the body | the event is lost";
            send.expect(1, parts);
            let [request]: [_; 1] = other.requests().try_into().unwrap();
            assert!(request.head.starts_with("GET /hooks?a=1 "), "{request:?}");
            assert_eq!(request.body, b"");
            request
        } else {
            send.expect(0, "200 OK | warning: The receiver redirects");
            let [request]: [_; 1] = other.requests().try_into().unwrap();
            assert!(request.head.starts_with("POST "), "{request:?}");
            assert_eq!(request.body, app.requests()[0].body);
            request
        };
        let name = "x-webhook-signature";
        assert_eq!(request.header(name), app.requests()[0].header(name));
        assert_eq!(request.header("host"), [other.addr.to_string()]);
    }
    let app = App::redirecting(307, "/");
    cli!("send --url {app}").expect(1, "307");
    assert_eq!(app.requests().len(), 11);
}

#[test]
fn a_receiver_that_closes_its_connections_fails_no_event() {
    // The server closes the connection after each response without announcing it.
    let app = App::start(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec());
    cli!("send --count 200 --url {app}").expect(0, "200 200 OK");
}

#[test]
fn proxies_of_the_environment_are_used() {
    let proxy = App::start(|request| match request.head.starts_with("CONNECT ") {
        true => response("503 Service Unavailable", ""),
        false => response("200 OK", ""),
    });
    let through = format!("http://me:passw0rd@{}", proxy.addr);
    let send = |url: &str, variable: &str| {
        let mut command = cli!("send --url {url}");
        command.env(variable, &through);
        command
    };
    send("http://app.invalid/hooks", "HTTP_PROXY").expect(0, "200 OK");
    let by = "to https://app.invalid/hooks through the proxy 127.0.0.1:";
    let ran = send("https://app.invalid/hooks", "HTTPS_PROXY").expect(1, by);
    assert!(!ran.all().contains("passw0rd"), "{ran:#?}");
    let requests = proxy.requests();
    for (request, line) in requests.iter().zip([
        "POST http://app.invalid/hooks HTTP/1.1\r\n",
        "CONNECT app.invalid:443 ",
    ]) {
        assert!(request.head.starts_with(line), "{requests:?}");
        let authorization = request.header("proxy-authorization");
        assert_eq!(authorization, ["Basic bWU6cGFzc3cwcmQ="]);
    }
    assert_eq!(requests[0].header("host"), ["app.invalid"]);

    let mut excepted = send("http://app.invalid/", "HTTP_PROXY");
    excepted.env("NO_PROXY", ".invalid");
    excepted.expect(1, "cannot connect to http://app.invalid/:");
    // Requests to this machine do not use a proxy.
    send(&App::ok().to_string(), "HTTP_PROXY").expect(0, "200 OK");
    assert_eq!(proxy.requests().len(), 2);
}

#[test]
fn data_is_sent_byte_for_byte() {
    let app = App::ok();
    let data = r#"{"big": 123456789012345678901234567890,  "n": 85.0, "t": "T\u00edtulo í"}"#;
    let file = folder("data").join("data.json");
    fs::write(&file, data).unwrap();
    let from_file = format!("@{}", file.display());
    for envelope in ["portal", "dispatcher"] {
        for given in [data, &from_file, "@-"] {
            let mut send = cli!("send --envelope {envelope} --url {app} --data");
            send.arg(given).reads(data).expect(0, "200 OK");
            let body = String::from_utf8(app.requests().pop().unwrap().body).unwrap();
            assert!(body.contains(&format!("\"data\": {data}")), "{body}");
        }
    }
    fs::write(&file, "\u{feff}{}").unwrap();
    cli!("send --data {from_file}").expect(2, "byte order mark");
}

#[test]
fn an_interrupted_command_prints_its_summary() {
    let app = App::ok();
    let send = Process::start(&mut cli!("send --count 1000 --rate 20 --url {app}"));
    let deadline = Instant::now() + PATIENCE;
    while app.requests().len() < 3 {
        assert!(Instant::now() < deadline, "no events arrive");
        thread::sleep(Duration::from_millis(5));
    }
    send.signal("INT");
    let (status, lines, log) = send.ended();
    assert_eq!(status.code(), Some(130));
    assert!(lines[0].contains("sent in"), "{lines:?}");
    assert!(log.contains("were not sent"), "{log}");
}

/// Attacks: a response that clears the user's terminal, and one that never ends.
#[test]
fn a_response_cannot_control_the_terminal_or_fill_the_memory() {
    let app = App::start(|_| response("400 Bad Request", "\u{1b}[2J\u{9b}31m\u{202e}evil\r\n"));
    let ran = cli!("send --url {app}").expect(1, r"\u{1b}[2J");
    let harmful = ['\u{1b}', '\u{9b}', '\u{202e}', '\r'];
    assert!(!ran.all().contains(harmful), "{ran:#?}");
    let app = App::start(|_| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 40000000\r\n\r\n";
        [&head[..], &vec![b'a'; 40_000_000]].concat()
    });
    cli!("send --url {app}").expect(1, "more than 16 MiB");
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let app = App::ok();
    let mut child = cli!("send --all --url {app}")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

//! `send` to a receiver that keeps the requests.

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

use crate::support::{
    App, Listen, PATIENCE, Process, SECRET, bare, command, folder, free_addr, response, run,
    run_with,
};

fn events(app: &App) -> Vec<Value> {
    let requests = app.requests().into_iter();
    let events = requests.map(|it| serde_json::from_slice(&it.body).unwrap());
    events.collect()
}

#[test]
fn all_sends_every_type_from_both_senders_and_listen_accepts_them() {
    let listen = Listen::start(&["--json"]);
    let ran = run(&mut command(["send", "--all", "--url", &listen.url])).expect(0, &[]);
    assert_eq!(ran.stdout.lines().count(), 24, "{ran:#?}");
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
        let arguments = ["send", "--event", "match.found", "--envelope", envelope];
        run(command(arguments).args(["--url", &app.url()])).expect(0, &["match.found"]);
        let request = app.requests().pop().unwrap();
        let signature = Secret::new(SECRET).sign(&request.body).to_string();
        assert_eq!(request.header("x-webhook-signature"), [signature]);
        assert_eq!(request.header("user-agent"), [agent]);
        assert_eq!(request.header("content-type"), ["application/json"]);
        assert!(request.head.starts_with("POST /hooks?a=1 "), "{request:?}");
        assert!(request.body.starts_with(space.as_bytes()));
        assert!(events(&app).pop().unwrap()[id].is_string());
    }
}

#[test]
fn a_type_can_be_anything() {
    let app = App::ok();
    let arguments = ["send", "--event", "made.up", "--url", &app.url()];
    run(&mut command(arguments)).expect(0, &[]);
    let event = events(&app).pop().unwrap();
    assert_eq!(event["type"], "made.up");
    assert_eq!(event["data"]["test"], true);
    assert_eq!(event["resource_type"], "test");
}

#[test]
fn many_events_have_a_summary_and_ids_of_their_own() {
    let app = App::ok();
    let arguments = format!("send --count 60 --rate 500 --url {}", app.url());
    let ran = run(&mut command(arguments.split_whitespace()))
        .expect(0, &["60 sent in", "60 200 OK", "median"]);
    assert_eq!(ran.stderr, "", "no bar without a terminal");
    let events = events(&app);
    let ids: HashSet<_> = events.iter().map(|it| it["id"].to_string()).collect();
    assert_eq!(ids.len(), 60);
}

#[test]
fn a_rate_is_kept() {
    let app = App::ok();
    let start = Instant::now();
    let arguments = ["send", "--count", "5", "--rate", "10", "--url", &app.url()];
    run(&mut command(arguments)).expect(0, &[]);
    assert!(start.elapsed() >= Duration::from_millis(400));
}

#[test]
fn a_forged_event_has_to_be_rejected() {
    let listen = Listen::start(&[]);
    // No secret is set, because forging does not need it.
    let forge = |url: &str| run(&mut bare(["send", "--forge", "--url", url]));
    forge(&listen.url).expect(0, &["401 Unauthorized", "Rejected, as forged"]);
    assert!(listen.line().contains("rejected"));
    forge(&App::ok().url()).expect(1, &["200 OK"]);
    let broken = App::start(|_| response("500 Internal Server Error", ""));
    forge(&broken.url()).expect(1, &["500"]);
}

#[test]
fn retries_repeat_the_same_bytes_until_one_is_accepted() {
    let attempts = AtomicUsize::new(0);
    let app = App::start(move |_| match attempts.fetch_add(1, Ordering::Relaxed) {
        0 => response("500 Internal Server Error", "try again"),
        // The server hangs up.
        1 => Vec::new(),
        _ => response("204 No Content", ""),
    });
    let arguments = format!("send --retry --retry-delay 0.05 --url {}", app.url());
    let parts = ["retry in 50.0 ms", "retry in 100 ms", "204 No Content"];
    let ran = run(&mut command(arguments.split_whitespace())).expect(0, &parts);
    // Retries are not results.
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:#?}");
    let requests = app.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|it| it.body == requests[0].body));
}

#[test]
fn after_three_retries_it_gives_up_and_without_the_option_there_is_none() {
    let app = App::start(|_| response("503 Service Unavailable", "busy"));
    let arguments = format!("send --retry --retry-delay 0.01 --url {}", app.url());
    run(&mut command(arguments.split_whitespace())).expect(1, &["503", "busy"]);
    assert_eq!(app.requests().len(), 4);
    run(&mut command(["send", "--url", &app.url()])).expect(1, &["503"]);
    assert_eq!(app.requests().len(), 5);
}

#[test]
fn a_redirect_that_loses_the_event_is_followed_and_a_failure() {
    for status in [301, 302, 303] {
        let other = App::ok();
        let app = App::redirecting(status, &other.url());
        let parts = ["lost (200)", "GET without the body", "the event is lost"];
        run(&mut command(["send", "--url", &app.url()])).expect(1, &parts);
        let [request]: [_; 1] = other.requests().try_into().unwrap();
        assert!(request.head.starts_with("GET /hooks?a=1 "), "{request:?}");
        assert_eq!(request.body, b"");
        let sent = &app.requests()[0];
        let name = "x-webhook-signature";
        assert_eq!(request.header(name), sent.header(name));
        assert_eq!(request.header("host"), [other.addr.to_string()]);
    }
}

#[test]
fn a_redirect_that_keeps_the_event_is_followed_with_a_warning() {
    for status in [307, 308] {
        let other = App::ok();
        let app = App::redirecting(status, &other.url());
        let ran = run(&mut command(["send", "--url", &app.url()]));
        ran.expect(0, &["200 OK", "warning: The receiver redirects"]);
        let request = &other.requests()[0];
        assert!(request.head.starts_with("POST "), "{request:?}");
        assert_eq!(request.body, app.requests()[0].body);
    }
}

#[test]
fn redirects_without_end_are_given_up() {
    let app = App::redirecting(307, "/");
    run(&mut command(["send", "--url", &app.url()])).expect(1, &["307"]);
    assert_eq!(app.requests().len(), 11);
}

#[test]
fn a_receiver_that_is_not_there_is_named() {
    let url = format!("http://{}/", free_addr());
    let cause = format!("cannot connect to {url}: Connection refused");
    run(&mut command(["send", "--url", &url])).expect(1, &["no response", &cause]);
}

#[test]
fn a_receiver_that_closes_its_connections_fails_no_event() {
    // Nothing in the response says that the connection is closed.
    let app = App::start(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec());
    let arguments = ["send", "--count", "200", "--url", &app.url()];
    run(&mut command(arguments)).expect(0, &["200 200 OK"]);
}

#[test]
fn proxies_of_the_environment_are_used() {
    let proxy = App::start(|request| match request.head.starts_with("CONNECT ") {
        true => response("503 Service Unavailable", ""),
        false => response("200 OK", ""),
    });
    let through = format!("http://me:passw0rd@{}", proxy.addr);
    let send = |url: &str, variable: &str| {
        let mut command = command(["send", "--url", url]);
        command.env(variable, &through);
        command
    };
    run(&mut send("http://app.invalid/hooks", "HTTP_PROXY")).expect(0, &["200 OK"]);
    let through = "to https://app.invalid/hooks through the proxy 127.0.0.1:";
    let ran = run(&mut send("https://app.invalid/hooks", "HTTPS_PROXY")).expect(1, &[through]);
    assert!(!ran.all().contains("passw0rd"), "{ran:#?}");
    let requests = proxy.requests();
    let line = "POST http://app.invalid/hooks HTTP/1.1\r\n";
    assert!(requests[0].head.starts_with(line), "{requests:?}");
    assert_eq!(requests[0].header("host"), ["app.invalid"]);
    let line = "CONNECT app.invalid:443 ";
    assert!(requests[1].head.starts_with(line), "{requests:?}");
    for request in &requests {
        let authorization = request.header("proxy-authorization");
        assert_eq!(authorization, ["Basic bWU6cGFzc3cwcmQ="]);
    }

    let mut excepted = send("http://app.invalid/", "HTTP_PROXY");
    run(excepted.env("NO_PROXY", ".invalid"))
        .expect(1, &["cannot connect to http://app.invalid/:"]);
    // This machine is reached directly.
    run(&mut send(&App::ok().url(), "HTTP_PROXY")).expect(0, &["200 OK"]);
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
            let mut command = command(["send", "--envelope", envelope, "--data", given]);
            command.args(["--url", &app.url()]);
            run_with(&mut command, data.as_bytes()).expect(0, &["200 OK"]);
            let request = app.requests().pop().unwrap();
            let body = String::from_utf8(request.body).unwrap();
            assert!(body.contains(&format!("\"data\": {data}")), "{body}");
        }
    }
    fs::write(&file, "\u{feff}{}").unwrap();
    run(&mut command(["send", "--data", &from_file])).expect(2, &["byte order mark"]);
}

#[test]
fn a_type_that_is_misspelled_is_sent_with_a_warning() {
    let app = App::ok();
    let arguments = ["send", "--event", "match.fund", "--url", &app.url()];
    run(&mut command(arguments)).expect(0, &["Do you mean `match.found`?", "200 OK"]);
}

#[test]
fn an_interrupted_command_prints_its_summary() {
    let app = App::ok();
    let arguments = format!("send --count 1000 --rate 20 --url {}", app.url());
    let send = Process::start(&mut command(arguments.split_whitespace()));
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

/// Attack: a response that clears the screen of the person who tests a server.
#[test]
fn a_response_cannot_control_the_terminal() {
    let app = App::start(|_| response("400 Bad Request", "\u{1b}[2J\u{9b}31m\u{202e}evil\r\n"));
    let ran = run(&mut command(["send", "--url", &app.url()])).expect(1, &[r"\u{1b}[2J"]);
    let harmful = ['\u{1b}', '\u{9b}', '\u{202e}', '\r'];
    assert!(!ran.all().contains(harmful), "{ran:#?}");
}

/// Attack: a response that never ends, to fill the memory.
#[test]
fn an_endless_response_is_truncated() {
    let app = App::start(|_| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 40000000\r\n\r\n";
        [&head[..], &vec![b'a'; 40_000_000]].concat()
    });
    run(&mut command(["send", "--url", &app.url()])).expect(1, &["more than 16 MiB"]);
}

#[test]
fn colors_are_for_terminals_only_and_a_closed_pipe_is_not_an_error() {
    let app = App::ok();
    let ran = run(&mut command(["send", "--all", "--url", &app.url()])).expect(0, &[]);
    assert!(!ran.all().contains('\u{1b}'));
    let mut child = command(["send", "--all", "--url", &app.url()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

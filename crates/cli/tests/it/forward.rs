//! `listen --forward` in front of working and broken applications.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    process::Command,
    sync::{Arc, OnceLock, RwLock},
    thread,
    time::{Duration, Instant},
};

use soundhash_webhook::Secret;
use soundhash_webhook_tests::process::signal;

use crate::support::{
    App, Listen, PATIENCE, Request, Run, SECRET, begin, cli, closed_addr, deliver, exchange,
    free_addr, response, status,
};

const BODY: &[u8] =
    b"{\"event\": \"video.processed\",\r\n \"data\": {\"title\": \"T\xc3\xadtulo\"}}\n";

fn before(app: &App) -> Listen {
    Listen::start(&["--json", "--forward", &app.to_string()])
}

/// Delivers an event, and checks the response status and the output line.
#[track_caller]
fn answers(listen: &Listen, code: u16, verdict: &str) -> String {
    let received = deliver(&listen.url, "", BODY);
    assert_eq!(status(&received), code.to_string(), "{received}");
    let line = listen.json();
    assert_eq!(line["verdict"], verdict, "{line}");
    assert_eq!(line["status"], code, "{line}");
    received
}

#[test]
fn verified_requests_arrive_byte_for_byte_with_their_headers() {
    let app = App::start(|_| response("202 Accepted", ""));
    let listen = before(&app);
    let wrong = format!("X-Webhook-Signature: {}\r\n", "0".repeat(64));
    for head in ["", &wrong] {
        assert_eq!(status(&exchange(&listen.url, head, BODY)), "401");
    }
    // A recorded delivery can be repeated with any method.
    let signature = Secret::new(SECRET).sign(BODY);
    let mut delete = Command::new("curl");
    delete.args(["-s", "-X", "DELETE", "-w", "%{http_code}", &listen.url]);
    delete.args(["-H", &format!("X-Webhook-Signature: {signature}")]);
    assert_eq!(
        delete.args(["--data-binary", "@-"]).reads(BODY).stdout,
        "405"
    );
    let head = "Content-Type: application/json\r\nX-Tenant: acme\r\nX-Twice: a\r\nX-Twice: b\r\n\
                User-Agent: SoundHash-Webhooks/1.0\r\nAccept-Encoding: gzip, deflate\r\n\
                X-Hop: secret\r\nTE: trailers\r\n\
                Connection: X-Hop, X-Webhook-Signature, Content-Type\r\n";
    assert_eq!(status(&deliver(&listen.url, head, BODY)), "202");
    // Rejected requests never reach the application.
    let [request]: [Request; 1] = app.requests().try_into().unwrap();
    assert!(request.head.starts_with("POST /hooks?a=1 HTTP/1.1\r\n"));
    assert_eq!(request.body, BODY);
    for (name, values) in [
        ("x-webhook-signature", &[signature.to_string().as_str()][..]),
        ("content-type", &["application/json"]),
        ("x-tenant", &["acme"]),
        ("x-twice", &["a", "b"]),
        ("user-agent", &["SoundHash-Webhooks/1.0"]),
        ("accept-encoding", &["gzip, deflate"]),
        ("host", &[app.addr.to_string().as_str()]),
        ("content-length", &[BODY.len().to_string().as_str()]),
        // No header is added except `Via`, which is needed to detect loops.
        ("accept", &[]),
        // These headers apply only to the connection.
        ("x-hop", &[]),
        ("connection", &["close"]),
        ("te", &[]),
    ] {
        assert_eq!(request.header(name), values, "{name}");
    }
}

#[test]
fn the_applications_response_is_returned_unchanged() {
    let app = App::start(|_| {
        let body = "hello\0\u{1b}[31m";
        let head = "HTTP/1.1 409 Conflict\r\nX-App: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\
                    Transfer-Encoding: chunked\r\nConnection: close, X-Private\r\n\
                    X-Private: 1\r\n\r\n";
        format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into()
    });
    let received = answers(&before(&app), 409, "failed").to_ascii_lowercase();
    let body = "\r\n\r\nhello\0\u{1b}[31m";
    for part in [
        "x-app: 1\r\n",
        "set-cookie: a\r\n",
        "set-cookie: b\r\n",
        body,
    ] {
        assert!(received.contains(part), "{received}");
    }
    assert!(!received.contains("x-private: 1"), "{received}");
}

#[test]
fn a_redirect_of_the_application_is_not_passed_on() {
    for code in [301, 302, 307] {
        let app = App::redirecting(code, "/login");
        let mut listen = before(&app);
        let received = answers(&listen, 502, "failed");
        assert!(!received.to_lowercase().contains("location:"), "{received}");
        assert!(
            received.ends_with("The application redirects"),
            "{received}"
        );
        listen.wait_for_log(&format!("redirects ({code}) to /login"));
    }
}

#[test]
fn the_address_of_this_command_is_rejected() {
    for (addr, host) in [("127.0.0.1", "localhost"), ("0.0.0.0", "127.0.0.1")] {
        let port = free_addr().port();
        let forward = format!("--forward http://{host}:{port}/hooks");
        cli!("listen --inspect off --addr {addr}:{port} {forward}")
            .expect(2, "is the address of this command");
    }
}

#[test]
fn a_loop_through_another_server_is_a_508() {
    let url = Arc::new(OnceLock::<String>::new());
    let target = url.clone();
    // This proxy sends each request back to the `listen` command that forwarded it.
    let app = App::start(move |request| {
        let (_, head) = request.head.split_once("\r\n").unwrap();
        let head: String = (head.split_inclusive("\r\n"))
            .filter(|line| !line.starts_with("host:") && !line.starts_with("content-length:"))
            .collect();
        exchange(target.get().unwrap(), &head, &request.body).into()
    });
    let mut listen = before(&app);
    url.set(listen.url.clone()).unwrap();
    assert_eq!(status(&deliver(&listen.url, "", BODY)), "508");
    listen.wait_for_log("in a loop");
    assert_eq!(app.requests().len(), 1);
}

#[test]
fn a_repeated_event_is_a_duplicate_with_and_without_an_application() {
    let app = App::ok();
    for listen in [before(&app), Listen::start(&["--json"])] {
        for verdict in ["accepted", "duplicate", "duplicate"] {
            answers(&listen, 200, verdict);
        }
    }
    assert_eq!(app.requests().len(), 3);
}

/// The application has handled the repetition, and only it can say that it has not.
#[test]
fn a_repetition_that_was_forwarded_is_not_marked_as_replayed() {
    for (header, is_marked) in [("", false), ("Idempotent-Replayed: true\r\n", true)] {
        let app = App::start(move |_| response(&format!("200 OK\r\n{header}X: y"), ""));
        let listen = before(&app);
        for _ in 0..2 {
            let answer = deliver(&listen.url, "", BODY).to_ascii_lowercase();
            assert_eq!(
                answer.contains("idempotent-replayed"),
                is_marked,
                "{answer}"
            );
        }
    }
}

/// Attack: repeat a recorded delivery while the application is slow.
#[test]
fn repetitions_of_one_event_do_not_occupy_the_command() {
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write().unwrap();
    let passed = gate.clone();
    let app = App::start(move |request| {
        if request.body == BODY {
            drop(passed.read());
        }
        response("200 OK", "")
    });
    let mut listen = before(&app);
    let signature = Secret::new(SECRET).sign(BODY);
    let head = format!("X-Webhook-Signature: {signature}\r\n");
    let repetitions = [(); 16].map(|()| {
        let (mut stream, _) = begin(&listen.url, &head, BODY.len());
        stream.write_all(BODY).unwrap();
        stream
    });
    let deadline = Instant::now() + PATIENCE;
    while app.requests().len() < 16 {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(10));
    }
    // The application does not notice that their sender hangs up.
    drop(repetitions);
    for _ in 0..16 {
        assert_eq!(listen.json()["verdict"], "canceled");
    }
    // The next one is not forwarded, but another event is.
    answers(&listen, 503, "failed");
    listen.wait_for_log("16 deliveries of the same event");
    let other = br#"{"event": "video.processed", "data": {"title": "other"}}"#;
    assert_eq!(status(&deliver(&listen.url, "", other)), "200");
    drop(closed);
    let deadline = Instant::now() + PATIENCE;
    while status(&deliver(&listen.url, "", BODY)) != "200" {
        assert!(Instant::now() < deadline);
    }
}

/// Attack: repeat a recorded delivery while the application is down.
#[test]
fn failures_of_the_application_do_not_flood_the_log() {
    let url = format!("http://{}/", closed_addr());
    let listen = Listen::start(&["--json", "--forward", &url]);
    let begin = Instant::now();
    for _ in 0..1_100 {
        assert_eq!(status(&deliver(&listen.url, "", BODY)), "502");
    }
    let minutes = begin.elapsed().as_secs() / 60 + 1;
    signal(listen.id(), "TERM");
    let (_, lines, log) = listen.ended();
    assert!(lines.len() as u64 <= 1_000 * minutes, "{}", lines.len());
    let warnings = log.matches("cannot connect to").count() as u64;
    assert!((1_000..=1_000 * minutes).contains(&warnings), "{warnings}");
    let only_counted = "warnings about the application within a minute";
    assert!(log.contains(only_counted) || minutes > 1, "{log}");
}

#[test]
fn nothing_is_acknowledged_that_the_application_did_not_acknowledge() {
    for bytes in [
        // The application hangs up, sends nonsense, or sends an incomplete response.
        &b""[..],
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        // No final response follows this interim one.
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
    ] {
        let app = App::start(move |_| bytes.to_vec());
        let mut listen = before(&app);
        answers(&listen, 502, "failed");
        listen.wait_for_log("warning");
    }
    let app = App::start(|_| {
        thread::sleep(Duration::from_secs(5));
        response("200 OK", "")
    });
    let url = app.to_string();
    let mut listen = Listen::start(&["--json", "--forward", &url, "--forward-timeout", "0.3"]);
    answers(&listen, 504, "failed");
    listen.wait_for_log("no response in time");
    assert_eq!(app.requests().len(), 1, "it is not tried twice");
}

/// Attack: a server that never stops sending, which delays all tokio timers.
#[test]
fn endless_interim_responses_do_not_prevent_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 4_096]);
                let bytes = b"HTTP/1.1 102 P\r\n\r\n".repeat(4_096);
                while stream.write_all(&bytes).is_ok() {}
            });
        }
    });
    let start = Instant::now();
    let mut listen = Listen::start(&["--json", "--forward", &url, "--forward-timeout", "0.3"]);
    answers(&listen, 504, "failed");
    listen.wait_for_log("no response in time");
    cli!("doctor {url} --timeout 1").expect(1, "no response in time");
    assert!(start.elapsed() < Duration::from_secs(30));
}

/// The application is a process that is killed and restarted.
#[test]
fn an_application_that_is_killed_and_comes_back_loses_nothing_that_was_acknowledged() {
    let addr = free_addr().to_string();
    let start = || Listen::spawn(&mut cli!("listen --addr {addr} --inspect off"));
    let application = start();
    let listen = Listen::start(&["--json", "--forward", &format!("http://{addr}/hooks")]);
    answers(&listen, 200, "accepted");
    assert!(application.line().contains("accepted"));
    drop(application);
    for _ in 0..3 {
        answers(&listen, 502, "failed");
    }
    let application = start();
    answers(&listen, 200, "duplicate");
    assert!(application.line().contains("accepted"));
}

/// Attack: repeat a recorded delivery until all ports are in use, each of them for a minute.
#[test]
fn connections_to_the_application_leave_no_port_in_use() {
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = app.local_addr().unwrap();
    let url = format!("http://{addr}/");
    let listen = Listen::start(&["--json", "--forward", &url]);
    thread::spawn(move || {
        for mut stream in app.incoming().map_while(Result::ok) {
            // This application never closes a connection itself.
            while !matches!(stream.read(&mut [0; 4096]), Ok(0) | Err(_)) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        }
    });
    for verdict in ["accepted", "duplicate", "duplicate"] {
        answers(&listen, 200, verdict);
    }
    let connections = || {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let port = format!(":{:04X}", addr.port());
        let rows = table.lines().map(|row| row.split_whitespace());
        let to_app = rows.filter(|row| row.clone().nth(2).is_some_and(|it| it.ends_with(&port)));
        let states = to_app.filter_map(|mut row| row.nth(3).map(str::to_owned));
        states.collect::<Vec<_>>()
    };
    let deadline = Instant::now() + PATIENCE;
    while !connections().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", connections());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_request_whose_sender_hangs_up_is_canceled() {
    let app = App::start(|_| {
        thread::sleep(Duration::from_secs(20));
        response("200 OK", "")
    });
    let listen = before(&app);
    let signature = Secret::new(SECRET).sign(BODY);
    let head = format!("X-Webhook-Signature: {signature}\r\n");
    let (mut stream, _) = begin(&listen.url, &head, BODY.len());
    stream.write_all(BODY).unwrap();
    while app.requests().is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    drop(stream);
    let line = listen.json();
    assert_eq!(line["verdict"], "canceled", "{line}");
    assert_eq!(line["status"], serde_json::Value::Null);
}

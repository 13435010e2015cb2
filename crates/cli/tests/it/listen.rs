//! `listen`: the requests it accepts, its output, and how it exits.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use soundhash_webhook::Secret;
use soundhash_webhook_tests::process::signal;

use crate::support::{
    Listen, PATIENCE, Run, SECRET, bare, begin, cli, closed_addr, deliver, exchange, folder, status,
};

const BODY: &[u8] =
    br#"{"id": "evt_1", "type": "match.found", "created_at": "2026-11-23T08:56:12Z", "data": {}}"#;

#[test]
fn a_line_shows_time_type_id_verdict_status_and_duration() {
    let listen = Listen::start(&[]);
    assert_eq!(status(&deliver(&listen.url, "", BODY)), "200");
    let line = listen.line();
    assert!(line.chars().count() <= 80, "{line}");
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words[0].len(), "12:34:56".len(), "{line}");
    let expected = ["match.found", "evt_1", "accepted", "200"];
    assert_eq!(words[1..5], expected, "{line}");
    assert_eq!(words[6], "ms", "{line}");

    let response = exchange(&listen.url, "", BODY);
    assert_eq!(status(&response), "401");
    assert!(response.ends_with("Invalid signature"), "{response}");
    let line = listen.line();
    for part in ["o signature header", "rejected   401"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(line.chars().count() <= 80, "{line}");
}

/// Attack: types and ids that push the verdict out of sight.
#[test]
fn a_line_fits_a_terminal_whatever_the_event_is_called() {
    let listen = Listen::start(&[]);
    for (event_type, id, shown) in [
        ("x".repeat(99), "i".repeat(99), "xxxxx…  iiiii"),
        ("x".repeat(99), "evt_1".to_owned(), "xx…  evt_1 "),
        ("曲".repeat(99), "曲".repeat(99), "曲曲…  曲曲曲"),
    ] {
        let body = format!(r#"{{"id": "{id}", "type": "{event_type}", "data": {{}}}}"#);
        deliver(&listen.url, "", body.as_bytes());
        let line = listen.line();
        // `曲` is the only double-width character in the line.
        let wide = line.matches('曲').count();
        assert!(line.chars().count() + wide <= 80, "{line}");
        assert!(line.contains(shown), "{line}");
        assert!(line.contains("accepted   200"), "{line}");
    }
}

#[test]
fn json_has_an_object_per_line() {
    let listen = Listen::start(&["--json"]);
    deliver(&listen.url, "", BODY);
    let line = listen.json();
    for (member, value) in [
        ("id", json!("evt_1")),
        ("type", json!("match.found")),
        ("verdict", json!("accepted")),
        ("sender", json!("dispatcher")),
        ("reason", json!(null)),
        ("status", json!(200)),
    ] {
        assert_eq!(line[member], value, "{line}");
    }
    assert!(line["duration_ms"].is_f64(), "{line}");
    assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");

    let wrong = format!("X-Webhook-Signature: {}\r\n", "0".repeat(64));
    exchange(&listen.url, &wrong, BODY);
    let line = listen.json();
    assert_eq!(line["verdict"], "rejected", "{line}");
    assert_eq!(line["status"], 401, "{line}");
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains("does not match"), "{line}");
}

/// Attack: fill the disk to which the lines are written.
#[test]
fn requests_that_are_rejected_do_not_flood_the_output() {
    let listen = Listen::start(&["--json"]);
    let begin = Instant::now();
    for _ in 0..1_100 {
        assert_eq!(status(&exchange(&listen.url, "", BODY)), "401");
    }
    let minutes = begin.elapsed().as_secs() / 60 + 1;
    assert_eq!(status(&deliver(&listen.url, "", BODY)), "200");
    signal(listen.id(), "TERM");
    let (_, lines, log) = listen.ended();
    let accepted = lines.iter().filter(|line| line.contains("accepted"));
    assert_eq!(accepted.count(), 1);
    assert!(lines.len() as u64 <= 1_000 * minutes + 1, "{}", lines.len());
    assert!(log.contains("not printed") || minutes > 1, "{log}");
}

#[test]
fn every_path_receives_with_the_secret_before_a_rotation_too() {
    let mut command = bare!("listen --addr 0 --inspect off");
    command.env("SOUNDHASH_WEBHOOK_SECRET", "whsec_new");
    command.env("SOUNDHASH_WEBHOOK_PREVIOUS_SECRET", SECRET);
    let listen = Listen::spawn(&mut command);
    for path in ["/webhooks/soundhash", "/", "/hooks/a?b=c"] {
        let url = listen.url.replace("/webhooks/soundhash", path);
        assert_eq!(status(&deliver(&url, "", BODY)), "200");
    }
    let signature = Secret::new("whsec_new").sign(BODY);
    let head = format!("X-Webhook-Signature: {signature}\r\n");
    assert_eq!(status(&exchange(&listen.url, &head, BODY)), "200");

    // Without a rotation, a variable that Docker Compose passes on is empty.
    let mut command = bare!("listen --addr 0 --inspect off");
    command.env("SOUNDHASH_WEBHOOK_SECRET", SECRET);
    command.env("SOUNDHASH_WEBHOOK_PREVIOUS_SECRET", "");
    let listen = Listen::spawn(&mut command);
    assert_eq!(status(&deliver(&listen.url, "", BODY)), "200");
}

/// Attack: an event whose type and id contain terminal control sequences.
#[test]
fn an_event_cannot_control_the_terminal() {
    let body = r#"{"id": "\u001b[2J\r\n\u009b\u202e", "type": "a\u001b]0;b\u0007", "data": {}}"#;
    for arguments in [&[][..], &["--json"]] {
        let listen = Listen::start(arguments);
        deliver(&listen.url, "", body.as_bytes());
        let line = listen.line();
        let harmful = |character: char| character.is_control() || character == '\u{202e}';
        assert!(!line.contains(harmful), "{line:?}");
        assert!(line.contains("1b"), "{line:?}");
        if let [_] = arguments {
            let line: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(line["id"], "\u{1b}[2J\r\n\u{9b}\u{202e}");
        }
    }
}

#[test]
fn the_inspector_is_served_and_shows_no_secret() {
    let listen = Listen::spawn(&mut cli!("listen --addr 0 --inspect 0"));
    let inspector = listen.inspector.clone().expect("a URL");
    assert!(inspector.contains("/?token="), "{inspector}");
    let page = Command::new("curl")
        .args(["-sL", "-c", "/dev/null", "-b", "", &inspector])
        .output()
        .unwrap();
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(page.contains("<html"), "{page}");
    assert!(!page.contains(SECRET));
    listen.signal("INT");
    assert_eq!(listen.ended().0.code(), Some(0));
}

#[test]
fn an_address_that_is_taken_is_named() {
    let listen = Listen::start(&[]);
    let addr = listen.url.split('/').nth(2).unwrap();
    cli!("listen --addr {addr} --inspect off").expect(1, "cannot listen on | --addr");
    cli!("listen --addr 0 --inspect {addr}").expect(1, "inspector | --inspect");
}

#[test]
fn signals_end_it_when_requests_in_flight_are_completed() {
    for signal in ["INT", "TERM"] {
        let mut listen = Listen::start(&[]);
        let signature = Secret::new(SECRET).sign(BODY);
        let head = format!("X-Webhook-Signature: {signature}\r\nExpect: 100-continue\r\n");
        let (mut stream, addr) = begin(&listen.url, &head, BODY.len());
        let mut asked = [0; 25];
        stream.read_exact(&mut asked).unwrap();
        assert!(asked.starts_with(b"HTTP/1.1 100"));
        listen.signal(signal);
        listen.wait_for_log("Stopping");
        // Waits until new connections are no longer accepted.
        while std::net::TcpStream::connect(&addr).is_ok() {
            thread::sleep(Duration::from_millis(10));
        }
        stream.write_all(BODY).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert_eq!(status(&response), "200");
        let (status, lines, _) = listen.ended();
        assert_eq!(status.code(), Some(0));
        assert_eq!(lines.len(), 1, "{lines:?}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    // The inspector's port may already be in use by another program.
    let _taken = TcpListener::bind("127.0.0.1:4040");
    let mut listen = Listen::spawn(&mut cli!("listen --addr 0"));
    let taken = "Port 4040 is taken, so the inspector uses port 40";
    assert!(listen.log().contains(taken));
    assert!(listen.inspector.is_some());
    let head = format!(
        "X-Webhook-Signature: {}\r\nExpect: 100-continue\r\n",
        "0".repeat(64)
    );
    let (mut stream, _) = begin(&listen.url, &head, 10);
    let mut waits_for_body = [0; 25];
    stream.read_exact(&mut waits_for_body).unwrap();
    assert_eq!(&waits_for_body, b"HTTP/1.1 100 Continue\r\n\r\n");
    listen.signal("INT");
    listen.wait_for_log("Stopping");
    listen.signal("INT");
    assert_eq!(listen.ended().0.code(), Some(0));
    // It did not wait until the time for the body was over.
    let mut response = String::new();
    let _ = stream.read_to_string(&mut response);
    assert_eq!(response, "");
}

/// Starts `listen` with this stdout and a pipe for stderr, and returns the process and its URL.
fn start_unread(arguments: &[&str], stdout: Stdio) -> (Child, String) {
    let mut command = cli!("listen --addr 0 --inspect off");
    command
        .args(arguments)
        .stdout(stdout)
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut greeting = String::new();
    while !greeting.contains("try it") {
        let mut byte = [0];
        let stderr = child.stderr.as_mut().unwrap();
        stderr.read_exact(&mut byte).unwrap();
        greeting.push(byte[0].into());
    }
    let mut words = greeting.split_whitespace();
    let url = words.find(|word| word.starts_with("http"));
    (child, url.unwrap().to_owned())
}

/// Checks that a command exits in time with status 0, and returns the log that follows the
/// greeting.
fn ends(child: &mut Child) -> String {
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it does not end");
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut log).unwrap();
    }
    log
}

#[test]
fn it_ends_quietly_when_the_reader_of_its_output_is_gone() {
    let (mut listen, url) = start_unread(&[], Stdio::piped());
    let signature = Secret::new(SECRET).sign(BODY);
    let head = format!("X-Webhook-Signature: {signature}\r\nExpect: 100-continue\r\n");
    let (mut arriving, addr) = begin(&url, &head, BODY.len());
    arriving.read_exact(&mut [0; 25]).unwrap();
    drop(listen.stdout.take());
    assert_eq!(status(&deliver(&url, "", BODY)), "200");
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(&addr).is_ok() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    // A delivery that was in progress is still served.
    arriving.write_all(BODY).unwrap();
    let mut response = String::new();
    arriving.read_to_string(&mut response).unwrap();
    assert_eq!(status(&response), "200");
    let log = ends(&mut listen);
    assert!(!log.contains("error") && !log.contains("warning"), "{log}");
}

#[test]
fn output_that_is_not_read_delays_neither_deliveries_nor_the_end() {
    let ends_after = |count, code, arguments: &[&str], stdout: Stdio, is_gone| {
        let (mut listen, url) = start_unread(arguments, stdout);
        if is_gone {
            drop(listen.stderr.take());
        }
        for _ in 0..count {
            assert_eq!(status(&deliver(&url, "", BODY)), code);
        }
        signal(listen.id(), "TERM");
        ends(&mut listen)
    };
    let log = ends_after(1_000, "200", &["--json"], Stdio::piped(), false);
    let lost = "lines were not written to standard output";
    assert!(log.contains(lost), "{log}");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let log = ends_after(3, "200", &[], full.into(), false);
    assert!(log.contains("3 lines were not written"), "{log}");
    assert!(log.contains("No space left"), "{log}");
    let dead = format!("http://{}/hooks", closed_addr());
    for is_gone in [false, true] {
        ends_after(1_000, "502", &["--forward", &dead], Stdio::null(), is_gone);
    }
}

/// A full disk or a loss of power can cut off the last line of a file.
#[test]
fn a_line_that_was_cut_off_is_ended_before_the_next() {
    for (before, between) in [("", ""), ("{}\n", ""), ("{}\n{\"time", "\n")] {
        let path = folder("listen").join("records.jsonl");
        fs::write(&path, before).unwrap();
        let file = fs::File::options().append(true).open(&path).unwrap();
        let (mut listen, url) = start_unread(&["--json"], file.into());
        assert_eq!(status(&deliver(&url, "", BODY)), "200");
        signal(listen.id(), "TERM");
        ends(&mut listen);
        let text = fs::read_to_string(&path).unwrap();
        let line = text.strip_prefix(&format!("{before}{between}")).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["id"], "evt_1");
    }
}

#[test]
fn too_few_files_are_an_error_and_no_panic() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 5; exec \"$0\" listen"]);
    shell.arg(env!("CARGO_BIN_EXE_soundhash-webhook"));
    shell.expect(1, "error: cannot start the runtime: Too many open files");
}

//! Terminal output: colors, the progress bar, questions and prompts.
//!
//! The tests use `script` from util-linux to run the command in a terminal.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::json;
use soundhash_webhook::Secret;

use crate::{
    endpoints::api::{Api, TOKEN},
    support::{App, Ran, SECRET, bare, cli, response},
};

fn run_in_terminal(command: &Command, question: &str, input: &str) -> Ran {
    run_in_terminal_of(80, command, question, input)
}

/// Runs a command in a terminal of this width, and types `input` once the command has asked
/// `question`.
fn run_in_terminal_of(columns: usize, command: &Command, question: &str, input: &str) -> Ran {
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap());
    let mut line = format!(
        "stty columns {columns} rows 24; exec {}",
        quoted(command.get_program())
    );
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&quoted(argument));
    }
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    script.env("TERM", "xterm-256color");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let mut child = script
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("script starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    let mut asked = Vec::new();
    let ends_with_question = |asked: &[u8]| {
        let text = String::from_utf8_lossy(asked);
        text.trim_end().ends_with(question)
    };
    while !ends_with_question(&asked) {
        let mut byte = [0];
        stdout.read_exact(&mut byte).expect("the question");
        asked.push(byte[0]);
    }
    // A prompt turns off echo only after printing its question.
    thread::sleep(Duration::from_millis(200));
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("typed");
    stdout.read_to_end(&mut asked).expect("the rest");
    drop(stdin);
    let mut output = child.wait_with_output().expect("an output");
    output.stdout = asked;
    output.into()
}

#[test]
fn colors_are_shown_unless_they_are_switched_off() {
    let app = App::ok();
    let mut send = cli!("send --url {app}");
    send.env_remove("NO_COLOR");
    let ran = run_in_terminal(&send, "", "").expect(0, "");
    assert!(ran.stdout.contains("\u{1b}[32m200 OK"), "{ran:#?}");
    let ran = run_in_terminal(send.env("NO_COLOR", "1"), "", "").expect(0, "200 OK");
    assert!(!ran.stdout.contains('\u{1b}'), "{ran:#?}");
}

#[test]
fn the_prompt_does_not_show_the_secret() {
    let app = App::ok();
    let send = bare!("send --url {app}");
    // If the secret were shown, `Ran` would find it in the output.
    let ran = run_in_terminal(&send, "(not shown):", &format!("{SECRET}\n"));
    ran.expect(0, "The endpoint's secret (not shown): | 200 OK");
    let request = app.requests().pop().unwrap();
    let signature = Secret::new(SECRET).sign(&request.body).to_string();
    assert_eq!(request.header("x-webhook-signature"), [signature]);
}

#[test]
fn a_body_can_be_pasted() {
    let verify = cli!("verify --signature {}", Secret::new(SECRET).sign(b"{}\n"));
    let ran = run_in_terminal(&verify, "Ctrl-D.", "{}\n\u{4}");
    ran.expect(0, "Paste the body | The signature matches");
}

#[test]
fn many_events_have_a_bar() {
    let app = App::ok();
    let send = cli!("send --count 30 --rate 30 --url {app}");
    run_in_terminal(&send, "", "").expect(0, "of 30 | 30 sent in");
}

#[test]
fn an_endpoint_is_deleted_if_the_reply_is_yes() {
    for (typed, remaining) in [("y\n", 0), ("n\n", 1), ("\n", 1)] {
        let api = Api::start();
        api.add(&json!({"url": "https://app.example.com/", "events": ["match.found"]}));
        let ran = run_in_terminal(&api.command("delete 7"), "[y/N]", typed);
        ran.expect(remaining, "Delete endpoint 7 (https://app.example.com/)");
        assert_eq!(
            api.stored.lock().unwrap().endpoints.len(),
            usize::from(remaining == 1)
        );
    }
}

#[test]
fn the_users_command_can_ask_for_a_password() {
    let api = Api::start();
    api.add(&json!({"url": "https://app.example.com/", "events": ["match.found"]}));
    let ask = "printf Password: >/dev/tty; read -r token </dev/tty; echo $token";
    let mut command = api.bare("reconcile");
    command.args(["--token-command", ask]);
    let ran = run_in_terminal(&command, "Password:", &format!("{TOKEN}\n"));
    ran.expect(0, "Every event arrived");
}

#[test]
fn a_command_to_copy_is_in_one_line() {
    let listen = cli!("listen --addr 0 --inspect off");
    let ran = run_in_terminal(&listen, "/webhooks/soundhash", "\u{3}").expect(0, "Stopping");
    let mut lines = ran.stdout.lines();
    let line = lines.find(|line| line.contains("soundhash-webhook send"));
    assert!(line.unwrap().contains("--all --url http://127"), "{ran:#?}");
}

#[test]
fn rows_that_do_not_fit_become_lists_and_no_word_is_broken() {
    let api = Api::start();
    let url = "https://app.example.com/hooks";
    let events = ["match.found", "subscription.updated"];
    api.add(&json!({"url": url, "events": events}));
    let ran = run_in_terminal(&api.command("list"), "", "").expect(0, url);
    assert!(ran.stdout.contains("SENT"), "{ran:#?}");
    assert_eq!(ran.stdout.lines().count(), 3, "a table: {ran:#?}");
    let list = api.command("list");
    let ran =
        run_in_terminal_of(60, &list, "", "").expect(0, format!("{url} | subscription.updated"));
    assert!(ran.stdout.lines().count() > 6, "a list: {ran:#?}");

    api.stored.lock().unwrap().deliveries = vec![json!({
        "id": 1, "webhook_id": 7, "event_id": "a".repeat(32), "attempt_number": 4, "status": "failed",
        "created_at": "2026-11-23T08:56:12",
        "error_message": "Cannot connect to host app.example.com",
    })];
    run_in_terminal_of(60, &api.command("deliveries 7"), "", "").expect(0, "Cannot connect to");
}

#[test]
fn the_checks_of_doctor_fit_a_narrow_terminal() {
    let app = App::start(|_| response("401 Unauthorized", &"Please log in. ".repeat(9)));
    let mut doctor = cli!("doctor {app}");
    doctor.env_remove("NO_COLOR");
    let ran = run_in_terminal_of(60, &doctor, "", "").expect(1, "exclude this path.");
    assert!(
        ran.stdout.contains("\u{1b}[1m\u{1b}[31mfailed "),
        "{ran:#?}"
    );
    let ran = run_in_terminal_of(60, doctor.env("NO_COLOR", "1"), "", "").expect(1, "");
    for line in ran.stdout.lines() {
        assert!(
            !line.contains('\u{1b}') && line.trim_end().chars().count() <= 60,
            "{line}"
        );
    }
}

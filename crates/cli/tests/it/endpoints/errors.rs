//! The messages for API errors, which say what went wrong and what to do next.

use std::process::Command;

use serde_json::json;

use super::api::{Api, TOKEN};
use crate::support::{App, Run, bare, check, closed_addr, response};

/// Each row has a token, the arguments, and expected parts of the message. `CREATE` stands for a
/// valid `create` command.
const ROWS: &str = "
    expired-t0ken | list | 401 | SOUNDHASH_API_TOKEN | Could not validate | log in again | REFRESH
    Bearer t0ken-0f-0urs | list | Remove `Bearer `
     | list | SOUNDHASH_API_TOKEN is set, but empty | 403
    inactive | list | may not do this | Inactive user account
    TOKEN | show 99 | may belong to another account | endpoints list
    TOKEN | show 5 | there is no endpoint 5 | endpoints list
    TOKEN | stats 5 | there is no endpoint 5
    TOKEN | test 5 | there is no endpoint 5
    TOKEN | deliveries 5 | there is no endpoint 5
    TOKEN | show HUGE | the URL of the request is not valid
    TOKEN | delete 5 -y | there is no endpoint 5
    TOKEN | rotate 5 | there is no endpoint 5
    TOKEN | CREATE,video.uploaded | event type `video.uploaded` | It knows: | api_limit.reached
    TOKEN | CREATE,match.fund | Do you mean `match.found`?
    TOKEN | update 7 --event made.up | `made.up` | subscription.updated
    TOKEN | CREATE --url http://localhost:3000/ | tunnel | cannot reach your machine | ngrok
    TOKEN | CREATE --url http://127.0.0.1:3000/hooks | tunnel
    TOKEN | CREATE --description LONG | 422 | description: String is too long
    broken | CREATE | 500 | Failed to create webhook | `endpoints list` before you repeat
    broken | list | 500 | try later
    proxy | list | 502 Bad Gateway | web page
    limited | list | 429 | 5 per 1 minute | Wait a minute
    page | list | with a web page (text/html) | SOUNDHASH_API_URL
    truncated | list | not valid JSON
    other-json | show 7 | not understood | missing field
    other-json | CREATE | an endpoint was created | not understood | missing field | delete it
    redirect | list | redirects to https://login.example.com/ | not sent there
    slow | list --timeout 0.3 | did not respond within 0.3 seconds
    slow | CREATE --timeout 0.3 | `endpoints list` before you repeat";

#[test]
fn messages_name_the_status_and_the_fix() {
    let api = Api::start();
    api.add(&json!({"url": "https://app.example.com/", "events": ["match.found"]}));
    for row in ROWS.trim_start_matches('\n').lines() {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let url = "--url https://app.example.com/";
        let url = if cells[1].contains("--url") { "" } else { url };
        let create = format!("create {url} --event match.found");
        let line = cells[1].replace("CREATE", &create);
        let line = line.replace("LONG", &"a".repeat(501));
        let line = line.replace("HUGE", &"a".repeat(70_000));
        let token = cells[0].replace("TOKEN", TOKEN);
        let mut command = api.command_with(&token, &format!("endpoints {line}"));
        let ran = command.expect(1, cells[2..].join("|"));
        assert!(ran.stderr.contains("error: "), "{ran:#?}");
        assert_eq!(ran.stdout, "");
        for secret in [TOKEN, "expired-t0ken", "\u{1b}"] {
            assert!(!ran.all().contains(secret), "{ran:#?}");
        }
        let changes = line.starts_with("create");
        assert!(changes || !ran.stderr.contains("before you"), "{ran:#?}");
    }
}

/// Attack: a JSON response that would take up a hundred times as much memory as its text if it were
/// kept.
#[test]
fn a_large_response_takes_little_memory() {
    let api = Api::start();
    let stop = "ulimit -v 1000000; exec \"$0\" endpoints \"$@\"";
    for line in ["list", "list --json", "show 7", "deliveries 7 --json"] {
        let mut shell = Command::new("sh");
        shell.args(["-c", stop, env!("CARGO_BIN_EXE_soundhash-webhook")]);
        shell.args(line.split_whitespace());
        shell.env("SOUNDHASH_API_URL", &api.url);
        shell.env("SOUNDHASH_API_TOKEN", "large");
        let ran = shell.reads("");
        let status = i32::from(!line.ends_with("json"));
        assert_eq!(ran.status, status, "{line}: {}", ran.stderr);
    }
}

#[test]
fn variables_and_servers_that_are_missing_or_wrong() {
    // Each line has a URL and a token. `-` means that the URL is not set.
    let list = |line: &str| {
        let mut command = bare!("endpoints list");
        let (url, token) = line.split_once(' ').unwrap();
        command.env("SOUNDHASH_API_TOKEN", token);
        if url != "-" {
            command.env("SOUNDHASH_API_URL", url);
        }
        command
    };
    let other = App::start(|_| response("404 Not Found", "nothing here"));
    let (other, dead) = (other.addr, closed_addr());
    let rows = format!(
        "- t0ken | 2 | SOUNDHASH_API_URL is not set | scheme and host
        a.example t0ken | 2 | SOUNDHASH_API_URL
        https://a.example/api/v1 t0ken | 2 | SOUNDHASH_API_URL
        https://a.example/?a t0ken | 2 | SOUNDHASH_API_URL
        ftp://a.example t0ken | 2 | SOUNDHASH_API_URL
        http://a.invalid/ t0ken | 1 | without encryption | cannot connect
        http://{other} t0ken | 1 | no SoundHash API at SOUNDHASH_API_URL | 404
        http://{dead} t0ken | 1 | connect to http://127.0.0.1: | refused | SOUNDHASH_API_URL"
    );
    check(list, &rows);
    let mut command = bare!("endpoints list");
    command.env("SOUNDHASH_API_URL", "https://a.example");
    command.expect(2, "SOUNDHASH_API_TOKEN is not set");
    command.env("SOUNDHASH_API_TOKEN", "t0ken\n");
    let ran = command.expect(2, "line end");
    assert!(!ran.all().contains("t0ken"), "{ran:#?}");
    let ran = list("https://me:passw0rd@a.example t0ken")
        .expect(2, "SOUNDHASH_API_URL | user name or a password");
    assert!(!ran.all().contains("passw0rd"), "{ran:#?}");
}

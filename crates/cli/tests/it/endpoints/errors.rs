//! Each error of the API says what went wrong and what to do next.

use std::time::{Duration, Instant};

use serde_json::json;

use super::api::{Api, TOKEN};
use crate::support::{App, Ran, bare, free_addr, response, run};

const CREATE: &str = "create --url https://app.example.com/ --event match.found";

#[track_caller]
fn fails(token: &str, line: &str, parts: &[&str]) -> Ran {
    let api = Api::start();
    api.add(&json!({"url": "https://app.example.com/", "events": ["match.found"]}));
    let ran = run(&mut api.command_with(token, line)).expect(1, parts);
    assert!(ran.stderr.contains("error: "), "{ran:#?}");
    assert_eq!(ran.stdout, "");
    assert!(!ran.all().contains(TOKEN), "{ran:#?}");
    assert!(!ran.all().contains('\u{1b}'), "{ran:#?}");
    ran
}

#[test]
fn tokens() {
    let parts = [
        "401",
        "SOUNDHASH_API_TOKEN",
        "Could not validate",
        "log in again",
        "SOUNDHASH_API_REFRESH_TOKEN",
    ];
    let ran = fails("expired-t0ken", "list", &parts);
    assert!(!ran.all().contains("expired-t0ken"), "{ran:#?}");
    fails(&format!("Bearer {TOKEN}"), "list", &["Remove `Bearer `"]);
    fails(
        "",
        "list",
        &["SOUNDHASH_API_TOKEN is set, but empty", "403"],
    );
    fails(
        "inactive",
        "list",
        &["may not do this", "Inactive user account"],
    );
    fails(
        TOKEN,
        "show 99",
        &["may belong to another account", "endpoints list"],
    );
}

#[test]
fn endpoints_that_do_not_exist() {
    for line in [
        "show 5",
        "stats 5",
        "test 5",
        "deliveries 5",
        "delete 5 -y",
        "rotate 5",
    ] {
        fails(TOKEN, line, &["there is no endpoint 5", "endpoints list"]);
    }
}

#[test]
fn an_event_type_that_the_api_does_not_take_lists_those_it_takes() {
    let line = "create --url https://app.example.com/ --event match.found,video.uploaded";
    let parts = [
        "event type `video.uploaded`",
        "It knows:",
        "match.found",
        "api_limit.reached",
    ];
    fails(TOKEN, line, &parts);
    fails(
        TOKEN,
        "update 7 --event made.up",
        &["`made.up`", "subscription.updated"],
    );
    let line = "create --url https://app.example.com/ --event match.fund";
    fails(TOKEN, line, &["Do you mean `match.found`?"]);
}

#[test]
fn a_local_url_needs_a_tunnel() {
    for url in ["http://localhost:3000/", "http://127.0.0.1:3000/hooks"] {
        let line = format!("create --url {url} --event match.found");
        fails(
            TOKEN,
            &line,
            &["tunnel", "cannot reach your machine", "ngrok"],
        );
    }
}

#[test]
fn what_the_validation_says() {
    let line = format!("{CREATE} --description {}", "a".repeat(501));
    fails(TOKEN, &line, &["422", "description: String is too long"]);
}

#[test]
fn a_failing_api() {
    fails(
        "broken",
        CREATE,
        &["500", "Failed to create webhook", "`endpoints list` before"],
    );
    let ran = fails("broken", "list", &["500", "try later"]);
    assert!(!ran.stderr.contains("before you repeat"), "{ran:#?}");
    fails("proxy", "list", &["502 Bad Gateway", "web page"]);
    fails(
        "limited",
        "list",
        &["429", "5 per 1 minute", "Wait a minute"],
    );
}

#[test]
fn responses_that_are_not_from_the_api() {
    fails(
        "page",
        "list",
        &[
            "a web page (text/html)",
            "not with JSON",
            "SOUNDHASH_API_URL",
        ],
    );
    fails("truncated", "list", &["not valid JSON"]);
    fails("other-json", "show 7", &["not understood", "missing field"]);
    fails(
        "redirect",
        "list",
        &["redirects to https://login.example.com/", "not sent there"],
    );
    let other = App::start(|_| response("404 Not Found", "nothing here"));
    let mut command =
        bare("endpoints create --url https://a.example/ --event a".split_whitespace());
    let url = format!("http://{}", other.addr);
    command
        .env("SOUNDHASH_API_URL", url)
        .env("SOUNDHASH_API_TOKEN", TOKEN);
    run(&mut command).expect(1, &["no SoundHash API at SOUNDHASH_API_URL", "404"]);
}

#[test]
fn an_api_that_does_not_respond() {
    let start = Instant::now();
    fails(
        "slow",
        "list --timeout 0.3",
        &["did not respond within 0.3 seconds"],
    );
    let line = format!("{CREATE} --timeout 0.3");
    fails("slow", &line, &["`endpoints list` before you repeat"]);
    assert!(start.elapsed() < Duration::from_secs(15));

    let mut command = bare(["endpoints", "list"]);
    let url = format!("http://{}", free_addr());
    command
        .env("SOUNDHASH_API_URL", url)
        .env("SOUNDHASH_API_TOKEN", TOKEN);
    run(&mut command).expect(
        1,
        &[
            "cannot connect to http://127.0.0.1:",
            "refused",
            "SOUNDHASH_API_URL",
        ],
    );
}

#[test]
fn variables_that_are_missing_or_wrong() {
    let list = |url: Option<&str>, token: Option<&str>| {
        let mut command = bare(["endpoints", "list"]);
        let variables = [("SOUNDHASH_API_URL", url), ("SOUNDHASH_API_TOKEN", token)];
        for (name, value) in variables {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        run(&mut command)
    };
    list(None, Some(TOKEN)).expect(2, &["SOUNDHASH_API_URL is not set", "scheme and host"]);
    list(Some("https://a.example"), None).expect(2, &["SOUNDHASH_API_TOKEN is not set"]);
    let ran = list(Some("https://a.example"), Some("t0ken\n")).expect(2, &["line end"]);
    assert!(!ran.all().contains("t0ken"), "{ran:#?}");
    for url in [
        "a.example",
        "https://a.example/api/v1",
        "https://a.example/?a",
        "ftp://a.example",
    ] {
        list(Some(url), Some(TOKEN)).expect(2, &["SOUNDHASH_API_URL"]);
    }
    let ran = list(Some("https://me:passw0rd@a.example"), Some(TOKEN));
    let ran = ran.expect(2, &["SOUNDHASH_API_URL", "user name or a password"]);
    assert!(!ran.all().contains("passw0rd"), "{ran:#?}");
    let ran = list(Some("http://a.invalid/"), Some(TOKEN));
    ran.expect(1, &["without encryption", "cannot connect"]);
}

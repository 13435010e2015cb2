//! The commands for a single endpoint, the endpoint list, and the delivery log.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    process::Stdio,
};

use serde_json::{Value, json};

use super::api::Api;
use crate::support::{Ran, Run, folder};

const URL: &str = "https://app.example.com/hooks";

fn with_two() -> Api {
    let api = Api::start();
    api.add(&json!({
        "url": URL, "events": ["match.found", "video.processed"], "description": "Production",
        "custom_headers": {"X-Api-Key": "cust0m"}, "rate_limit_per_minute": 60,
        "total_deliveries": 41, "successful_deliveries": 40, "failed_deliveries": 1,
        "last_delivery_at": "2026-11-23T08:56:12.681555",
    }));
    api.add(&json!({
        "url": format!("https://staging.example.com/{}", "long/".repeat(20)),
        "events": ["job.failed"], "is_active": false, "description": "evil\u{1b}[2J\u{202e}",
    }));
    api
}

#[track_caller]
fn printed(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn list_shows_a_table_or_the_response_as_json() {
    let api = with_two();
    let ran = api.command("list").expect(0, "");
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("ID  URL"), "{ran:#?}");
    let start = "7   https://app.example.com/hooks";
    assert!(lines[1].starts_with(start), "{ran:#?}");
    assert!(lines[1].ends_with("yes       41       1"), "{ran:#?}");
    assert!(ran.stdout.contains("  no  "), "{ran:#?}");
    assert_eq!(ran.stderr, "");

    let ran = api.command("list --json").expect(0, "");
    assert_eq!(printed(&ran).as_array().unwrap().len(), 2);
    assert_eq!(printed(&ran)[1]["description"], "evil\u{1b}[2J\u{202e}");
    assert!(!ran.stdout.contains(['\u{1b}', '\u{202e}']), "{ran:#?}");
    for (option, id) in [("inactive", 8), ("active", 7)] {
        let ran = api.command(&format!("list --{option} --json")).reads("");
        assert_eq!(printed(&ran)[0]["id"], id);
    }
    let none = "There are no endpoints";
    Api::start().command("list").expect(0, none);
}

#[test]
fn create_sends_every_setting_and_prints_the_secret_once() {
    let api = Api::start();
    let line = format!("create --url {URL} --event match.found,job.failed --event user.created");
    let parts = "secret made-by-soundhash-7 | does not show it again";
    let ran = api.command(&line).expect(0, parts);
    assert_eq!(ran.stdout.matches("made-by").count(), 1, "{ran:#?}");
    assert!(!ran.stderr.contains("made-by"), "{ran:#?}");
    let (request, body) = api.log().remove(0);
    assert_eq!(request, "POST /api/v1/webhooks");
    let events = ["match.found", "job.failed", "user.created"];
    assert_eq!(body, json!({"url": URL, "events": events}));
    let ran = api.command(&format!("{line} --json")).expect(0, "");
    assert_eq!(printed(&ran)["secret"], "made-by-soundhash-8");

    let file = folder("create").join("headers");
    fs::write(&file, "X-Api-Key: cust0m: value\n\nX-Tenant:acme\n").unwrap();
    let mut command = api.command(&format!("{line} --rate-limit 60 --headers-file"));
    command.arg(&file).args(["--description", "Our production"]);
    assert!(!command.expect(0, "").all().contains("cust0m"));
    let headers = json!({"X-Api-Key": "cust0m: value", "X-Tenant": "acme"});
    let body = json!({
        "url": URL, "events": events, "description": "Our production",
        "rate_limit_per_minute": 60, "custom_headers": headers,
    });
    assert_eq!(api.log()[2].1, body);
    fs::write(&file, "cust0m\n").unwrap();
    let ran = command.expect(2, "line 1 is not `Name: value`");
    assert!(!ran.all().contains("cust0m"), "{ran:#?}");
}

#[test]
fn the_secret_file_is_for_its_owner_alone_and_never_overwritten() {
    let api = Api::start();
    let file = folder("create").join("secret");
    let name = file.display();
    let line = format!("create --url {URL} --event match.found --secret-file {name}");
    for json in ["", "--json"] {
        let mut command = api.command(&format!("{line} {json}"));
        let ran = command.expect(0, "Keep the secret");
        assert!(!ran.all().contains("made-by"), "{ran:#?}");
        let secret = fs::read_to_string(&file).unwrap();
        assert!(secret.starts_with("made-by-soundhash-"));
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_file(&file).unwrap();
    }

    fs::write(&file, "older").unwrap();
    let before = api.log().len();
    api.check(&format!("{line} | 2 | exists and is not overwritten"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "older");
    // The command failed before it created an endpoint, so no secret was lost.
    assert_eq!(api.log().len(), before);

    // If endpoint creation fails, no empty file is left behind.
    fs::remove_file(&file).unwrap();
    let wrong = line.replace("match.found", "made.up");
    api.command(&wrong).expect(1, "");
    assert!(!file.exists());
}

#[test]
fn a_secret_that_cannot_be_printed_is_an_error() {
    let api = Api::start();
    let (reader, unread) = io::pipe().unwrap();
    drop(reader);
    let full = File::create("/dev/full").unwrap();
    for output in [Stdio::from(unread), Stdio::from(full)] {
        let mut command = api.command(&format!("create --url {URL} --event match.found"));
        let ran = command.stdout(output).output().unwrap();
        assert_eq!(ran.status.code(), Some(1));
        let log = String::from_utf8(ran.stderr).unwrap();
        assert!(log.contains("was created, but its secret is lost"), "{log}");
    }
}

#[test]
fn endpoints_are_shown_changed_tested_and_deleted() {
    let api = with_two();
    api.check(
        r"show 7 | 0 | Production | 60 per minute | X-Api-Key: (hidden) | 08:56:12
        show 8 | 0 | evil\u{1b}[2J\u{202e}
        stats 7 | 0 | 97.6 % | 42 ms | deliveries 41 | never
        test 7 | 0 | accepted | 200 | 8 ms
        test 7 --event rejected | 1 | not accepted | 401 | Invalid\u{1b}[2J sign | another secret
        test 7 --event unreachable | 1 | Cannot connect to host
        update 7 | 2 | nothing to change
        update 7 --inactive | 0 | active no
        update 7 --active --event job.failed --url https://b.example/ | 0 | https://b.example/
        update 7 --rate-limit 5 | 0 | 5 per minute
        delete 7 | 2 | --yes
        delete 7 --yes | 0 | Endpoint 7 is deleted",
    );
    let shown = with_two().command("show 7").reads("").all();
    assert!(!shown.contains("cust0m"), "{shown}");
    let bodies: Vec<_> = api.log().into_iter().skip(3).collect();
    let changed = json!({
        "is_active": true, "events": ["job.failed"], "url": "https://b.example/",
    });
    for (index, request, body) in [
        (0, "POST /7/test", json!({"event_type": "match.found"})),
        (3, "PATCH /7", json!({"is_active": false})),
        (4, "PATCH /7", changed),
        (6, "DELETE /7", Value::Null),
    ] {
        let request = request.replace(" /", " /api/v1/webhooks/");
        assert_eq!(bodies[index], (request, body));
    }

    let api = with_two();
    let json = |line: &str, status| printed(&api.command(line).expect(status, ""));
    assert_eq!(json("show 7 --json", 0)["url"], URL);
    assert_eq!(json("stats 7 --json", 0)["total_deliveries"], 41);
    let line = "test 7 --json --event rejected --data {\"a\":1}";
    assert_eq!(json(line, 1)["status_code"], 401);
    assert_eq!(api.log()[2].1["test_data"], json!({"a": 1}));
    // A line break in a value cannot forge another row.
    let description = json!("old\nactive  yes");
    api.stored.lock().unwrap().endpoints.get_mut(&8).unwrap()["description"] = description;
    api.check(r"show 8 | 0 | old\nactive yes | active no");
    let deleted = json!({"id": "8", "deleted": true});
    assert_eq!(json("delete 8 --yes --json", 0), deleted);
    assert_eq!(api.stored.lock().unwrap().endpoints.len(), 1);
}

fn attempt(event: u64, number: u64, status: &str) -> Value {
    json!({
        "id": event * 10 + number, "webhook_id": 7, "event_id": event, "attempt_number": number,
        "status": status, "response_status_code": if status == "success" { 200 } else { 503 },
        "error_message": null, "duration_ms": 12, "next_retry_at": null,
        "created_at": format!("2026-11-23T08:{event:02}:{number:02}.5"), "delivered_at": null,
        "updated_at": "2026-11-23T08:56:12",
    })
}

#[test]
fn deliveries_are_attempts_and_failed_ones_are_lost_events() {
    let api = with_two();
    api.check("deliveries 7 | 0 | no such attempts");
    api.check("deliveries 7 --failed | 0 | Every event in the log");

    let mut waiting = attempt(13, 2, "retrying");
    waiting["next_retry_at"] = json!("2999-01-01T00:00:00");
    let mut forgotten = attempt(14, 1, "retrying");
    forgotten["next_retry_at"] = json!("2026-11-23T08:57:12+00:00");
    let mut broken = attempt(11, 4, "failed");
    broken["error_message"] = json!("Request\u{1b}[31m timeout\nafter 30000ms");
    api.stored.lock().unwrap().deliveries = vec![
        forgotten,
        waiting,
        attempt(12, 2, "success"),
        // A duplicate attempt after the successful one.
        attempt(12, 3, "failed"),
        attempt(12, 1, "retrying"),
        broken,
        attempt(11, 3, "retrying"),
    ];
    let ran = api.command("deliveries 7").expect(0, "success | retrying");
    assert_eq!(ran.stdout.lines().count(), 8, "{ran:#?}");
    assert!(!ran.stdout.contains('\u{1b}'));
    let path = "/api/v1/webhooks/7/deliveries";
    assert_eq!(api.log()[2].0, format!("GET {path}?limit=100"));

    let ran = api.command("deliveries 7 --failed").expect(0, "");
    let lines = ran.stdout.lines().skip(1);
    let fates = lines.map(|line| line.split_whitespace().skip(3).take(4).collect::<Vec<_>>());
    let expected = ["14 1 lost 503", "13 2 retrying 503", "11 4 lost 503"];
    assert!(fates.map(|fate| fate.join(" ")).eq(expected), "{ran:#?}");
    let ran = api.command("deliveries 7 --failed --json").expect(0, "");
    let printed = printed(&ran);
    let ids = printed.as_array().unwrap().iter().map(|it| &it["id"]);
    assert!(ids.eq(&[141, 132, 114, 113]), "{printed}");

    api.check("deliveries 7 --status success --limit 5 | 0 | 12");
    let (request, _) = api.log().pop().unwrap();
    assert_eq!(request, format!("GET {path}?limit=5&status=success"));
}

#[test]
fn a_full_log_says_that_older_events_are_missing() {
    let api = with_two();
    api.stored.lock().unwrap().deliveries = vec![attempt(1, 1, "success"); 1000];
    api.check("deliveries 7 --failed | 0 | older events are not shown");
}

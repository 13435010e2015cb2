//! `reconcile` against a server that behaves like SoundHash's API.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    endpoints::api::{Api, REFRESH_TOKEN, TOKEN},
    support::{PATIENCE, Process, Ran, Run, check, folder},
};

/// Starts an API with endpoint 7 and the given delivery attempts.
pub(crate) fn api(attempts: Vec<Value>) -> Api {
    let api = Api::start();
    api.add(&json!({"url": "https://app.example.com/", "events": ["match.found"]}));
    api.stored.lock().unwrap().deliveries = attempts;
    api
}

/// Returns the time this many minutes ago.
pub(crate) fn ago(minutes: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_mins(minutes)
}

pub(crate) fn attempt(event: u64, number: u64, status: &str, time: Timestamp) -> Value {
    // SoundHash writes times without an offset.
    let naive = |time: Timestamp| time.to_string().trim_end_matches('Z').to_owned();
    json!({
        "id": event * 10 + number, "webhook_id": 7, "event_id": event, "attempt_number": number,
        "status": status, "response_status_code": if status == "success" { 200 } else { 503 },
        "error_message": null, "duration_ms": 12, "created_at": naive(time),
        "next_retry_at": (status == "retrying").then(|| naive(time + SignedDuration::from_mins(1))),
        "delivered_at": (status != "pending").then(|| naive(time)), "updated_at": naive(time),
    })
}

/// Returns a line in the format of `listen --json`.
fn line(id: &str, time: Timestamp) -> String {
    let line = json!({
        "time": time, "id": id, "type": "match.found", "sender": "dispatcher",
        "verdict": "accepted", "reason": null, "status": 200, "duration_ms": 0.4,
    });
    format!("{line}\n")
}

pub(crate) fn reconcile(api: &Api, line: &str) -> Command {
    api.command_with(TOKEN, &format!("reconcile {line}"))
}

#[track_caller]
fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn every_event_arrived() {
    reconcile(&api(Vec::new()), "").expect(0, "Every event arrived | --recorded");
    let (first, second) = (ago(60), ago(120));
    let api = api(vec![
        attempt(1, 1, "success", first),
        attempt(2, 1, "retrying", second),
        attempt(2, 2, "success", second + SignedDuration::from_mins(1)),
    ]);
    let mut lines = line("a", first) + &line("b", second) + &line("b", ago(110));
    // The next two deliveries are not in SoundHash's log, and the last line is incomplete.
    lines += &line("c", first).replace("dispatcher", "portal");
    lines += &line("d", first).replace("accepted", "rejected");
    lines += "{\"time\":";
    let ran = reconcile(&api, "--recorded -").reads(&lines);
    let ran = ran.expect(0, "delivered 2 | recorded 2 | missing 0");
    assert!(!ran.all().contains("Records without"), "{ran:#?}");

    // Attack: repeat a recorded delivery that has no id.
    let repeated = line("b", second)
        .replace("\"b\"", "null")
        .replace("accepted", "duplicate");
    let ran = reconcile(&api, "--recorded -").reads(line("a", first) + &repeated);
    ran.expect(1, "delivered 2 | recorded 1 | missing 1");

    // A full disk can leave half a line, to which the next one is appended.
    let torn = "{\"time\":\"2026".to_owned() + &line("c", first);
    let ran = reconcile(&api, "--recorded -").reads(torn + &lines);
    let parts = "delivered 2 | recorded 2 | missing 0 | skipped 1 damaged line, | line 1: ";
    ran.expect(0, parts);
}

#[test]
fn lost_events_and_events_without_a_record_are_missing() {
    let folder = folder("reconcile");
    let (records, metrics) = (folder.join("records.jsonl"), folder.join("soundhash.prom"));
    let api = api(vec![
        attempt(1, 4, "failed", ago(60)),
        attempt(2, 1, "retrying", ago(90)),
        attempt(3, 1, "success", ago(120)),
        attempt(4, 1, "success", ago(180)),
        attempt(5, 1, "success", ago(180)),
        // This attempt was made after the end of the window.
        attempt(6, 4, "failed", ago(1)),
    ]);
    let lines = line("a", ago(180)) + &line("test", ago(300));
    fs::write(&records, lines).unwrap();
    let seen = folder.join("seen");
    let hook =
        r#"echo "$SOUNDHASH_MISSING_COUNT $SOUNDHASH_MISSING_SINCE" >"$SEEN"; cat >>"$SEEN""#;
    let mut command = reconcile(&api, "--recorded");
    command.arg(&records).arg("--prometheus").arg(&metrics);
    command.args(["--on-missing", hook]).env("SEEN", &seen);
    let parts = "delivered 3 | recorded 1 | at least 4 | 503 | all 1 | at least 1 | an event in SoundHash's log: 1. | redirect";
    let ran = command.expect(1, parts);
    assert!(!ran.all().contains("arrived"), "{ran:#?}");

    let seen = fs::read_to_string(seen).unwrap();
    let (first, rest) = seen.split_once('\n').unwrap();
    let (count, since) = first.split_once(' ').unwrap();
    let since: Timestamp = since.parse().unwrap();
    assert_eq!(count, "4");
    assert!((ago(182)..ago(179)).contains(&since), "{since}");
    let rest: Value = serde_json::from_str(rest).unwrap();
    assert_eq!(rest["verdict"], "missing");
    assert_eq!(rest["missing"], 4);

    let text = fs::read_to_string(&metrics).unwrap();
    for (name, value) in [("missing_events", 4), ("status", 1)] {
        let line = format!("\nsoundhash_webhook_reconcile_{name}{{endpoints=\"all\"}} {value}\n");
        assert!(text.contains(&line), "{text}");
    }
    if let Ok(mut promtool) = Command::new("promtool")
        .stdin(fs::File::open(&metrics).unwrap())
        .args(["check", "metrics"])
        .spawn()
    {
        assert!(promtool.wait().unwrap().success(), "{text}");
    }

    let mut command = reconcile(&api, "--json --on-missing");
    let ran = command.arg("exit 3").expect(1, "--on-missing failed | 3");
    for failed in report(&ran)["failed"].as_array().unwrap() {
        assert_eq!(failed["fate"], "lost");
    }
    fs::create_dir(folder.join("taken.prom")).unwrap();
    let mut command = reconcile(&api, "--since 50m --prometheus");
    command
        .arg(folder.join("taken.prom"))
        .expect(2, "--prometheus");
    assert!(!folder.join("taken.prom.new").exists());
}

#[test]
fn links_and_devices_are_not_replaced_by_metrics() {
    let folder = folder("not-replaced");
    let (metrics, link) = (folder.join("soundhash.prom"), folder.join("link.prom"));
    fs::write(&metrics, "old").unwrap();
    std::os::unix::fs::symlink(&metrics, &link).unwrap();
    let api = api(vec![attempt(1, 1, "success", ago(60))]);
    for path in [&link, Path::new("/dev/full")] {
        let mut command = reconcile(&api, "--prometheus");
        command
            .arg(path)
            .expect(2, "--prometheus | not a regular file");
    }
    assert!(link.is_symlink() && !Path::new("/dev/full").is_file());
    assert_eq!(fs::read_to_string(&metrics).unwrap(), "old");
    let mut command = reconcile(&api, "--endpoint 7 --prometheus");
    command.arg(&metrics).expect(0, "arrived");
    let status = "soundhash_webhook_reconcile_status{endpoints=\"7\"} 0";
    assert!(fs::read_to_string(&metrics).unwrap().contains(status));
}

/// Cron jobs often write their output to a file.
#[test]
fn a_report_that_cannot_be_written_is_still_acted_upon() {
    let folder = folder("unwritten");
    let run = |attempts, name: &str, is_full| {
        let (metrics, seen) = (folder.join(name), folder.join(name).with_extension("seen"));
        let mut command = reconcile(&api(attempts), "--on-missing");
        command.arg("cat >\"$SEEN\"").env("SEEN", &seen);
        command.arg("--prometheus").arg(&metrics);
        let (reader, unread) = io::pipe().unwrap();
        drop(reader);
        let full = fs::File::create("/dev/full").unwrap();
        let output = if is_full {
            Stdio::from(full)
        } else {
            unread.into()
        };
        let status = command.stdout(output).output().unwrap().status;
        assert!(metrics.exists());
        (status.code(), seen.exists())
    };
    for is_full in [false, true] {
        let missing = vec![attempt(1, 4, "failed", ago(60))];
        let name = format!("missing-{is_full}.prom");
        assert_eq!(run(missing, &name, is_full), (Some(1), true));
        let arrived = vec![attempt(1, 1, "success", ago(60))];
        let name = format!("arrived-{is_full}.prom");
        let status = if is_full { 2 } else { 0 };
        assert_eq!(run(arrived, &name, is_full), (Some(status), false));
    }
}

#[test]
fn a_repetition_of_an_older_event_hides_no_missing_event() {
    let api = api(vec![attempt(1, 1, "success", ago(60))]);
    let older = line("old", ago(180));
    let again = line("old", ago(60)).replace("accepted", "duplicate");
    let ran = reconcile(&api, "--since 2h --recorded -").reads(older + &again);
    ran.expect(1, "missing 1");
    // A retry is a duplicate, too, if the response to the first attempt was lost.
    let ran = reconcile(&api, "--since 2h --recorded -").reads(&again);
    ran.expect(0, "Every event arrived");
}

#[test]
fn lines_that_are_no_records_are_skipped() {
    let api = api(vec![attempt(1, 1, "success", ago(60))]);
    let time = ago(60);
    let long = "\0".repeat(3 << 20) + "\n";
    let other = format!("{{\"time\": \"{time}\", \"message\": \"started\"}}\n");
    let lines = long + &other + &line("x", ago(90));
    let ran = reconcile(&api, "--recorded -").reads(lines);
    ran.expect(
        1,
        "missing 1 | skipped 2 damaged lines | line 1: more than 1 MiB",
    );
}

/// SoundHash's log does not show the portal's deliveries.
#[test]
fn a_record_of_the_portal_hides_no_missing_event() {
    let api = api(vec![attempt(1, 1, "success", ago(60))]);
    let portal = line("1764489600000", ago(60)).replace("dispatcher", "portal");
    let key = format!("d13:1764489600000;b{}", "0".repeat(64));
    let listed = format!("{{\"key\": \"{key}\", \"time\": \"{}\"}}\n", ago(60));
    for record in [portal, listed] {
        let ran = reconcile(&api, "--recorded -").reads(record);
        ran.expect(1, "missing 1");
    }
}

#[test]
fn unknown_results_have_status_2() {
    // The event may have arrived even though SoundHash's log lacks the response.
    let unclear = api(vec![attempt(1, 1, "pending", ago(60))]);
    reconcile(&unclear, "").expect(2, "unclear");
    reconcile(&Api::start(), "").expect(2, "no endpoints");
    let waiting = api(vec![attempt(1, 1, "retrying", ago(1))]);
    check(
        |line| reconcile(&waiting, line),
        "--until 0s | 2 | retrying | not known yet
         | 0
        --endpoint 99 | 2 | another account
        --since 1m | 2 | before --until
        --since yesterday | 2 | not an age such as 90m
        --recorded none.jsonl | 2 | none.jsonl | No such file",
    );
    let mut command = reconcile(&waiting, "--recorded -");
    let ran = command.reads("\n{\"time\": 1}\n");
    ran.expect(2, "--recorded -: line 2");
    let ran = command.reads("\n\n".to_owned() + &"a".repeat(2 << 20));
    ran.expect(2, "--recorded -: line 3: more than 1 MiB");
}

/// A child that outlived the command would run concurrently with the child of the next run.
#[test]
fn a_signal_ends_the_users_commands_too() {
    let api = api(vec![attempt(1, 4, "failed", ago(60))]);
    let folder = folder("signal");
    for (name, option, line) in [
        ("hook", "--on-missing", "sleep 600; true"),
        ("deaf", "--on-missing", "trap '' TERM; sleep 600; true"),
        ("token", "--token-command", "sleep 600; true"),
    ] {
        let file = folder.join(name);
        let mut command = api.bare("reconcile");
        if name != "token" {
            command.env("SOUNDHASH_API_TOKEN", TOKEN);
        }
        let line = format!("echo $$ >{0}.new && mv {0}.new {0}; {line}", file.display());
        let process = Process::start(command.args([option, &line]));
        let deadline = Instant::now() + PATIENCE;
        let wait = |what: &str, is_true: &dyn Fn() -> bool| {
            while !is_true() {
                assert!(Instant::now() < deadline, "{name}: {what}");
                sleep(Duration::from_millis(10));
            }
        };
        wait("starts", &|| file.exists());
        process.signal("TERM");
        let (status, ..) = process.ended();
        assert_eq!(status.code(), Some(130), "{name}");
        let id = fs::read_to_string(&file).unwrap();
        let gone = format!("/proc/{}", id.trim());
        wait("ends", &|| !Path::new(&gone).exists());
    }
}

#[test]
fn a_log_that_is_longer_than_the_limit() {
    // There is an event every 10 seconds, and every fifth one fails at first, for a total of 1,800
    // attempts.
    let start = ago(60 * 6);
    let mut attempts = Vec::new();
    let mut lines = String::new();
    for event in 0..1500 {
        let time = start + SignedDuration::from_secs(event * 10);
        let id = event.unsigned_abs();
        let is_late = event % 5 == 0;
        if is_late {
            attempts.push(attempt(id, 1, "retrying", time));
        }
        let end = time + SignedDuration::from_secs(1);
        attempts.push(attempt(id, 1 + u64::from(is_late), "success", end));
        if event != 1000 {
            lines += &line(&event.to_string(), time);
        }
    }
    let api = api(attempts);
    let mut command = reconcile(&api, "--recorded - --json --since 2h");
    let ran = command.reads(&lines).expect(0, "");
    assert_eq!(report(&ran)["verdict"], "complete");
    assert_eq!(api.log().len(), 2);

    let mut command = reconcile(&api, "--recorded - --json --since 270m");
    let ran = command.reads(&lines).expect(1, "");
    assert_eq!(report(&ran)["gaps"][0]["event_ids"], json!([1000]));
    assert_eq!(api.log().len(), 8);
    assert_eq!(report(&ran)["unseen"].as_array().unwrap().len(), 0);

    let mut command = reconcile(&api, "--json --since 7h");
    let ran = command.expect(2, "endpoint 7 only since | shorter --since");
    assert_eq!(report(&ran)["verdict"], "unknown");
}

#[test]
fn a_token_that_expires_is_renewed() {
    // Each line has a token, a refresh token and a command that the user runs to get a token, or `-`
    // instead.
    let command = |line: &str| {
        let mut command = api(Vec::new()).bare("reconcile");
        let [token, refresh, run] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        for (name, value) in [("TOKEN", token), ("REFRESH_TOKEN", refresh)] {
            if value != "-" {
                command.env(format!("SOUNDHASH_API_{name}"), value);
            }
        }
        if run != "-" {
            command.args(["--token-command", run]);
        }
        command
    };
    let rows = format!(
        "brief {REFRESH_TOKEN} - | 0
        brief - echo {TOKEN} | 0
        - {REFRESH_TOKEN} - | 0
        - - echo {TOKEN} | 0
        brief - - | 2 | does not accept SOUNDHASH_API_TOKEN
        - - - | 2 | SOUNDHASH_API_TOKEN is not set
        brief 0ld - | 2 | Invalid refresh token | log in again
        - - exit 4 | 2 | --token-command failed | 4
        - - true | 2 | printed no token
        - - cat /dev/zero | 2 | prints more than 64 KiB
        - - echo wrong | 2 | does not accept"
    );
    check(command, &rows);
    let ran = command(&format!("brief {REFRESH_TOKEN} echo {TOKEN}")).reads("");
    assert!(!ran.all().contains(TOKEN) && !ran.all().contains(REFRESH_TOKEN));
}

#[test]
fn queries_are_repeated_if_the_api_is_busy_or_fails() {
    check(
        |line| {
            let (token, line) = line.split_once(' ').unwrap_or((line, ""));
            let api = api(vec![attempt(1, 1, "success", ago(60))]);
            api.command_with(token, &format!("reconcile {line}"))
        },
        "busy | 0 | 429 Too Many Requests | Trying again in 1 s
        unsteady | 0 | 503 Service Unavailable | Trying again in 1 s
        limited --patience 1.5 | 2 | Trying again | limits how often
        broken --patience 0.1 | 2 | SoundHash failed
        slow --timeout 0.1 --patience 0.1 | 2 | did not respond within",
    );
}

#[test]
fn clocks_that_differ_hide_nothing_and_invent_nothing() {
    let time = ago(60);
    let api = api(vec![attempt(
        1,
        1,
        "success",
        time + SignedDuration::from_mins(10),
    )]);
    let line = line("a", time);
    let mut command = reconcile(&api, "--recorded -");
    let parts = "missing 1 | No record has the time of a delivery";
    command.reads(&line).expect(1, parts);
    api.stored.lock().unwrap().clock_ahead = 600;
    let ran = reconcile(&api, "--recorded -").reads(&line);
    ran.expect(
        0,
        "SoundHash's clock is | ahead of the clock of this machine",
    );
    let ran = reconcile(&api, "--recorded -").reads("");
    ran.expect(1, "all 1");
    api.stored.lock().unwrap().clock_ahead = 0;
    let mut command = reconcile(&api, "--recorded - --clock-difference 700");
    command.reads(&line).expect(0, "");
    api.stored.lock().unwrap().clock_ahead = 86_400 * 365;
    let ran = reconcile(&api, "--recorded -").reads("");
    ran.expect(2, "differ by more than an hour");

    // SoundHash will retry this event, by its own clock.
    let mut retrying = attempt(1, 1, "retrying", ago(51));
    retrying["next_retry_at"] = json!(ago(50));
    let mut stored = api.stored.lock().unwrap();
    (stored.clock_ahead, stored.deliveries) = (-49 * 60, vec![retrying]);
    drop(stored);
    reconcile(&api, "").expect(2, "retrying");
}

#[test]
fn endpoints_are_compared_together_or_alone() {
    let mut second = attempt(1, 1, "success", ago(60));
    second["webhook_id"] = json!(8);
    second["id"] = json!(99);
    let api = api(vec![attempt(1, 1, "success", ago(60)), second]);
    api.add(&json!({"url": "https://app.example.com/", "events": ["match.found"]}));
    let line = line("a", ago(60));
    for arguments in ["--recorded -", "--recorded - --endpoint 8"] {
        let ran = reconcile(&api, arguments).reads(&line);
        ran.expect(0, "delivered 1 | recorded 1");
    }
    let requests: Vec<_> = api.log().into_iter().map(|(request, _)| request).collect();
    assert_eq!(requests[0], "GET /api/v1/webhooks");
    assert_eq!(
        requests[3..],
        ["GET /api/v1/webhooks/8/deliveries?limit=1000"]
    );
}

//! Arguments, which must not contain secrets.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use soundhash_webhook::Secret;

use crate::support::{App, SECRET, bare, command, folder, run};

#[test]
fn a_secret_in_an_argument_is_rejected_and_not_repeated() {
    for arguments in [
        &["send", "--secret", SECRET][..],
        &["verify", &format!("--secret={SECRET}"), "--signature", "00"],
        &["--token", SECRET, "endpoints", "list"],
        // No other error comes first and repeats the secret.
        &["nonsense", "--secret", SECRET],
    ] {
        run(&mut bare(arguments)).expect(2, &["read the arguments", "SOUNDHASH_"]);
    }
}

#[test]
fn a_secret_file_is_read_without_its_line_end() {
    let folder = folder("secret-file");
    let app = App::ok();
    for (name, text) in [
        ("plain", SECRET.to_owned()),
        ("unix", format!("{SECRET}\n")),
        ("windows", format!("{SECRET}\r\n")),
    ] {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        let mut command = bare(["send", "--url", &app.url(), "--secret-file"]);
        run(command.arg(path)).expect(0, &[]);
    }
    let requests = app.requests();
    assert_eq!(requests.len(), 3);
    for request in requests {
        let signature = Secret::new(SECRET).sign(&request.body).to_string();
        assert_eq!(request.header("x-webhook-signature"), [signature]);
    }
    let everyones = folder.join("plain");
    fs::set_permissions(&everyones, Permissions::from_mode(0o666)).unwrap();
    let mut command = bare(["send", "--url", &app.url(), "--secret-file"]);
    run(command.arg(everyones)).expect(0, &["every user of this machine can change"]);
    let marked = folder.join("marked");
    fs::write(&marked, format!("\u{feff}{SECRET}")).unwrap();
    run(bare(["send", "--secret-file"]).arg(marked)).expect(2, &["U+FEFF"]);
    let missing = folder.join("missing");
    run(bare(["send", "--secret-file"]).arg(missing)).expect(2, &["--secret-file", "No such file"]);
}

#[test]
fn a_missing_or_impossible_secret_says_what_to_do() {
    for command in ["send", "listen"] {
        run(&mut bare([command])).expect(2, &["set SOUNDHASH_WEBHOOK_SECRET", "--secret-file"]);
        let mut padded = bare([command]);
        padded.env("SOUNDHASH_WEBHOOK_SECRET", format!("{SECRET}\n"));
        run(&mut padded).expect(2, &["SOUNDHASH_WEBHOOK_SECRET", "whitespace"]);
        padded.env("SOUNDHASH_WEBHOOK_SECRET", "whsec_\u{200b}test");
        run(&mut padded).expect(2, &["invisible character U+200B"]);
        let mut empty = bare([command]);
        run(empty.env("SOUNDHASH_WEBHOOK_SECRET", "")).expect(2, &["empty"]);
    }
}

#[test]
fn wrong_usage_has_status_2_and_says_what_is_wrong() {
    for (line, part) in [
        ("", "Usage: soundhash-webhook"),
        ("nonsense", "unrecognized subcommand"),
        ("send --url example.com", "starts with http:// or https://"),
        (
            "send --url ftp://example.com",
            "starts with http:// or https://",
        ),
        ("send --url http://", "not a URL"),
        ("send --url http://a:99999/", "the port has to be a number"),
        ("send --url http://a:/", "the port has to be a number"),
        ("send --url http://me:pass@a/", "has a user name"),
        ("listen --forward http://exämple.com", "not a URL"),
        ("send --data {", "not JSON"),
        ("send --data @/missing", "No such file"),
        ("send --envelope other", "portal"),
        ("send --count 0", "not in 1.."),
        ("send --rate 0", "not a number from"),
        ("send --all --event a", "cannot be used with"),
        ("send --retry-delay 1", "--retry"),
        ("listen --addr here", "invalid value"),
        ("listen --inspect here", "and not `off`"),
        (
            "listen --inspect 0.0.0.0:4040 --addr 0",
            "kubectl port-forward",
        ),
        ("listen --forward-timeout 1", "--forward"),
        ("verify", "--signature"),
        ("verify --signature 00 /missing", "/missing: No such file"),
        (
            "verify --signature 00 -- --secret",
            "--secret: No such file",
        ),
        ("verify --signature 00 /dev/zero", "more than 8 MiB"),
        ("doctor", "<URL>"),
        ("doctor example.com", "starts with http:// or https://"),
        ("replay", "FILE.http"),
        ("replay /missing", "/missing: No such file"),
        ("endpoints", "Usage: soundhash-webhook endpoints"),
        ("endpoints show ../7", "not an id"),
        ("endpoints list --active --inactive", "cannot be used with"),
        ("completions tcsh", "possible values"),
    ] {
        run(&mut command(line.split_whitespace())).expect(2, &[part]);
    }
}

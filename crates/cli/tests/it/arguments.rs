//! Command-line arguments, which must not contain secrets.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use soundhash_webhook::Secret;

use crate::support::{App, Run, SECRET, bare, bare_command, check, command, folder};

#[test]
fn a_secret_in_an_argument_is_rejected_and_not_repeated() {
    for line in [
        format!("send --secret {SECRET}"),
        format!("verify --secret={SECRET} --signature 00"),
        format!("--token {SECRET} endpoints list"),
        // The wrong command must not cause an earlier error that repeats the secret.
        format!("nonsense --secret {SECRET}"),
    ] {
        bare_command(&line).expect(2, "read the arguments | SOUNDHASH_");
    }
}

#[test]
fn a_secret_file_is_read_without_its_line_end() {
    let folder = folder("secret-file");
    let app = App::ok();
    let send = |name: &str| {
        let mut send = bare!("send --url {app} --secret-file");
        send.arg(folder.join(name));
        send
    };
    for (name, end) in [("plain", ""), ("unix", "\n"), ("windows", "\r\n")] {
        fs::write(folder.join(name), format!("{SECRET}{end}")).unwrap();
        send(name).expect(0, "");
        let request = app.requests().pop().unwrap();
        let signature = Secret::new(SECRET).sign(&request.body).to_string();
        assert_eq!(request.header("x-webhook-signature"), [signature]);
    }
    fs::set_permissions(folder.join("plain"), Permissions::from_mode(0o666)).unwrap();
    send("plain").expect(0, "every user of this machine can change");
    fs::write(folder.join("marked"), format!("\u{feff}{SECRET}")).unwrap();
    send("marked").expect(2, "U+FEFF");
    send("missing").expect(2, "--secret-file | No such file");
}

#[test]
fn a_missing_or_impossible_secret_says_what_to_do() {
    for line in ["send", "listen"] {
        bare_command(line).expect(2, "set SOUNDHASH_WEBHOOK_SECRET | --secret-file");
        for (secret, part) in [
            (&*format!("{SECRET}\n"), "whitespace"),
            ("whsec_\u{200b}test", "invisible character U+200B"),
            ("", "empty"),
        ] {
            let mut command = bare_command(line);
            command.env("SOUNDHASH_WEBHOOK_SECRET", secret);
            command.expect(2, format!("SOUNDHASH_WEBHOOK_SECRET | {part}"));
        }
    }
}

#[test]
fn wrong_usage_has_status_2_and_says_what_is_wrong() {
    check(
        command,
        "
        | 2 | Usage: soundhash-webhook
        nonsense | 2 | unrecognized subcommand
        send --url example.com | 2 | starts with http:// or https://
        send --url ftp://example.com | 2 | starts with http:// or https://
        send --url http:// | 2 | not a URL
        send --url http://a:99999/ | 2 | the port has to be a number
        send --url http://a:/ | 2 | the port has to be a number
        send --url http://me:pass@a/ | 2 | has a user name
        send --url http://127.0.0.1:1/ | 1 | no response | to http://127.0.0.1:1/: Connection refused
        listen --forward http://exämple.com | 2 | not a URL
        send --data { | 2 | not JSON
        send --data @/missing | 2 | No such file
        send --data @/dev/zero | 2 | more than 64 MiB
        send --envelope other | 2 | portal
        send --count 0 | 2 | not in 1..
        send --rate 0 | 2 | not a number from
        send --all --event a | 2 | cannot be used with
        send --retry-delay 1 | 2 | --retry
        listen --addr here | 2 | invalid value
        listen --inspect here | 2 | and not `off`
        listen --inspect 0.0.0.0:4040 --addr 0 | 2 | kubectl port-forward
        listen --forward-timeout 1 | 2 | --forward
        verify | 2 | --signature
        verify --signature 00 /missing | 2 | /missing: No such file
        verify --signature 00 -- --token | 2 | --token: No such file
        verify --signature 00 /dev/zero | 2 | more than 8 MiB
        doctor | 2 | <URL>
        doctor example.com | 2 | starts with http:// or https://
        replay | 2 | FILE.http
        replay /dev/zero | 2 | /dev/zero: more than 64 MiB
        replay /missing | 2 | /missing: No such file
        endpoints | 2 | Usage: soundhash-webhook endpoints
        endpoints show ../7 | 2 | not an id
        endpoints list --active --inactive | 2 | cannot be used with
        completions tcsh | 2 | possible values
        ",
    );
}

/// Without `--forward`, `listen` accepts deliveries and discards them.
#[test]
fn the_image_without_arguments_has_wrong_usage() {
    let image = include_str!("../../../../Dockerfile");
    let mut instructions = image.lines().map(str::trim);
    assert!(instructions.any(|line| line == r#"ENTRYPOINT ["soundhash-webhook"]"#));
    let arguments = instructions.find_map(|line| line.strip_prefix("CMD "));
    assert_eq!(arguments, Some("[]"));
    command("").expect(2, "Usage: soundhash-webhook");
}

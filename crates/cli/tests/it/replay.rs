//! `replay` with requests captured from SoundHash.

use std::{fs, path::Path};

use soundhash_webhook::Secret;

use crate::support::{App, Listen, Run, SECRET, bare, cli, folder};

fn captures() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/captures");
    let files = fs::read_dir(folder).unwrap();
    let files = files.map(|file| file.unwrap().path().to_str().unwrap().to_owned());
    let mut files: Vec<_> = files.collect();
    files.sort();
    assert_eq!(files.len(), 21);
    files
}

fn body(file: &str) -> Vec<u8> {
    let capture = fs::read(file).unwrap();
    let end = capture.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    capture[end + 4..].to_vec()
}

#[test]
fn recorded_deliveries_arrive_with_their_bytes_and_signatures() {
    let app = App::ok();
    // No secret is needed to send the recorded signatures.
    let mut replay = bare!("replay --url {app}");
    let ran = replay
        .args(captures())
        .expect(0, "portal-video.uploaded.http");
    assert_eq!(ran.stderr, "");
    let mut lines = ran.stdout.lines();
    assert!(lines.all(|line| line.chars().count() <= 80), "{ran:#?}");
    let requests = app.requests();
    for (file, request) in captures().iter().zip(&requests) {
        assert_eq!(request.body, body(file), "{file}");
        let signature = Secret::new("whsec_test").sign(&request.body).to_string();
        assert_eq!(request.header("x-webhook-signature"), [signature], "{file}");
        let length = request.body.len().to_string();
        assert_eq!(request.header("content-length"), [length]);
        assert_eq!(request.header("host"), [app.addr.to_string()]);
        assert_eq!(request.header("connection"), [""; 0]);
    }
    assert_eq!(requests.len(), 21);
    assert_eq!(requests[20].header("accept-encoding"), ["gzip, deflate"]);
}

#[test]
fn deliveries_are_signed_again_for_a_receiver_with_another_secret() {
    let listen = Listen::start(&[]);
    let mut replay = cli!("replay --url {}", listen.url);
    replay.args(captures());
    replay.expect(1, "401 Unauthorized | Invalid signature");
    replay.arg("--resign").expect(0, "200 OK");
    replay.expect(
        0,
        "200 OK | The handler did not run for 21 of the deliveries",
    );
    // The file has an additional line break at its end, as if an editor had changed it.
    let file = folder("replay").join("changed.http");
    fs::write(
        &file,
        [fs::read(&captures()[0]).unwrap(), vec![b'\n']].concat(),
    )
    .unwrap();
    let mut replay = cli!("replay --resign --url {}", listen.url);
    replay
        .arg(&file)
        .expect(0, "warning | changed.http | editor");
}

#[test]
fn a_file_that_is_not_a_request_is_named_before_anything_is_sent() {
    let file = folder("replay").join("notes.txt");
    fs::write(&file, format!("my notes: {SECRET}\n\n")).unwrap();
    let app = App::ok();
    let mut replay = cli!("replay --url {app} {}", captures()[0]);
    replay.arg(&file).expect(2, "notes.txt | line 1");
    assert_eq!(app.requests().len(), 0);
}

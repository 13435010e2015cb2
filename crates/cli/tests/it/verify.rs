//! `verify` with valid and invalid signatures.

use std::fs;

use soundhash_webhook::Secret;

use crate::support::{Run, SECRET, bare, cli, folder};

const BODY: &[u8] = br#"{"event": "video.processed", "data": {}}"#;

fn signature(body: &[u8]) -> String {
    Secret::new(SECRET).sign(body).to_string()
}

#[test]
fn a_right_signature_matches_and_the_next_step_is_explained() {
    let file = folder("verify").join("body.json");
    fs::write(&file, BODY).unwrap();
    let verify = || cli!("verify --signature {}", signature(BODY));
    let parts = "The signature matches. | 40 bytes | another secret | other bytes arrived there";
    verify().arg(&file).expect(0, parts);
    verify().reads(BODY).expect(0, parts);
    verify().arg("-").reads(BODY).expect(0, parts);
}

#[test]
fn a_wrong_signature_is_explained() {
    let with_newline = [BODY, b"\n"].concat();
    let compact = br#"{"event":"video.processed","data":{}}"#;
    let prefixed = format!("sha256={}", signature(BODY));
    for (signature, body, part) in [
        (&signature(BODY), &with_newline[..], "--data-binary"),
        (&signature(BODY), compact, "as they arrived"),
        (&prefixed, BODY, "no prefix"),
        (&signature(BODY), b"", "empty"),
        (&signature(b""), BODY, "is for an empty body"),
        (&"-".to_owned(), BODY, "64 hexadecimal digits"),
        (&signature(b"other"), BODY, "Content-Length"),
    ] {
        let ran = cli!("verify --signature {signature}").reads(body);
        let ran = ran.expect(1, format!("does not match | {part}"));
        let is_blamed = ran.all().contains("standard input");
        assert_eq!(is_blamed, body.is_empty(), "{ran:#?}");
    }
}

#[test]
fn a_mistake_in_the_secret_is_found() {
    let mut verify = bare!("verify --signature {}", signature(BODY));
    verify.env("SOUNDHASH_WEBHOOK_SECRET", format!("{SECRET}\n"));
    verify.reads(BODY).expect(1, "whitespace");
    verify.env("SOUNDHASH_WEBHOOK_SECRET", "whsec_new");
    verify.env("SOUNDHASH_WEBHOOK_PREVIOUS_SECRET", SECRET);
    // A server with both secrets accepts this signature.
    let ran = verify.reads(BODY);
    let ran = ran.expect(
        0,
        "matches the previous secret. | also has the previous secret",
    );
    assert!(!ran.all().contains("does not match"), "{ran:#?}");
    verify.env_remove("SOUNDHASH_WEBHOOK_PREVIOUS_SECRET");
    let parts = "does not match | set SOUNDHASH_WEBHOOK_PREVIOUS_SECRET";
    verify.reads(BODY).expect(1, parts);
}

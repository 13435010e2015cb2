//! The honest side of a refusal: whoever is still writing 4 MiB reads why it is refused, and not
//! a reset, which is taken for a failure of the network and tried again.

use std::path::Path;

use reqwest::Client;
use soundhash_webhook::SIGNATURE_HEADER;
use tokio::{io::AsyncWriteExt, process::Command};

use super::wire::{FORGED, connect, forged_chunks, unharmed, unsigned};
use crate::{
    process::{Receiver, answer, status},
    support::head,
};

const LARGE: usize = 4 * 1024 * 1024;

/// Tries of each kind: without a drain, some of them succeed all the same.
const TRIES: usize = 10;

/// All that is refused while it is written, by its framing, the header that is sent and the status
/// that is to be read.
const REFUSED: [(bool, Option<&str>, u16); 4] = [
    (false, None, 401),
    (true, None, 401),
    (false, Some(FORGED), 413),
    (true, Some(FORGED), 413),
];

/// One who does not read before all is written, as Python's `requests` and most proxies.
#[tokio::test]
async fn a_sender_who_writes_all_of_it_first_reads_the_answer() {
    let receiver = Receiver::start(&[]);
    let body = vec![b'x'; LARGE];
    let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 0x10000], b"\r\n".to_vec()].concat();
    let chunks = [&chunk.repeat(LARGE / 0x10000)[..], b"0\r\n\r\n"].concat();
    for (chunked, signature, expected) in REFUSED.repeat(TRIES) {
        let (head, body) = match (chunked, signature) {
            (false, None) => (unsigned(&format!("Content-Length: {LARGE}")), &body),
            (false, Some(signature)) => (head(signature, LARGE), &body),
            (true, None) => (unsigned("Transfer-Encoding: chunked"), &chunks),
            (true, Some(_)) => (forged_chunks(), &chunks),
        };
        let mut stream = connect(&receiver).await;
        let request = [head.as_bytes(), body].concat();
        stream.write_all(&request).await.expect("all of it written");
        assert_eq!(status(&answer(&mut stream).await), expected.to_string());
    }
    unharmed(receiver, &[]).await;
}

#[tokio::test]
async fn reqwest_reads_the_answer() {
    let receiver = Receiver::start(&[]);
    for (_, signature, expected) in REFUSED.repeat(TRIES) {
        let mut request = Client::new().post(receiver.url()).body(vec![b'x'; LARGE]);
        if let Some(signature) = signature {
            request = request.header(SIGNATURE_HEADER, signature);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), expected);
        answer.text().await.expect("all of it");
    }
    unharmed(receiver, &[]).await;
}

#[tokio::test]
async fn curl_reads_the_answer() {
    let receiver = Receiver::start(&[]);
    for (chunked, signature, expected) in REFUSED.repeat(TRIES) {
        let mut curl = Command::new("sh");
        curl.args([
            "-c",
            // Not to wait for a 100, as it would with so large a body.
            r#"command -v curl >/dev/null || exit 77
            head -c "$SIZE" /dev/zero | curl -s -o /dev/null -w '%{http_code}' -H Expect: "$@""#,
            "curl",
            &receiver.url(),
        ]);
        curl.env("SIZE", LARGE.to_string());
        if chunked {
            curl.args(["-T", "-", "-X", "POST"]);
        } else {
            curl.args(["--data-binary", "@-"]);
        }
        if let Some(signature) = signature {
            curl.args(["-H", &format!("X-Webhook-Signature: {signature}")]);
        }
        let output = curl.output().await.unwrap();
        if output.status.code() == Some(77) {
            eprintln!("curl is missing: not tried");
            return;
        }
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            expected.to_string()
        );
        assert!(output.status.success(), "{output:?}");
    }
    unharmed(receiver, &[]).await;
}

/// What SoundHash's own senders are made of.
#[tokio::test]
async fn requests_and_aiohttp_read_the_answer() {
    let receiver = Receiver::start(&[]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/verify/senders.py");
    let mut tried = false;
    // The system's own may have packages that the first one in the path has not.
    for python in ["python3", "/usr/bin/python3"] {
        let output = Command::new(python)
            .arg(&script)
            .args([
                &receiver.url(),
                &LARGE.to_string(),
                &TRIES.to_string(),
                FORGED,
            ])
            .output()
            .await;
        let Ok(output) = output else { continue };
        if output.status.code() == Some(77) {
            continue;
        }
        assert!(output.status.success(), "{output:?}");
        tried = true;
        break;
    }
    if !tried {
        eprintln!("Python, requests or aiohttp is missing: not tried");
    }
    unharmed(receiver, &[]).await;
}

//! Honest senders that are rejected while they are still writing 4 MiB. They can read the response.
//! If they got a reset instead, they would take it for a network failure and retry.

use std::path::Path;

use reqwest::Client;
use soundhash_webhook::SIGNATURE_HEADER;
use tokio::{io::AsyncWriteExt, process::Command};

use soundhash_webhook_tests::{
    process::{Receiver, response_head, status},
    proxy::Proxy,
    requests::head,
    wire::{FORGED, connect, unharmed, unsigned},
};

const LARGE: usize = 4 * 1024 * 1024;

/// The number of attempts of each kind. A single attempt can succeed even if bodies are not
/// drained.
const TRIES: usize = 20;

/// The signatures of requests that are rejected while they are being written, and the expected
/// statuses. Only bodies with a declared length are drained.
const REJECTED: [(Option<&str>, u16); 2] = [(None, 401), (Some(FORGED), 413)];

/// A sender that does not read until it has written everything, like Python's `requests` and most
/// proxies.
#[tokio::test]
async fn a_sender_that_writes_everything_first_reads_the_response() {
    let receiver = Receiver::start(&[]);
    let body = vec![b'x'; LARGE];
    for (signature, expected) in REJECTED.repeat(TRIES) {
        let head = match signature {
            None => unsigned(&format!("Content-Length: {LARGE}")),
            Some(signature) => head(signature, LARGE),
        };
        let mut stream = connect(&receiver).await;
        let request = [head.as_bytes(), &body].concat();
        stream.write_all(&request).await.expect("all of it written");
        assert_eq!(
            status(&response_head(&mut stream).await),
            expected.to_string()
        );
    }
    unharmed(receiver, &[]).await;
}

#[tokio::test]
async fn reqwest_reads_the_response() {
    let receiver = Receiver::start(&[]);
    reqwest(&receiver.url()).await;
    unharmed(receiver, &[]).await;
}

async fn reqwest(url: &str) {
    for (signature, expected) in REJECTED.repeat(TRIES) {
        let mut request = Client::new().post(url).body(vec![b'x'; LARGE]);
        if let Some(signature) = signature {
            request = request.header(SIGNATURE_HEADER, signature);
        }
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), expected);
        response.text().await.expect("all of it");
    }
}

/// With buffering, nginx receives a whole request before forwarding it. Without buffering, nginx
/// forwards each part immediately, as HAProxy does.
#[tokio::test]
async fn proxies_read_the_response_with_and_without_buffering() {
    let receiver = Receiver::start(&[]);
    let addr = &receiver.addr;
    let nginx = |buffering| {
        Proxy::nginx(&format!(
            "location / {{
                proxy_pass http://{addr}; proxy_http_version 1.1; proxy_request_buffering {buffering};
            }}"
        ))
    };
    for proxy in [nginx("on"), nginx("off"), Proxy::haproxy(addr)] {
        let Some(proxy) = proxy else {
            eprintln!("nginx or HAProxy is missing: not tried");
            continue;
        };
        let url = format!("{}/webhooks/soundhash", proxy.url);
        reqwest(&url).await;
        python(&url).await;
    }
    unharmed(receiver, &[]).await;
}

#[tokio::test]
async fn curl_reads_the_response() {
    let receiver = Receiver::start(&[]);
    for (signature, expected) in REJECTED.repeat(TRIES) {
        let mut curl = Command::new("sh");
        curl.args([
            "-c",
            // The empty `Expect` keeps curl from sending `Expect: 100-continue`.
            r#"command -v curl >/dev/null || exit 77
            head -c "$SIZE" /dev/zero | curl -s -o /dev/null -w '%{http_code}' -H Expect: "$@""#,
            "curl",
            &receiver.url(),
        ]);
        curl.env("SIZE", LARGE.to_string());
        curl.args(["--data-binary", "@-"]);
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

/// SoundHash's senders use these libraries.
#[tokio::test]
async fn requests_and_aiohttp_read_the_response() {
    let receiver = Receiver::start(&[]);
    python(&receiver.url()).await;
    unharmed(receiver, &[]).await;
}

async fn python(url: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("load/senders.py");
    // The system's Python may have packages that the first Python on `PATH` lacks.
    for python in ["python3", "/usr/bin/python3"] {
        let output = Command::new(python)
            .arg(&script)
            .args([url, &LARGE.to_string(), &TRIES.to_string(), FORGED])
            .output()
            .await;
        let Ok(output) = output else { continue };
        if output.status.code() == Some(77) {
            continue;
        }
        assert!(output.status.success(), "{output:?}");
        return;
    }
    eprintln!("Python, requests or aiohttp is missing: not tried");
}

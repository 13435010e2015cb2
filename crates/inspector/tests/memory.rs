//! The memory of the inspector during an attack, measured from outside: the peak of a process with
//! the inspector, minus the peak of a process without it.

use std::{env, fs, process::Command, time::Duration};

use axum::{Router, body::Bytes, routing::post};
use soundhash_webhook::{Secret, SoundHashWebhookLayer, testing::SignedRequest};
use soundhash_webhook_inspector::Inspector;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const PATH: &str = "/webhooks/soundhash";
const VARIABLE: &str = "INSPECTOR_MEMORY_OF";
/// The limit that the documentation promises.
const BOUND: usize = 32 * 1024 * 1024;

#[test]
fn hostile_senders_cost_no_more_than_the_documented_memory() {
    if let Ok(with) = env::var(VARIABLE) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(attack(with == "inspector"));
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        println!("peak={}", peak.trim().trim_end_matches(" kB"));
        return;
    }
    if !cfg!(target_os = "linux") {
        return;
    }
    let (without, with) = (peak_of("nothing"), peak_of("inspector"));
    let cost = with.saturating_sub(without);
    println!("peak without the inspector {without}, with it {with}: {cost} bytes more");
    assert!(cost <= BOUND, "{cost}");
    // Otherwise, nothing was recorded and nothing tested.
    assert!(cost >= 12 * 1024 * 1024, "{cost}");
}

fn peak_of(what: &str) -> usize {
    let child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "hostile_senders_cost_no_more_than_the_documented_memory",
            "--nocapture",
        ])
        .env(VARIABLE, what)
        // Freed memory is returned at once, so that the peak is the used memory.
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let output = String::from_utf8(child.stdout).unwrap();
    let peak = output
        .lines()
        .find_map(|line| line.split_once("peak="))
        .expect("a peak")
        .1;
    peak.trim().parse::<usize>().unwrap() * 1024
}

async fn attack(with_inspector: bool) {
    let inspector = Inspector::new().capacity(10_000).with_secret("whsec_test");
    // A handler whose responses are as large as the requests.
    let app = Router::new()
        .route(PATH, post(|body: Bytes| async move { body }))
        .layer(SoundHashWebhookLayer::new(Secret::new("whsec_test")));
    let app = if with_inspector {
        app.layer(inspector.layer())
    } else {
        app
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, app).into_future());

    // Many unfinished requests, as from an attacker who wants to fill the memory.
    let mut open = Vec::new();
    for _ in 0..150 {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let head = head("0".repeat(64).as_str(), 1_000_000);
        stream
            .write_all(&[head.as_bytes(), &vec![b' '; 150_000][..]].concat())
            .await
            .unwrap();
        open.push(stream);
    }
    // Large deliveries, and large forgeries with large heads.
    for secret in ["whsec_test", "whsec_of_nobody"] {
        for number in 0..200 {
            let body = format!("{}{number}", "x".repeat(60_000)).into_bytes();
            let signature = Secret::new(secret).sign(&body).to_string();
            let mut stream = TcpStream::connect(addr).await.unwrap();
            let request = [head(&signature, body.len()).as_bytes(), &body].concat();
            stream.write_all(&request).await.unwrap();
            let mut response = Vec::new();
            stream.read_to_end(&mut response).await.unwrap();
            assert!(response.starts_with(b"HTTP/1.1 "));
        }
    }
    // A flood of small requests.
    for _ in 0..1_000 {
        let request = SignedRequest::new("whsec_of_nobody").build();
        let signature = request.headers()["x-webhook-signature"]
            .to_str()
            .unwrap()
            .to_owned();
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream
            .write_all(head(&signature, 0).as_bytes())
            .await
            .unwrap();
        let mut response = [0; 64];
        stream.read_exact(&mut response).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(open);
}

/// A head of 12 KiB.
fn head(signature: &str, len: usize) -> String {
    let filler = "f".repeat(12_000);
    format!(
        "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Filler: {filler}\r\n\
         X-Webhook-Signature: {signature}\r\nContent-Length: {len}\r\n\r\n"
    )
}

//! Measures the inspector's memory usage during an attack, as the difference in peak memory between
//! a process with the inspector and one without it.

use std::{env, fs, process::Command, time::Duration};

use axum::{Router, body::Bytes, routing::post};
use soundhash_webhook::{Secret, SoundHashWebhookLayer};
use soundhash_webhook_inspector::Inspector;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const PATH: &str = "/webhooks/soundhash";
const VARIABLE: &str = "INSPECTOR_MEMORY_OF";
/// The limit promised in the documentation.
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
    // A lower cost would mean that nothing was recorded.
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
        // With a single arena, freed memory is reused, so that the peak reflects the memory in use.
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
    // The handler's responses are as large as its requests.
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

    let send = async |head: String, body: &[u8]| {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = [head.as_bytes(), body].concat();
        stream.write_all(&request).await.unwrap();
        stream
    };
    // Many unfinished requests from an attacker trying to exhaust the memory.
    let mut open = Vec::new();
    for _ in 0..150 {
        open.push(send(head(&"0".repeat(64), 1_000_000), &vec![b' '; 150_000]).await);
    }
    // Large deliveries, large forgeries with large heads, and a flood of small requests.
    let floods = [
        ("whsec_test", 60_000, 200),
        ("whsec_of_nobody", 60_000, 200),
        ("whsec_of_nobody", 0, 1_000),
    ];
    for (secret, length, count) in floods {
        for number in 0..count {
            let body = format!("{}{number}", "x".repeat(length)).into_bytes();
            let signature = Secret::new(secret).sign(&body).to_string();
            let mut stream = send(head(&signature, body.len()), &body).await;
            let mut response = Vec::new();
            stream.read_to_end(&mut response).await.unwrap();
            assert!(response.starts_with(b"HTTP/1.1 "));
        }
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(open);
}

/// Returns a request head of about 12 KiB.
fn head(signature: &str, len: usize) -> String {
    let filler = "f".repeat(12_000);
    format!(
        "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Filler: {filler}\r\n\
         X-Webhook-Signature: {signature}\r\nContent-Length: {len}\r\n\r\n"
    )
}

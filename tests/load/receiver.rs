//! The `receiver` example under all attacks at once.

use std::time::Duration;

use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet, time::Instant};

use soundhash_webhook_tests::{
    process::{Receiver, response_head, status},
    requests::head,
    wire::{
        FORGED, connect, deliver, flood, forged_chunks, statuses, to_the_end, unharmed, unsigned,
    },
};

const CONNECTIONS: usize = 2_000;

/// The receiver's maximum memory in KiB, most of which is for the server's 8 KiB buffers. In total,
/// the bodies that the connections declare are 20 times as large.
const MOST: u64 = 100 * 1024;

/// Raises the open-file limit for this process and its children.
fn allow_many_files() {
    let files = rlimit::increase_nofile_limit(8 * CONNECTIONS as u64).expect("a limit of files");
    assert!(files > 2 * CONNECTIONS as u64, "{files} files are too few");
}

/// Attack: 2,000 connections declare a megabyte each, send one byte and stall, while others write
/// endless bodies as fast as they can. Memory usage stays low, each body is rejected when it times
/// out, and honest senders are served in the meantime.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_stalled_bodies_and_endless_others_lock_nobody_out() {
    allow_many_files();
    let receiver = Receiver::start(&[]);
    // A warm-up request triggers the one-time allocations.
    let calm = latency(&receiver, "calm").await;
    let before = receiver.resident();

    let start = Instant::now();
    let mut stalled = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = connect(&receiver).await;
        let request = head(FORGED, 1_000_000) + "{";
        stream.write_all(request.as_bytes()).await.unwrap();
        stalled.push(stream);
    }
    let stalling = latency(&receiver, "stalling").await;
    let with_stalled = receiver.resident();

    let mut floods = JoinSet::new();
    for head in [forged_chunks(), unsigned("Transfer-Encoding: chunked")] {
        for _ in 0..4 {
            floods.spawn(flood_forever(receiver.addr.clone(), head.clone()));
        }
    }
    let hostile = latency(&receiver, "hostile").await;
    floods.abort_all();
    while let Some(ended) = floods.join_next().await {
        // The task was aborted. It did not fail on its own.
        assert!(ended.unwrap_err().is_cancelled());
    }

    for stream in &mut stalled {
        // A stalled body times out, or is evicted for a body that is still arriving.
        let response = response_head(stream).await;
        assert!(matches!(status(&response), "408" | "503"), "{response}");
    }
    assert!(start.elapsed() >= Duration::from_secs(10));
    let grown = receiver.peak().saturating_sub(before);
    println!(
        "{CONNECTIONS} stalled: {} KiB; with floods, at the peak: {grown} KiB",
        with_stalled.saturating_sub(before)
    );
    for (name, under_attack) in [("stalled", stalling), ("floods, too", hostile)] {
        let ratio = under_attack.as_secs_f64() / calm.as_secs_f64();
        println!("honest deliveries, {name}: {under_attack:?}, {ratio:.1} of {calm:?}");
    }
    assert!(grown < MOST, "grown by {grown} KiB");

    unharmed_after(receiver, &["calm", "stalling", "hostile"]).await;
}

const HONEST: usize = 200;

static ZEROS: [u8; 1_000_000] = [b'0'; 1_000_000];

fn id(name: &str, n: usize) -> String {
    format!("{name} {n}")
}

/// Returns the median latency of honest deliveries, each on a new connection. All must be served.
async fn latency(receiver: &Receiver, name: &str) -> Duration {
    let mut times = Vec::new();
    for n in 0..HONEST {
        let start = Instant::now();
        deliver(receiver, &id(name, n)).await;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[HONEST / 2]
}

/// Checks that the receiver is still serving, and has printed exactly the deliveries from these
/// calls of [`latency`].
async fn unharmed_after(receiver: Receiver, names: &[&str]) {
    let ids = names
        .iter()
        .flat_map(|name| (0..HONEST).map(|n| id(name, n)));
    let ids: Vec<String> = ids.collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    unharmed(receiver, &ids).await;
}

async fn flood_forever(addr: String, head: String) {
    let chunk = [b"4000\r\n".to_vec(), vec![b'x'; 0x4000], b"\r\n".to_vec()].concat();
    loop {
        let stream = TcpStream::connect(&addr).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        // Writing fails if the connection is closed in the meantime.
        let _ = write.write_all(head.as_bytes()).await;
        let (text, _) = tokio::join!(to_the_end(&mut read), flood(&mut write, &chunk));
        // The status is 408 if receiving even a megabyte took too long.
        assert!(
            matches!(statuses(&text)[..], ["401" | "408" | "413"]),
            "{text}"
        );
    }
}

/// Attack: send rejected requests without their bodies, to keep the connections open. The
/// connections use very little memory, and are closed after a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_rejected_bodies_that_never_arrive_are_closed() {
    allow_many_files();
    let receiver = Receiver::start(&[]);
    deliver(&receiver, "before").await;
    let before = receiver.resident();
    let request = unsigned("Content-Length: 1000000000000");
    let mut rejected = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = connect(&receiver).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(status(&response_head(&mut stream).await), "401");
        rejected.push(stream);
    }
    for stream in &mut rejected {
        // The response text, followed by EOF.
        assert_eq!(to_the_end(stream).await, "Invalid signature");
    }
    let grown = receiver.peak().saturating_sub(before);
    println!("{CONNECTIONS} rejected, at the peak: {grown} KiB");
    assert!(grown < MOST, "grown by {grown} KiB");
    unharmed(receiver, &["before"]).await;
}

/// Attack: send chunk sizes with endless leading zeros, which never become a frame that the layer
/// could count. hyper reads them into its read buffer, whose size the server limits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunk_sizes_without_end_cost_little_memory() {
    allow_many_files();
    let receiver = Receiver::start(&[]);
    let calm = latency(&receiver, "calm").await;
    let before = receiver.resident();
    let mut senders = JoinSet::new();
    for _ in 0..1_500 {
        let mut stream = connect(&receiver).await;
        senders.spawn(async move {
            // The receiver may close the connection before it has read everything.
            let _ = stream.write_all(forged_chunks().as_bytes()).await;
            let _ = stream.write_all(&ZEROS).await;
            to_the_end(&mut stream).await
        });
    }
    let hostile = latency(&receiver, "hostile").await;
    for text in senders.join_all().await {
        // The response is empty if the connection was reset while the zeros were still being sent.
        assert!(
            matches!(statuses(&text)[..], ["408" | "503"] | []),
            "{text}"
        );
    }
    let grown = receiver.peak().saturating_sub(before);
    println!("1500 chunk sizes: {grown} KiB; honest deliveries: {hostile:?} of {calm:?}");
    assert!(grown < MOST, "grown by {grown} KiB");
    unharmed_after(receiver, &["calm", "hostile"]).await;
}

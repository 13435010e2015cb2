//! Measures each way of receiving events in turn, and prints and plots the figures.

use std::{fmt::Write, fs, path::Path, process::Command, time::Duration};

use soundhash_webhook_tests::{
    nats_cluster::NatsCluster, postgres_server::PostgresServer, redis_server::RedisServer,
};
use tokio::time::Instant;

use crate::{
    BODY_LEN, CONNECTIONS, TIME,
    sender::{Sent, send, send_at},
    stores,
    way::{Stored, Way, build, checkpoint, execute},
};

const ROUNDS: usize = 3;

/// The figures for one way of receiving events: one per round, except for the bytes, which are
/// measured only once.
#[derive(Default)]
struct Figures {
    accepted: Vec<f64>,
    half: Vec<f64>,
    p99: Vec<f64>,
    handled: Vec<f64>,
    bytes: Option<u64>,
}

impl Figures {
    async fn measure(&mut self, way: &Way) {
        way.checkpoint().await;
        let receiver = way.receive();
        let before = way.bytes(&receiver).await;
        let full = send(&receiver.addr, BODY_LEN).await;
        let bytes = way.bytes(&receiver).await.saturating_sub(before) / full.accepted;
        way.checkpoint().await;
        let half = send_at(&receiver.addr, BODY_LEN, Some(full.per_second / 2.0), TIME).await;
        drop(receiver);
        self.accepted.push(full.per_second);
        self.half.push(half.millis(0.5));
        self.p99.push(half.millis(0.99));
        self.bytes.get_or_insert(bytes);
        if way.has_worker {
            let (start, accepted) = (Instant::now(), full.accepted + half.accepted);
            way.work(accepted).await;
            self.handled
                .push(accepted as f64 / start.elapsed().as_secs_f64());
        }
    }
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// The figures for Postgres alone: as many clients as there are senders insert the same row, one
/// row per transaction.
#[derive(Default)]
struct Pgbench {
    rate: Vec<f64>,
    half: Vec<f64>,
    p99: Vec<f64>,
}

impl Pgbench {
    async fn measure(&mut self, url: &str, folder: &Path) {
        let script = folder.join("insert.sql");
        let insert = format!(
            "INSERT INTO pgbench_events (body) VALUES (decode(repeat('78', {BODY_LEN}), 'hex'));"
        );
        fs::write(&script, insert).expect("a script");
        let run = |options: &[&str]| {
            let run = Command::new("pgbench")
                .current_dir(folder)
                .args(["-n", "-M", "prepared", "-j", "2"])
                .args(["-c", &CONNECTIONS.to_string()])
                .args(["-T", &TIME.as_secs().to_string(), "-f"])
                .arg(&script)
                .args(options)
                .arg(url)
                .output()
                .expect("pgbench (apt-get install postgresql-contrib)");
            String::from_utf8_lossy(&run.stdout).into_owned()
        };
        checkpoint(url).await;
        let printed = run(&[]);
        let rate = printed.lines().find_map(|line| {
            let figure = line.strip_prefix("tps = ")?;
            figure.split(' ').next()?.parse::<f64>().ok()
        });
        let rate = rate.unwrap_or_else(|| panic!("{printed}"));
        self.rate.push(rate);
        checkpoint(url).await;
        // With a rate limit, a response time is measured from when the commit was due.
        run(&["-R", &(rate / 2.0).to_string(), "-l", "--log-prefix=times"]);
        let mut times = Vec::new();
        for file in fs::read_dir(folder).expect("a folder").flatten() {
            if file.file_name().to_string_lossy().starts_with("times.") {
                let log = fs::read_to_string(file.path()).expect("a log");
                let micros = log
                    .lines()
                    .filter_map(|line| line.split(' ').nth(2)?.parse().ok());
                times.extend(micros.map(Duration::from_micros));
                fs::remove_file(file.path()).expect("a log");
            }
        }
        let sent = Sent::new(times, TIME);
        self.half.push(sent.millis(0.5));
        self.p99.push(sent.millis(0.99));
    }
}

/// Prints the tables, and writes the plot to the target directory.
pub(crate) async fn run(words: &[String], folder: &Path) {
    let postgres = PostgresServer::start_with("on");
    let (redis, nats) = (RedisServer::start(), NatsCluster::start());
    let mut urls = Vec::new();
    for name in ["pgbench", "insert", "record", "accept", "inbox"] {
        execute(&postgres.url(), format!("CREATE DATABASE {name}")).await;
        urls.push(postgres.url().replace("/postgres", &format!("/{name}")));
    }
    let create = "CREATE TABLE pgbench_events
                  (id text PRIMARY KEY DEFAULT gen_random_uuid()::text, body bytea)";
    execute(&urls[0], create.to_owned()).await;
    let in_postgres =
        |name, at: usize, lost| Way::own(name, &urls[at], Stored::Postgres(urls[at].clone()), lost);
    let file = |name: &str| folder.join(name).join("events.db").display().to_string();
    let in_sqlite = |name, subfolder: &str, lost| {
        fs::create_dir_all(folder.join(subfolder)).expect("a folder");
        Way::own(
            name,
            &file(subfolder),
            Stored::Folder(folder.join(subfolder)),
            lost,
        )
    };
    let (twice, disk) = ("duplicates are handled again", "the disk fails");
    let mut ways = vec![
        Way::own("no layer", "", Stored::Nowhere, "it verifies nothing"),
        Way::own("layer alone", "", Stored::Nowhere, twice),
        Way::own("`MemoryStore`", "", Stored::Memory, "the process ends"),
        Way::own(
            "`RedisStore`",
            &redis.url(),
            Stored::Redis(redis.url()),
            "Redis fails over: its last second",
        ),
        in_postgres("a handler that inserts a row, Postgres", 1, twice),
        in_postgres("record, the same handler, Postgres", 2, disk),
        in_postgres("accept, Postgres", 3, disk),
        in_sqlite("a handler that inserts a row, SQLite", "insert", twice),
        in_sqlite("record, the same handler, SQLite", "record", disk),
        in_sqlite("accept, SQLite", "accept", disk),
        Way::package(
            "inbox",
            ("SOUNDHASH_WEBHOOK_DATABASE", &urls[4]),
            Stored::Postgres(urls[4].clone()),
            disk,
        ),
        Way::package(
            "jetstream",
            ("SOUNDHASH_WEBHOOK_NATS", &nats.urls),
            Stored::Folder(nats.folder().to_owned()),
            "the disks of two of three machines fail",
        ),
    ];
    ways.retain(|way| words.is_empty() || words.iter().any(|word| way.name.contains(word)));
    for way in ways.iter().filter(|way| way.has_worker) {
        build(way.name);
    }
    let mut figures: Vec<Figures> = ways.iter().map(|_| Figures::default()).collect();
    let mut pgbench = Pgbench::default();
    // Each round measures every way of receiving events, so that all of them run under the same
    // conditions.
    for _ in 0..ROUNDS {
        pgbench.measure(&urls[0], folder).await;
        for (way, figures) in ways.iter().zip(&mut figures) {
            figures.measure(way).await;
        }
    }
    let bars = print(&ways, &mut figures, &mut pgbench);
    large_bodies(&ways).await;
    if words.is_empty() {
        stores::run(&redis.url(), &urls[3], &file("accept")).await;
        let plot = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/receiving.svg");
        fs::write(&plot, draw(&bars)).expect("a plot");
        println!("\nthe plot is in target/receiving.svg");
    }
}

/// Prints the table, and returns the names and rates of its rows.
fn print(ways: &[Way], figures: &mut [Figures], pgbench: &mut Pgbench) -> Vec<(&'static str, f64)> {
    let rate = median(&mut pgbench.rate);
    println!(
        "medians of {ROUNDS} rounds of {TIME:?}: events of {BODY_LEN} bytes over {CONNECTIONS} \
         connections\n"
    );
    println!(
        "| way | accepted per second | of `pgbench` | p50 ms at half load | p99 ms at half load \
         | handled per second by one worker | bytes per event | lost if |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
    println!(
        "| `pgbench`, one commit per row | {rate:.0} | 1.00 | {:.2} | {:.2} | | | |",
        median(&mut pgbench.half),
        median(&mut pgbench.p99),
    );
    let mut bars = vec![("pgbench", rate)];
    for (way, figures) in ways.iter().zip(figures) {
        let accepted = median(&mut figures.accepted);
        let handled = match figures.handled.is_empty() {
            true => String::new(),
            false => format!("{:.0}", median(&mut figures.handled)),
        };
        println!(
            "| {} | {accepted:.0} | {:.2} | {:.2} | {:.2} | {handled} | {} | {} |",
            way.name,
            accepted / rate,
            median(&mut figures.half),
            median(&mut figures.p99),
            figures.bytes.unwrap_or_default(),
            way.lost,
        );
        bars.push((way.name, accepted));
    }
    bars
}

/// Prints how much `record` costs a handler, for each body size.
async fn large_bodies(ways: &[Way]) {
    println!("\n| accepted per second | the handler | with `record` | ratio |");
    println!("| --- | ---: | ---: | ---: |");
    for database in ["Postgres", "SQLite"] {
        let find = |name: &str| {
            let mut ways = ways.iter();
            ways.find(|way| way.name.contains(name) && way.name.ends_with(database))
        };
        let (Some(handler), Some(record)) = (find("inserts"), find("record")) else {
            continue;
        };
        let (handler, record) = (handler.receive(), record.receive());
        for len in [300, 200_000] {
            let (mut without, mut with) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                without.push(send(&handler.addr, len).await.per_second);
                with.push(send(&record.addr, len).await.per_second);
            }
            let (without, with) = (median(&mut without), median(&mut with));
            println!(
                "| {database}, bodies of {len} bytes | {without:.0} | {with:.0} | {:.0} % |",
                100.0 * with / without
            );
        }
    }
}

/// Draws horizontal bars, in colors that are readable on both light and dark pages.
fn draw(bars: &[(&str, f64)]) -> String {
    let most = bars.iter().map(|bar| bar.1).fold(1.0, f64::max);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"{}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<style>text {{ fill: #24292f }} \
         @media (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3 }} }}</style>\n\
         <text x=\"270\" y=\"18\">events accepted per second, {CONNECTIONS} connections</text>\n",
        30 + 24 * bars.len()
    );
    for (row, (name, rate)) in bars.iter().enumerate() {
        let (y, width) = (30 + 24 * row, 400.0 * rate / most);
        let (name, text, end) = (name.replace('`', ""), y + 14, 278.0 + width);
        let _ = writeln!(
            svg,
            "<text x=\"262\" y=\"{text}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"270\" y=\"{y}\" width=\"{width:.0}\" height=\"18\" fill=\"#4a80b5\"/>\
             <text x=\"{end:.0}\" y=\"{text}\">{rate:.0}</text>"
        );
    }
    svg + "</svg>\n"
}

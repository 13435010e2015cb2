//! Compiles and runs the README's code, and checks the links in all Markdown files.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::post};
use soundhash_webhook::{
    Event, EventData, Secret, SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, MemoryStore},
};
use soundhash_webhook::{EventKind, Sender, testing::SignedRequest};
use tower::{ServiceBuilder, ServiceExt};

async fn receive(event: Event) -> StatusCode {
    match &event.data {
        EventData::VideoProcessed(video) => println!("processed {:?}", video.title),
        EventData::MatchFound(found) => println!("{} matches", found.matches.len()),
        _ => println!("ignored {:?}", event.event_type()),
    }
    StatusCode::OK
}

fn app(secret: Secret) -> Router {
    Router::new()
        .route("/webhooks/soundhash", post(receive))
        .layer(SoundHashWebhookLayer::new(secret))
}

#[expect(dead_code, reason = "it compiles")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt::init();
    let secret = Secret::from_env("SOUNDHASH_WEBHOOK_SECRET")?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app(secret)).await?;
    Ok(())
}

#[tokio::test]
async fn a_match_is_accepted() {
    let request =
        SignedRequest::new("whsec_test").fresh_sample(EventKind::MatchFound, Sender::Portal);
    let response = app(Secret::new("whsec_test"))
        .oneshot(request.build())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_request_that_was_recorded_long_ago_is_rejected() {
    let secret = Secret::new("whsec_test");
    let once =
        IdempotencyLayer::new(MemoryStore::new(100_000)).max_age(Duration::from_secs(15 * 60));
    let layers = ServiceBuilder::new()
        .layer(SoundHashWebhookLayer::new(secret))
        .layer(once);
    let app: Router = Router::new().route("/webhooks/soundhash", post(receive).layer(layers));
    let recorded = SignedRequest::new("whsec_test").build();
    let status = app.oneshot(recorded).await.unwrap().status();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

/// Removes everything that depends on the formatter: the layout, trailing commas, and imports.
fn dense(code: &str) -> String {
    let lines = code
        .lines()
        .filter(|line| !line.starts_with("use ") && *line != "#[tokio::main]");
    let code: String = lines.flat_map(str::split_whitespace).collect();
    code.replace(",)", ")")
}

#[test]
fn every_block_of_the_readme_is_here() {
    let here = dense(include_str!("readme.rs"));
    let readme = include_str!("../../README.md");
    let blocks: Vec<_> = readme.split("```rust\n").skip(1).collect();
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        let (block, _) = block.split_once("```").unwrap();
        // A block's paragraphs can appear anywhere in this file.
        for part in block.split("\n\n") {
            assert!(here.contains(&dense(part)), "not in this file:\n{part}");
        }
    }
}

/// Returns the repository's Markdown files and `llms.txt`.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("..")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && ![".git", "target", "node_modules"].contains(&name) {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "md") || name == "llms.txt" {
                pages.push(path);
            }
        }
    }
    pages
}

/// Returns the targets of all links on a page, outside its code blocks.
fn targets(page: &str) -> Vec<&str> {
    let prose = page.split("```").step_by(2);
    let links = prose.flat_map(|text| {
        let inline = text
            .split("](")
            .skip(1)
            .filter_map(|it| it.split(')').next());
        let defined = text.lines().filter(|line| line.starts_with('['));
        inline.chain(defined.filter_map(|line| Some(line.split_once("]: ")?.1)))
    });
    links.collect()
}

/// Returns the anchors that GitHub gives to the headings on a page.
fn anchors(page: &str) -> Vec<String> {
    let prose: String = page.split("```").step_by(2).collect();
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchors = headings.map(|heading| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.replace(|c: char| !c.is_alphanumeric() && !" -_".contains(c), "");
        kept.replace(' ', "-")
    });
    anchors.collect()
}

/// Returns whether a link on a page leads to an existing file and heading.
fn leads(page: &Path, target: &str) -> bool {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let mut page = page.to_owned();
    if !file.is_empty() {
        page = page.parent().unwrap().join(file);
    }
    if page.is_dir() && !anchor.is_empty() {
        page.push("README.md");
    }
    let has = |text: String| anchors(&text).iter().any(|it| it == anchor);
    page.exists() && (anchor.is_empty() || has(fs::read_to_string(page).unwrap()))
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = pages();
    assert!(pages.len() > 15, "{pages:?}");
    for path in pages {
        let text = fs::read_to_string(&path).unwrap();
        for target in targets(&text).into_iter().filter(|it| !it.contains("://")) {
            let found = leads(&path, target);
            assert!(found, "{}: there is no {target}", path.display());
        }
    }
    let alerts = include_str!("../../docs/alerts.yml").lines();
    for url in alerts.filter_map(|line| Some(line.split_once("runbook_url: ")?.1)) {
        let (_, target) = url.split_once("/blob/main/").unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(leads(root, target), "alerts.yml: there is no {url}");
    }
}

/// Without a definition in `src/guide/links.txt`, the link in the rendered documentation would lead
/// to a Markdown file.
#[test]
fn every_link_of_the_guides_is_defined_for_the_documentation() {
    let defined = concat!("\n", include_str!("../../src/guide/links.txt"));
    let guides = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide");
    for entry in fs::read_dir(guides).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            !text.contains("](../"),
            "an inline link in {}",
            path.display()
        );
        let links = text.lines().filter_map(|line| line.split_once("]: "));
        for (name, target) in links {
            if name.starts_with('[') && !target.contains("://") {
                let source = ["/src", ".rs"].iter().any(|it| target.contains(it));
                assert!(!source, "{} leads to source: {target}", path.display());
                let found = defined.contains(&format!("\n{name}]: "));
                assert!(found, "{} defines {name}]", path.display());
            }
        }
    }
}

/// Attack: page the operator by sending a forged request.
#[test]
fn a_forged_request_raises_no_critical_alert() {
    let alerts = include_str!("../../docs/alerts.yml").split("- alert: ");
    for alert in alerts.filter(|alert| alert.contains("severity: critical")) {
        // A sender can cause every kind of rejection except one for a failed lookup.
        let mut outcomes = alert.split("outcome=\"").skip(1);
        let is_ours = outcomes.all(|outcome| outcome.starts_with("secrets_unavailable\""));
        assert!(is_ours, "{alert}");
    }
}

#[test]
fn every_metric_of_the_alerts_and_the_dashboard_exists() {
    let metrics = concat!(
        include_str!("../../src/telemetry/metrics.rs"),
        include_str!("../../crates/server/src/report.rs"),
    );
    let of_the_command = include_str!("../../crates/cli/src/reconcile/print.rs");
    let files = [
        include_str!("../../docs/alerts.yml"),
        include_str!("../../docs/grafana.json"),
    ];
    for file in files {
        let names = file.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in names.filter(|it| it.starts_with("soundhash_webhook_")) {
            let name = name.trim_end_matches("_bucket").trim_end_matches("_sum");
            let name = name.trim_end_matches("_count");
            let exists = match name.strip_prefix("soundhash_webhook_reconcile_") {
                Some(name) => of_the_command.contains(&format!("\n{name} ")),
                None => metrics.contains(&format!("\"{name}\"")),
            };
            assert!(exists, "no metric {name}");
        }
    }
}

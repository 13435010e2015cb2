//! `cargo run --example register -- --url https://app.example.com/webhooks/soundhash --event video.processed --event match.found`
//!
//! Registers a webhook endpoint through SoundHash's REST API, `POST {api}/api/v1/webhooks`, and
//! prints its id. The secret is printed only where SoundHash made it, since it is shown only once.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `SOUNDHASH_API_URL` | where the API is: scheme and host |
//! | `SOUNDHASH_API_TOKEN` | the bearer token |
//! | `SOUNDHASH_WEBHOOK_SECRET` | the endpoint's secret; without it, SoundHash makes one |
//!
//! Token and secret are no arguments, for the list of processes shows those to every user. This
//! example is built without TLS, so that it needs nothing but Rust: give your own `reqwest` its
//! feature `rustls`, or let a proxy speak TLS.

use std::{env, error::Error, process::ExitCode, time::Duration};

use clap::Parser;
use reqwest::{Client, StatusCode, header, redirect::Policy};
use serde::Deserialize;
use serde_json::json;
use soundhash_webhook::{EventKind, Id, Secret};

const SECRET_VARIABLE: &str = "SOUNDHASH_WEBHOOK_SECRET";

/// Register a webhook endpoint with SoundHash.
#[derive(Parser)]
struct Args {
    /// The endpoint's public URL
    #[arg(long)]
    url: String,
    /// A type of event to receive; give it once for each
    #[arg(long = "event", value_name = "TYPE", required = true)]
    events: Vec<EventKind>,
    /// What the endpoint is for, in the list of endpoints
    #[arg(long)]
    description: Option<String>,
}

/// What the API answers, as far as it matters here.
#[derive(Deserialize)]
struct Registered {
    id: Id,
    secret: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // reqwest's message names the request; its sources say what was wrong with it.
            eprint!("{error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let api = variable("SOUNDHASH_API_URL")?;
    let token = variable("SOUNDHASH_API_TOKEN")?;
    let secret = match env::var_os(SECRET_VARIABLE) {
        Some(_) => Some(checked_secret()?),
        None => None,
    };
    let events: Vec<_> = args.events.iter().map(|kind| kind.as_str()).collect();
    let mut body = json!({ "url": args.url, "events": events });
    if let Some(secret) = &secret {
        body["secret"] = json!(secret);
    }
    if let Some(description) = &args.description {
        body["description"] = json!(description);
    }

    let client = Client::builder()
        .timeout(Duration::from_secs(30))
        // The token is for this host alone, and a redirected POST may come back as a GET.
        .redirect(Policy::none())
        .build()?;
    let response = client
        .post(format!("{}/api/v1/webhooks", api.trim_end_matches('/')))
        .bearer_auth(token)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.to_string())
        .send()
        .await?;
    let status = response.status();
    let answer = response.text().await?;
    if !status.is_success() {
        return Err(explain(status, &answer).into());
    }
    let registered: Registered = serde_json::from_str(&answer)
        .map_err(|error| format!("registered, but the answer was not understood: {error}"))?;

    println!("id: {}", registered.id);
    // One that SoundHash made although another was asked for counts: it is what signs.
    if let Some(made) = registered
        .secret
        .filter(|made| secret.as_ref() != Some(made))
    {
        println!("secret: {made}");
        eprintln!("keep the secret: it is not shown again");
    }
    Ok(())
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}

/// The secret as text. A `Secret` shows nothing of itself, but knows what cannot be one.
fn checked_secret() -> Result<String, String> {
    Secret::from_env(SECRET_VARIABLE).map_err(|error| error.to_string())?;
    variable(SECRET_VARIABLE)
}

fn explain(status: StatusCode, answer: &str) -> String {
    let hint = match status {
        StatusCode::UNAUTHORIZED => ": is SOUNDHASH_API_TOKEN right, and still valid?",
        StatusCode::FORBIDDEN => ": the token may not manage webhooks",
        StatusCode::UNPROCESSABLE_ENTITY => ": something in the request is not accepted",
        _ => "",
    };
    format!("not registered, {status}{hint}\n{answer}")
}

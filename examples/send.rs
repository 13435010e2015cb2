//! `cargo run --example send -- --url http://127.0.0.1:3000/webhooks/soundhash --secret whsec_test --event video.processed`
//!
//! Sends signed events as SoundHash's senders do, and prints the status and the time of
//! each answer. It ends with 0 only if every answer was 2xx.

use std::{
    error::Error,
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use clap::Parser;
use reqwest::{Client, redirect::Policy};
use serde_json::{Value, json};
use soundhash_webhook::{
    EventKind, Secret, Timestamp,
    testing::{Sender, sample},
};

/// Send signed SoundHash events to a webhook endpoint.
#[derive(Parser)]
struct Args {
    /// Where to send them
    #[arg(long, default_value = "http://127.0.0.1:3000/webhooks/soundhash")]
    url: String,
    /// The endpoint's secret; without it, `SOUNDHASH_WEBHOOK_SECRET` is read
    #[arg(long)]
    secret: Option<String>,
    /// The event's type; one that is not known gets the test button's payload
    #[arg(long, default_value = "video.processed", conflicts_with = "all")]
    event: String,
    /// Which sender to be: portal or dispatcher
    #[arg(long, default_value = "dispatcher", conflicts_with = "all")]
    envelope: Sender,
    /// The payload, instead of the sample's
    #[arg(long, value_name = "JSON", value_parser = parse_json, conflicts_with = "all")]
    custom_data: Option<Value>,
    /// The endpoint's id, in the X-Webhook-ID header and the portal's envelope
    #[arg(long, value_name = "ID")]
    webhook_id: Option<String>,
    /// The event's id; a new one for each event by default
    #[arg(long, value_name = "ID")]
    delivery_id: Option<String>,
    /// Send the sample of every type in both envelopes
    #[arg(long)]
    all: bool,
    /// Send this many of each event; with --delivery-id, the same one so often, as retries
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeat: u32,
    /// Sign with another secret: the endpoint has to refuse it
    #[arg(long)]
    forge: bool,
}

impl Args {
    fn secret(&self) -> Result<Secret, Box<dyn Error>> {
        if self.forge {
            return Ok(Secret::new(uuid()));
        }
        match &self.secret {
            Some(secret) => Ok(Secret::try_from(secret.clone())?),
            None => Ok(Secret::from_env("SOUNDHASH_WEBHOOK_SECRET")
                .map_err(|error| format!("--secret or {error}"))?),
        }
    }

    /// The events to send, each in the layout of its sender.
    fn events(&self) -> Vec<(String, Sender, Value)> {
        if self.all {
            let both =
                |&kind| [Sender::Portal, Sender::Dispatcher].map(|envelope| (kind, envelope));
            let all = EventKind::ALL.iter().flat_map(both);
            return all
                .map(|(kind, envelope)| (kind.to_string(), envelope, sample(kind, envelope)))
                .collect();
        }
        let mut event = match self.event.parse() {
            Ok(kind) => sample(kind, self.envelope),
            Err(_) => self.unknown(),
        };
        if let Some(data) = &self.custom_data {
            event["data"] = data.clone();
        }
        vec![(self.event.clone(), self.envelope, event)]
    }

    /// An event of a type that is not known yet.
    fn unknown(&self) -> Value {
        let mut event = sample(EventKind::VideoProcessed, self.envelope);
        let type_key = match self.envelope {
            Sender::Portal => "event",
            Sender::Dispatcher => "type",
        };
        event[type_key] = json!(self.event);
        event["data"] = json!({"test": true, "message": "This is a test webhook event"});
        event
    }

    /// The same event with an id and a time of its own: it is a new one.
    fn identified(&self, envelope: Sender, mut event: Value) -> Value {
        let id = self.delivery_id.clone().unwrap_or_else(uuid);
        let now = now();
        match envelope {
            Sender::Portal => {
                event["delivery_id"] = json!(id);
                event["timestamp"] = json!(format!("{now}+00:00"));
                if let Some(webhook_id) = &self.webhook_id {
                    event["webhook_id"] = json!(webhook_id);
                }
            }
            Sender::Dispatcher => {
                event["id"] = json!(id);
                event["created_at"] = json!(format!("{now}+00:00Z"));
            }
        }
        event
    }
}

fn parse_json(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text)
}

fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The current time without its offset, which each sender spells in its own way.
fn now() -> String {
    let now = Timestamp::try_from(SystemTime::now()).expect("a time of this era");
    now.to_string().trim_end_matches('Z').to_owned()
}

/// One event, ready to be sent as often as it takes.
struct Delivery {
    name: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Delivery {
    fn new(kind: &str, envelope: Sender, event: &Value, secret: &Secret) -> Self {
        let body = envelope.to_bytes(event);
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("x-webhook-signature", secret.sign(&body).to_string()),
        ];
        match envelope {
            Sender::Portal => {
                headers.push(("user-agent", "SoundHash-Webhooks/1.0".to_owned()));
                headers.push(("x-webhook-id", text(&event["webhook_id"])));
                headers.push(("x-delivery-id", text(&event["delivery_id"])));
            }
            Sender::Dispatcher => {
                headers.push(("user-agent", "SoundHash-Webhook/1.0".to_owned()));
                headers.push(("x-webhook-event", kind.to_owned()));
            }
        }
        Self {
            name: format!("{kind} ({envelope})"),
            headers,
            body,
        }
    }

    /// Whether the answer was 2xx.
    async fn send(&self, client: &Client, url: &str) -> Result<bool, reqwest::Error> {
        let mut request = client.post(url).body(self.body.clone());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let start = Instant::now();
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        println!("{}: {status} in {:.1?}", self.name, start.elapsed());
        if !status.is_success() && !text.is_empty() {
            println!("  {text}");
        }
        Ok(status.is_success())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // reqwest's message names the request; its source says what was wrong with it.
            let cause = error.source().map(|cause| format!(": {cause}"));
            eprintln!("{error}{}", cause.unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    let secret = args.secret()?;
    // SoundHash waits this long and does not follow redirects.
    let client = Client::builder()
        .timeout(Duration::from_secs(30))
        .redirect(Policy::none())
        .build()?;
    let mut all_accepted = true;
    for (kind, envelope, event) in args.events() {
        let new = || {
            Delivery::new(
                &kind,
                envelope,
                &args.identified(envelope, event.clone()),
                &secret,
            )
        };
        let mut delivery = new();
        for attempt in 0..args.repeat {
            if attempt > 0 && args.delivery_id.is_none() {
                delivery = new();
            }
            all_accepted &= delivery.send(&client, &args.url).await?;
        }
    }
    Ok(all_accepted)
}

//! `doctor`: checks a receiver from the outside, before it goes live or when no events arrive.
//!
//! - `network`: checks the address, the certificate, redirects, and HTTP/2
//! - `probe`: the test events, and the ways to send them
//! - `response`: interprets responses
//! - `report`: the line of each check, and the summary

mod network;
mod probe;
mod report;
mod response;

use std::time::Duration;

use axum::http::{StatusCode, Uri};
use clap::Args;
use soundhash_webhook::{Secret, Sender};

use self::{
    probe::{CHANGES, Receiver},
    report::{
        Check, Report,
        Verdict::{Failed, Unknown},
    },
    response::{judge, judge_forged},
};
use crate::{
    error::Error,
    http::{Client, REPLAYED, Response},
    output,
    secret::{self, PREVIOUS_SECRET, SecretSource},
    send::attempts::{Delivery, Target},
    url::{parse_seconds, parse_url},
};

/// Check a receiver from the outside, and say how to fix each fault
#[derive(Args)]
#[command(after_help = "\
Run this command before you go live and when no events arrive, best from outside of your network. It \
sends about a dozen events of the type `doctor.test`, signed with your secret and marked as tests \
(`resource_type` is `test`, and `data.test` is true), and a forged one.

Environment:
  SOUNDHASH_WEBHOOK_SECRET           The endpoint's secret
  SOUNDHASH_WEBHOOK_PREVIOUS_SECRET  Tried if the receiver rejects the secret
  HTTP_PROXY, HTTPS_PROXY            Proxies, except for the hosts of NO_PROXY

Examples:
  $ soundhash-webhook doctor https://app.example.com/webhooks/soundhash
  $ soundhash-webhook doctor https://app.example.com/hooks --event match.found
  $ soundhash-webhook doctor https://app.example.com/hooks --json | jq .

Exit status: 0 no check failed, 1 at least one failed, 2 the receiver cannot be reached, or wrong usage")]
pub(crate) struct DoctorArgs {
    /// The URL that you register with SoundHash
    #[arg(value_parser = parse_url)]
    url: Uri,
    /// The type of the test events
    #[arg(long, value_name = "TYPE", default_value = "doctor.test")]
    event: String,
    /// Wait this long for each response; SoundHash waits 30 seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    timeout: Duration,
    /// Print a JSON object for each check, one per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SecretSource,
}

pub(crate) async fn run(args: DoctorArgs) -> Result<bool, Error> {
    let secret = args.source.secret()?;
    let client = Client::from_env(args.timeout);
    let mut report = Report::new(args.json);
    let address = network::address(&client, &args.url).await;
    report.add(&address);
    if address.result == Failed {
        return Err(unreachable());
    }
    let connection = network::connection(&client, &args.url, address.is_ok()).await;
    let (Ok(check) | Err(check)) = &connection;
    report.add(check);
    if connection.map_err(|_| unreachable())?.result != Failed {
        let mut receiver = Receiver {
            client,
            url: args.url,
            secret,
            event_type: args.event,
            slowest: Duration::ZERO,
        };
        examine(&mut receiver, args.timeout, &mut report).await?;
    }
    Ok(report.finish())
}

fn unreachable() -> Error {
    Error::Undecided("the receiver cannot be reached, so nothing else was checked".to_owned())
}

async fn examine(
    receiver: &mut Receiver,
    limit: Duration,
    report: &mut Report,
) -> Result<(), Error> {
    let first = receiver.event(Sender::Dispatcher);
    let target = Target::new(receiver.url.clone()).timeout(limit);
    let delivered = target.attempt(&first).await;
    // The clocks are compared as soon as the response has arrived.
    let clock = delivered.result.as_ref().ok().map(response::clock);
    let redirects = network::redirects(&delivered);
    report.add(&redirects);
    if redirects.result == Failed {
        output::note("Nothing else was checked: run this again with the URL to register.");
        return Ok(());
    }
    receiver.url = delivered.url;

    let unknown = Secret::new("forged by soundhash-webhook doctor");
    let forged = receiver.send(&receiver.signed_with(&unknown)).await;
    report.add(&judge_forged(&forged).await);
    let verifies = !forged.is_ok_and(|it| it.status.is_success());

    let dispatcher = delivered.result;
    receiver.measure(&dispatcher);
    let check = signed("dispatcher event", receiver, &dispatcher).await?;
    report.add(&check);
    let portal = receiver.send(&receiver.event(Sender::Portal)).await;
    let other = signed("portal event", receiver, &portal).await?;
    report.add(&other);

    if verifies && check.is_ok() && other.is_ok() {
        bodies(receiver, report).await;
    } else {
        output::note(
            "Other bodies were not sent. They show nothing until forged events are rejected and \
             both test events are accepted.",
        );
    }
    if check.is_ok() {
        report.add(&duplicate(receiver, &first).await);
    }
    if let Ok(response) = &dispatcher {
        if check.is_ok() {
            report.add(&response::decodable(response));
        }
        if let Some(clock) = &clock {
            report.add(clock);
        }
        if receiver.url.scheme_str() == Some("https") {
            report.add(&network::http2(receiver).await);
        }
        report.add(&response::time(receiver.slowest, limit));
    }
    Ok(())
}

/// Judges the response to an authentic event. If the signature was rejected, determines why.
async fn signed(
    name: &'static str,
    receiver: &mut Receiver,
    result: &probe::Result,
) -> Result<Check, Error> {
    let is_rejected = |it: &Response| it.status == StatusCode::UNAUTHORIZED;
    if !result.as_ref().is_ok_and(is_rejected) {
        return Ok(judge(name, result, ""));
    }
    let is_accepted = |result: probe::Result| result.is_ok_and(|it| it.status.is_success());
    let compact = receiver.changed(|text| text.replace("\": ", "\":").replace(", \"", ",\""));
    let cure = if is_accepted(receiver.send(&compact).await) {
        "Something in front of the verification parses JSON and writes it again: an event without \
         spaces is accepted. Verify the bytes as they arrive, before they are parsed."
    } else if let Some(text) = secret::previous_text()?
        && let previous = secret::checked(&text, PREVIOUS_SECRET)?
        && is_accepted(receiver.send(&receiver.signed_with(&previous)).await)
    {
        "The receiver has only the previous secret. Give it the new one."
    } else {
        "The receiver has another secret, such as the secret of another endpoint, or this one \
         with quotes or a line end around it. If it has this secret, something in front of it \
         changes the body, or a clock is wrong."
    };
    Ok(judge(name, result, cure))
}

/// Sends bodies that a proxy may change or reject, plus a late event.
async fn bodies(receiver: &mut Receiver, report: &mut Report) {
    for (name, change, fault) in CHANGES {
        let result = receiver.send(&receiver.changed(change)).await;
        let cure = format!(
            "Something in front of the verification {fault}. Verify the bytes as they arrive, \
             before they are parsed or converted to text."
        );
        report.add(&judge(name, &result, &cure));
    }
    for (name, expects) in [("chunked", false), ("Expect", true)] {
        let event = receiver.event(Sender::Dispatcher);
        let result = receiver.stream(&event, expects).await;
        let cure = "Something in front of the verification loses the bodies of such requests. \
                    SoundHash does not send them today.";
        let check = judge(name, &result, cure);
        report.add(&check.at_most_warning());
    }
    let result = receiver.send(&receiver.late()).await;
    let cure = "The last retry of an event can come 9 minutes after the event. Raise `max_age` to \
                15 minutes, and check the clock.";
    report.add(&judge("late retry", &result, cure));
}

/// How often an event is repeated, so that several instances behind a load balancer get it.
const REPETITIONS: usize = 5;

/// Repeats an event that the receiver has already accepted.
async fn duplicate(receiver: &mut Receiver, first: &Delivery) -> Check {
    let name = "duplicates";
    for _ in 0..REPETITIONS {
        let result = receiver.send(first).await;
        let check = judge(name, &result, "");
        if !check.is_ok() {
            return check;
        }
        let is_replayed = |it: Response| it.headers.contains_key(REPLAYED);
        if !result.is_ok_and(is_replayed) {
            return Check::new(
                Unknown,
                name,
                "accepted twice, maybe handled twice",
                "SoundHash delivers an event more than once. Check in your data that this event was \
                 handled once. IdempotencyLayer and EventLog::record make it so. Several instances \
                 need a common store.",
            );
        }
    }
    Check::ok(name, "every repetition is marked as replayed")
}

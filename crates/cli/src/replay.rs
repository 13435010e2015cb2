//! `replay`: sends recorded deliveries again.

use std::{fs::File, path::PathBuf};

use axum::{
    body::to_bytes,
    http::{Uri, header::HeaderValue},
};
use clap::Args;
use soundhash_webhook::{SIGNATURE_HEADER, Secret, testing::SignedRequest};

use crate::{
    data::{MAX_DATA, read_limited},
    error::Error,
    http::{REPLAYED, remove_hop_by_hop},
    output::{self, escape::escape},
    secret::SecretSource,
    send::{
        attempts::{Delivery, RetryArgs, Target},
        report::{Expected, Report},
    },
    url::{DEFAULT_URL, parse_url},
};

/// Send recorded deliveries again, with their original bytes and signature
#[derive(Args)]
#[command(after_help = "\
A recorded delivery is an HTTP request in a file: the request line, the headers, an empty line and \
the body. The inspector of `listen` saves such files. Redirects are followed as SoundHash follows \
them.

Environment:
  SOUNDHASH_WEBHOOK_SECRET  The endpoint's secret, for --resign
  HTTP_PROXY, HTTPS_PROXY   Proxies, except for this machine and the hosts of NO_PROXY

Examples:
  $ soundhash-webhook replay delivery.http
  $ soundhash-webhook replay captures/*.http --url http://localhost:8080/hooks
  $ soundhash-webhook replay production.http --resign

Exit status: 0 every delivery was accepted, 1 at least one was not, 2 wrong usage")]
pub(crate) struct ReplayArgs {
    /// The recorded deliveries
    #[arg(value_name = "FILE.http", required = true)]
    files: Vec<PathBuf>,
    /// Where to send them
    #[arg(long, default_value = DEFAULT_URL, value_parser = parse_url)]
    url: Uri,
    /// Sign the bodies again with your secret, instead of sending the recorded signatures
    #[arg(long)]
    resign: bool,
    #[command(flatten)]
    retry: RetryArgs,
    #[command(flatten)]
    source: SecretSource,
}

pub(crate) async fn run(args: ReplayArgs) -> Result<bool, Error> {
    let secret = (args.resign.then(|| args.source.secret())).transpose()?;
    let mut deliveries = Vec::new();
    for file in &args.files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let name = escape(&name);
        let wrong = |error: &dyn std::fmt::Display| {
            Error::usage(format!("{}: {error}", escape(&file.display().to_string())))
        };
        let capture = File::open(file).and_then(|file| read_limited(file, MAX_DATA));
        let capture = capture.map_err(|error| wrong(&error))?;
        let delivery = read(&name, &capture, secret.as_ref()).await;
        deliveries.push(delivery.map_err(|error| wrong(&error))?);
    }

    let target = Target::new(args.url);
    let delays = args.retry.delays();
    let widths = deliveries.iter().map(|it| it.name.chars().count());
    let width = widths.max();
    for delivery in &mut deliveries {
        delivery.name = format!("{:<1$}", delivery.name, width.unwrap_or_default());
    }
    let mut report = Report::new(deliveries.len() as u64, Expected::Accepted);
    let mut replayed = 0;
    for delivery in deliveries {
        let delivered = target.send(delivery, &delays, &report.retries()).await;
        let response = delivered.result.as_ref();
        replayed += usize::from(response.is_ok_and(|it| it.headers.contains_key(REPLAYED)));
        report.add(&delivered);
    }
    let accepted = report.finish();
    if replayed > 0 {
        output::note(format_args!(
            "The handler did not run for {replayed} of the deliveries, because the application \
             already has their events (`Idempotent-Replayed`)."
        ));
    }
    Ok(accepted)
}

/// Reads a capture. Without a secret, the delivery keeps its recorded signature.
async fn read(name: &str, capture: &[u8], secret: Option<&Secret>) -> Result<Delivery, String> {
    // The signature made with this secret is replaced below by the recorded one.
    let placeholder = Secret::new("placeholder");
    let request = SignedRequest::from_capture(secret.unwrap_or(&placeholder), capture)
        .map_err(|error| error.to_string())?
        .build();
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX)
        .await
        .map_err(|error| error.to_string())?;

    let mut headers = head.headers;
    remove_hop_by_hop(&mut headers);
    if secret.is_none() {
        headers.remove(SIGNATURE_HEADER);
        let name = SIGNATURE_HEADER;
        let signatures = recorded(capture, name.as_str());
        for signature in signatures.filter_map(|it| HeaderValue::from_bytes(it).ok()) {
            headers.append(SIGNATURE_HEADER, signature);
        }
    }
    let sent = body.len().to_string();
    let length = recorded(capture, "content-length").next();
    if length.is_some_and(|length| length != sent.as_bytes()) {
        output::warning(format_args!(
            "{name}: the body has {} bytes, which differs from its Content-Length. An editor may \
             have changed the file.",
            body.len()
        ));
    }
    Ok(Delivery {
        name: name.to_owned(),
        headers,
        body,
    })
}

/// Returns a header's values as recorded in the capture, before signing replaces them.
fn recorded<'a>(capture: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let lines = capture.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let head = lines.take_while(|line| !line.is_empty());
    head.filter_map(move |line| {
        let (given, value) = line.split_at(line.iter().position(|&byte| byte == b':')?);
        let is_it = given.eq_ignore_ascii_case(name.as_bytes());
        is_it.then(|| value[1..].trim_ascii())
    })
}

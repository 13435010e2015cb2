//! `listen`: receives deliveries, verifies them, prints them, and passes them on.
//!
//! - `forward`: passes verified requests on to an application
//! - `line`: prints a line for each delivery
//! - `signals`: Ctrl-C and SIGTERM

mod forward;
mod line;
mod signals;

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use axum::{
    Router,
    http::{StatusCode, Uri},
    routing::any,
};
use clap::Args;
use soundhash_webhook::{Delivery, SoundHashWebhookLayer};
use soundhash_webhook_inspector::{Inspector, Server};
use tokio::{net::TcpListener, sync::watch, time::timeout};

use self::{forward::Forwarder, line::Printer, signals::Signals};
use crate::{
    error::Error,
    http::{PATIENCE, parse_seconds, parse_url},
    output,
    secret::{self, PREVIOUS_SECRET, SecretSource},
};

const PATH: &str = "/webhooks/soundhash";
const DEFAULT_INSPECTOR: &str = "127.0.0.1:4040";

/// Receive deliveries, verify them, and print a line for each
#[derive(Args)]
#[command(after_help = "\
The command receives deliveries at every path. Without --forward, it answers 200 to verified \
deliveries.

With --forward, it passes verified requests on to your application, with the same bytes and \
headers. The sender gets the application's status, 502 if the application cannot be reached, or \
504 if it does not answer in time. Rejected requests never reach the application.

SoundHash cannot reach your machine directly. Start a tunnel, such as `ngrok http 3000`, and \
register its URL with `soundhash-webhook endpoints create`.

During a rotation, set SOUNDHASH_WEBHOOK_PREVIOUS_SECRET to accept the previous secret, too.

Examples:
  $ soundhash-webhook listen
  $ soundhash-webhook listen --forward http://localhost:8080/hooks
  $ soundhash-webhook listen --json | jq 'select(.verdict == \"rejected\")'")]
pub(crate) struct ListenArgs {
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1:3000")]
    addr: SocketAddr,
    /// Pass verified requests on to this URL, and return its answers
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    forward: Option<Uri>,
    /// Wait this long for an answer of the application; SoundHash waits for 30 seconds
    #[arg(long, value_name = "SECONDS", default_value = "29", requires = "forward", value_parser = parse_seconds)]
    forward_timeout: Duration,
    /// Where to serve the inspector, a web page with the deliveries [default: 127.0.0.1:4040]
    #[arg(long, value_name = "ADDR|off")]
    inspect: Option<Inspect>,
    /// Print a JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SecretSource,
}

#[derive(Clone, Copy)]
enum Inspect {
    Off,
    At(SocketAddr),
}

impl FromStr for Inspect {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            _ => (text.parse().map(Self::At))
                .map_err(|_| "not an address such as 127.0.0.1:4040, and not `off`"),
        }
    }
}

pub(crate) async fn run(args: ListenArgs) -> Result<bool, Error> {
    let (layer, inspector) = verification(&args.source)?;
    let mut signals = Signals::new()?;
    let listener = (TcpListener::bind(args.addr).await).map_err(|error| {
        Error::failed(format!(
            "cannot listen on {}: {error}. Choose another address with --addr.",
            args.addr
        ))
    })?;
    let url = local_url(listener.local_addr().unwrap_or(args.addr));
    let inspector = inspector.webhook_url(&url);
    let server = bind_inspector(&inspector, args.inspect).await?;
    greet(&url, args.forward.as_ref(), server.as_ref());

    let mut records = inspector.subscribe();
    let handler = match args.forward {
        Some(url) => Forwarder::new(url, args.forward_timeout)?.handler(),
        None => any(|_: Delivery| async { StatusCode::OK }),
    };
    let app = Router::new()
        .fallback_service(handler)
        .layer(layer)
        .layer(inspector.layer());
    let (stop, stopping) = watch::channel(false);
    let receiver = axum::serve(listener, app).with_graceful_shutdown(is_true(stopping.clone()));
    let mut receiver = tokio::spawn(receiver.into_future());
    let inspector = tokio::spawn(async move {
        match server {
            Some(server) => server.run_until(is_true(stopping)).await,
            None => Ok(()),
        }
    });

    let printer = Printer { json: args.json };
    tokio::select! {
        ended = printer.run(&mut records) => ended?,
        () = signals.next() => {}
        ended = &mut receiver => return Err(Error::failed(format!("stopped listening: {ended:?}"))),
    }
    output::note("Stopping when all requests are answered. Press Ctrl-C again to stop at once.");
    // The tasks hold receivers until they have received this.
    let _ = stop.send(true);
    let ended = async {
        let _ = tokio::join!(&mut receiver, inspector);
    };
    tokio::select! {
        ended = printer.run(&mut records) => ended?,
        () = signals.next() => {}
        // A connection that sends half a request never ends by itself.
        _ = timeout(PATIENCE, ended) => {}
    }
    printer.rest(&mut records).await?;
    Ok(true)
}

/// Returns the layer, and an inspector with the same secrets.
fn verification(source: &SecretSource) -> Result<(SoundHashWebhookLayer, Inspector), Error> {
    let (text, name) = source.read()?;
    let mut layer = SoundHashWebhookLayer::new(secret::checked(text.clone(), &name)?);
    let mut inspector = Inspector::new().with_secret(text);
    if let Some(text) = secret::previous_text()? {
        layer = layer.previous_secret(secret::checked(text.clone(), PREVIOUS_SECRET)?);
        inspector = inspector.with_secret(text);
    }
    Ok((layer, inspector))
}

/// Returns the URL by which this machine reaches the address.
fn local_url(mut addr: SocketAddr) -> String {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{addr}{PATH}")
}

/// Opens the inspector's address. The default address may be taken by another `listen`.
async fn bind_inspector(
    inspector: &Inspector,
    inspect: Option<Inspect>,
) -> Result<Option<Server>, Error> {
    let (addr, is_default) = match inspect {
        Some(Inspect::Off) => return Ok(None),
        Some(Inspect::At(addr)) => (addr.to_string(), false),
        None => (DEFAULT_INSPECTOR.to_owned(), true),
    };
    match inspector.bind(&addr).await {
        Ok(server) => Ok(Some(server)),
        Err(error) if is_default => {
            output::warning(format_args!(
                "the inspector is off, because {addr} cannot be used ({error}). Choose another \
                 address with --inspect."
            ));
            Ok(None)
        }
        Err(error) => Err(Error::failed(format!(
            "cannot serve the inspector on {addr}: {error}. Choose another address with --inspect."
        ))),
    }
}

fn greet(url: &str, forward: Option<&Uri>, inspector: Option<&Server>) {
    let row = |name: &str, value: &str| {
        output::note_as_is(format_args!(
            "{} {value}",
            output::paint(output::DIM, format_args!("{name:<11}"))
        ));
    };
    row("listening", url);
    if let Some(forward) = forward {
        row("forwarding", &forward.to_string());
    }
    if let Some(server) = inspector {
        row("inspector", &server.url());
    }
    let option = if url == crate::send::DEFAULT_URL {
        String::new()
    } else {
        format!(" --url {url}")
    };
    row("try it", &format!("soundhash-webhook send --all{option}"));
    output::note("");
}

async fn is_true(mut value: watch::Receiver<bool>) {
    // An error means that the sender is gone. This also ends the wait.
    let _ = value.wait_for(|value| *value).await;
}

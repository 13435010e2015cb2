//! `listen`: receives deliveries, verifies them, prints them, and passes them on.
//!
//! - `forward`: passes verified requests on to an application, and recognizes duplicates
//! - `line`: prints a line for each delivery
//! - `limit`: limits how many lines of one kind are printed

mod forward;
mod limit;
mod line;

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::Uri,
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::post,
};
use clap::Args;
use soundhash_webhook::{Delivery, SoundHashWebhookLayer};
use soundhash_webhook_inspector::{Inspector, Server as Page};
use soundhash_webhook_server::Server;
use tokio::net::TcpListener;

use self::{
    forward::{Forwarder, Seen},
    line::Printer,
};
use crate::{
    error::Error,
    http::PATIENCE,
    output,
    secret::{self, PREVIOUS_SECRET, SecretSource},
    signals,
    url::{DEFAULT_URL, parse_addr, parse_seconds, parse_url},
};

const PATH: &str = "/webhooks/soundhash";
/// The first port to try for the inspector, and the number of ports to try.
const INSPECTOR_PORT: u16 = 4040;
const INSPECTOR_PORTS: u16 = 20;
/// The number of files that this command may open, if the system allows as many.
const MAX_FILES: u64 = 1 << 16;
const MAX_CONNECTIONS: usize = 4096;

/// Receive deliveries, verify them, and print a line for each
#[derive(Args)]
#[command(after_help = "\
The command receives deliveries, which are POST requests, at every path. Without --forward, it \
responds with 200 to verified deliveries.

With --forward, it passes verified requests on to your application, with the same bytes and \
headers. The sender gets the application's status, 502 if the application cannot be reached or \
redirects, 503 while 16 deliveries of the same event wait for its response, or 504 if it does not \
respond in time. Rejected requests never reach the application.

SoundHash cannot reach your machine directly. Start a tunnel, such as `ngrok http 3000`, and \
register its URL with `soundhash-webhook endpoints create`.

Environment:
  SOUNDHASH_WEBHOOK_SECRET           The endpoint's secret
  SOUNDHASH_WEBHOOK_PREVIOUS_SECRET  The previous secret, accepted during a rotation

Examples:
  $ soundhash-webhook listen
  $ soundhash-webhook listen --addr 8000 --inspect off
  $ soundhash-webhook listen --forward http://localhost:8080/hooks
  $ soundhash-webhook listen --json | jq 'select(.verdict == \"rejected\")'

Exit status: 0 ended by Ctrl-C or SIGTERM, 1 failed, 2 wrong usage")]
pub(crate) struct ListenArgs {
    /// The address to listen on; a port alone means that port on 127.0.0.1
    #[arg(long, default_value = "127.0.0.1:3000", value_parser = parse_addr)]
    addr: SocketAddr,
    /// Pass verified requests on to this URL, and return its responses
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    forward: Option<Uri>,
    /// Wait this long for the application's response; SoundHash waits 30 seconds
    #[arg(long, value_name = "SECONDS", default_value = "29", requires = "forward", value_parser = parse_seconds)]
    forward_timeout: Duration,
    /// Where to serve the inspector, a web page with the deliveries [default: 127.0.0.1:4040, or
    /// the next free port]
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
            _ => (parse_addr(text).map(Self::At))
                .map_err(|_| "not an address such as 127.0.0.1:4040, and not `off`"),
        }
    }
}

pub(crate) async fn run(args: ListenArgs) -> Result<bool, Error> {
    let (layer, inspector) = verification(&args.source)?;
    signals::listen()?;
    let listener = (TcpListener::bind(args.addr).await).map_err(|error| {
        Error::failed(format!(
            "cannot listen on {}: {error}. Choose another address with --addr.",
            args.addr
        ))
    })?;
    let addr = listener.local_addr().unwrap_or(args.addr);
    let most = max_connections();
    let seen = Seen::default();
    let handler = match args.forward.clone() {
        Some(url) => {
            let forwarder = Forwarder::new(url, args.forward_timeout, addr, seen, most).await?;
            forwarder.handler()
        }
        None => post(accept).with_state(seen),
    };
    let url = local_url(addr);
    let inspector = inspector.webhook_url(&url);
    let page = bind_inspector(&inspector, args.inspect).await?;
    greet(&url, args.forward.as_ref(), page.as_ref());

    let mut records = inspector.subscribe();
    let mut app = Router::new()
        .fallback_service(handler)
        .layer(layer)
        .layer(inspector.layer());
    if args.forward.is_some() {
        app = app.layer(map_response(forward::unmark));
    }
    let receiver = Server::new(listener).grace(PATIENCE).max_connections(most);
    let forwards = args.forward.is_some();
    let receiver = tokio::spawn(receiver.serve(app, stopped(forwards)));
    let page = tokio::spawn(async move {
        if let Some(page) = page {
            page.run_until(stopped(forwards)).await;
        }
    });

    output::end_last_line();
    let mut printer = Printer::new(args.json);
    tokio::select! {
        () = printer.run(&mut records) => {}
        () = stopped(forwards) => {}
    }
    output::note(
        "Stopping when every request has its response. Press Ctrl-C again to stop at once.",
    );
    tokio::select! {
        () = printer.run(&mut records) => {}
        () = signals::received(signals::count() + 1) => {}
        _ = async { tokio::join!(receiver, page) } => {}
    }
    printer.rest(&mut records).await;
    Ok(true)
}

/// Resolves at the first signal. Unless requests are forwarded, also resolves when the process that
/// reads the output has exited, as with `| head`.
async fn stopped(forwards: bool) {
    tokio::select! {
        () = signals::received(1) => {}
        () = output::closed(), if !forwards => {}
    }
}

/// Raises the limit of open files, and returns how many connections fit into it: each delivery that
/// waits for the application has two.
fn max_connections() -> usize {
    let files = rlimit::increase_nofile_limit(MAX_FILES).unwrap_or(MAX_FILES);
    usize::try_from(files / 8 * 3)
        .unwrap_or(MAX_CONNECTIONS)
        .min(MAX_CONNECTIONS)
}

/// Responds to a verified delivery with 200.
async fn accept(State(seen): State<Seen>, delivery: Delivery) -> Response {
    let mut response = ().into_response();
    seen.mark(&delivery, &mut response);
    response
}

/// Returns the layer that verifies requests, and an inspector with the same secrets.
fn verification(source: &SecretSource) -> Result<(SoundHashWebhookLayer, Inspector), Error> {
    let (text, name) = source.read()?;
    let mut layer = SoundHashWebhookLayer::new(secret::checked(&text, &name)?);
    let mut inspector = Inspector::new().with_secret(text);
    if let Some(text) = secret::previous_text()? {
        layer = layer.previous_secret(secret::checked(&text, PREVIOUS_SECRET)?);
        inspector = inspector.with_secret(text);
    }
    Ok((layer, inspector))
}

/// Returns the URL at which clients on this machine can reach a server that listens on `addr`.
fn local_url(mut addr: SocketAddr) -> String {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{addr}{PATH}")
}

/// Binds the inspector's address. By default, uses the next free port if another `listen` or ngrok
/// already occupies the usual one.
async fn bind_inspector(
    inspector: &Inspector,
    inspect: Option<Inspect>,
) -> Result<Option<Page>, Error> {
    let addrs: Vec<SocketAddr> = match inspect {
        Some(Inspect::Off) => Vec::new(),
        Some(Inspect::At(addr)) if !addr.ip().is_loopback() => {
            return Err(Error::usage(format!(
                "--inspect {addr}: the inspector shows every delivery and can send events, so this \
                 command serves it for this machine only. Use --inspect {} instead. To reach it in \
                 a container, run the container with `--network host`, or use `kubectl \
                 port-forward`; on another machine, use `ssh -L`.",
                SocketAddr::from((Ipv4Addr::LOCALHOST, addr.port()))
            )));
        }
        Some(Inspect::At(addr)) => vec![addr],
        None => (INSPECTOR_PORT..INSPECTOR_PORT + INSPECTOR_PORTS)
            .map(|port| (Ipv4Addr::LOCALHOST, port).into())
            .collect(),
    };
    let mut last = Ok(None);
    for (index, addr) in addrs.iter().enumerate() {
        match inspector.bind(addr).await {
            Ok(page) => {
                if index > 0 {
                    output::note(format_args!(
                        "Port {INSPECTOR_PORT} is taken, so the inspector uses port {}.",
                        addr.port()
                    ));
                }
                return Ok(Some(page));
            }
            Err(error) => {
                last = Err(Error::failed(format!(
                    "cannot serve the inspector on {addr}: {error}. Choose another address with \
                     --inspect."
                )));
            }
        }
    }
    last
}

fn greet(url: &str, forward: Option<&Uri>, page: Option<&Page>) {
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
    if let Some(page) = page {
        row("inspector", &page.url());
    }
    let option = if url == DEFAULT_URL {
        String::new()
    } else {
        format!(" --url {url}")
    };
    row("try it", &format!("soundhash-webhook send --all{option}"));
    output::note("");
}

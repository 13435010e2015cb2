//! The command line: the commands and their help.

use clap::{Parser, Subcommand};

use crate::{
    completions::CompletionsArgs, doctor::DoctorArgs, endpoints::EndpointsArgs, events::EventsArgs,
    listen::ListenArgs, reconcile::ReconcileArgs, replay::ReplayArgs, send::SendArgs,
    verify::VerifyArgs,
};

/// Receive, send, verify and replay SoundHash webhooks, and manage endpoints
#[derive(Parser)]
#[command(name = "soundhash-webhook", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Listen(ListenArgs),
    Send(SendArgs),
    Verify(VerifyArgs),
    Doctor(DoctorArgs),
    Replay(ReplayArgs),
    Endpoints(EndpointsArgs),
    Reconcile(ReconcileArgs),
    Events(EventsArgs),
    Completions(CompletionsArgs),
}

const EXAMPLES: &str = "\
Secrets and tokens come from the environment, a file or a prompt, and never from arguments, \
because every user of a machine can read the arguments of a running command.

Environment:
  SOUNDHASH_WEBHOOK_SECRET           The endpoint's secret
  SOUNDHASH_WEBHOOK_PREVIOUS_SECRET  The previous secret, during a rotation
  SOUNDHASH_WEBHOOK_DATABASE         The database of `events`
  SOUNDHASH_API_URL                  Scheme and host of SoundHash's API
  SOUNDHASH_API_TOKEN                The bearer token of the API
  SOUNDHASH_API_REFRESH_TOKEN        Renews the bearer token when it has expired
  HTTP_PROXY, HTTPS_PROXY, NO_PROXY  Proxies of all commands but `listen`
  NO_COLOR                           Turns colors off

Examples:
  Receive and print deliveries, and send samples from a second terminal:
    $ export SOUNDHASH_WEBHOOK_SECRET=whsec_test
    $ soundhash-webhook listen
    $ soundhash-webhook send --all

  Pass verified deliveries on to an application in any language:
    $ soundhash-webhook listen --forward http://localhost:8080/hooks

  Check a receiver from outside before you go live:
    $ soundhash-webhook doctor https://app.example.com/webhooks/soundhash

  Find out why a signature does not match:
    $ soundhash-webhook verify --signature 0123…cdef body.json

  Find the events of the last day that never arrived:
    $ soundhash-webhook reconcile --recorded deliveries.jsonl

Exit status: 0 done, 1 failed or not valid, 2 wrong usage, 130 interrupted";

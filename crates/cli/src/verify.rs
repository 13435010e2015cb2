//! `verify`: checks a signature, and finds the mistake behind a wrong one.

use std::{
    fs::File,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use clap::Args;
use soundhash_webhook_diagnose::{DiagnosisKind, diagnose};

use crate::{
    data::read_limited,
    error::Error,
    output::{self, BAD, GOOD, escape::escape, paint},
    secret::{self, PREVIOUS_SECRET, SecretSource},
};

/// The maximum length of a body. SoundHash's bodies are only a few kilobytes.
const MAX_BODY: u64 = 8 << 20;

/// Check a signature, and find the common mistake behind a wrong one
#[derive(Args)]
#[command(after_help = "\
The body must be the exact bytes that arrived. Save them in your server before it parses or prints \
them. Whitespace in the secret is kept, because it is one of the mistakes that this command finds.

Environment:
  SOUNDHASH_WEBHOOK_SECRET           The endpoint's secret
  SOUNDHASH_WEBHOOK_PREVIOUS_SECRET  The previous secret, which is also checked

Examples:
  $ soundhash-webhook verify --signature 5f0c…e1a9 body.json
  $ soundhash-webhook verify --signature \"$SIGNATURE\" < body.json

Exit status: 0 the signature matches, 1 it does not, 2 wrong usage")]
pub(crate) struct VerifyArgs {
    /// The value of the X-Webhook-Signature header, as it arrived
    #[arg(long, value_name = "HEX", allow_hyphen_values = true)]
    signature: String,
    #[command(flatten)]
    source: SecretSource,
    /// The file with the body, byte for byte; if omitted or `-`, standard input
    #[arg(default_value = "-", hide_default_value = true)]
    file: PathBuf,
}

pub(crate) fn run(args: &VerifyArgs) -> Result<bool, Error> {
    let (secret, _) = args.source.read()?;
    let mut secrets = vec![secret];
    secrets.extend(secret::previous_text()?);
    let body = body(&args.file)?;
    let diagnosis = diagnose(&secrets, &args.signature, &body);
    if diagnosis.is_right() {
        let bytes = body.len();
        output::line(paint(GOOD.bold(), "The signature matches."));
        output::paragraph(format_args!(
            "It is the signature of these {bytes} bytes with this secret. If the server still \
             rejects it, the server has another secret, or other bytes arrived there. Compare \
             the secrets, including whitespace around them. Save the body before the server \
             parses it, and verify those bytes."
        ));
        return Ok(true);
    }
    if diagnosis.kinds().eq([DiagnosisKind::PreviousSecret]) {
        output::line(paint(
            GOOD.bold(),
            "The signature matches the previous secret.",
        ));
        output::paragraph(format_args!(
            "It was not made with the current secret. A server accepts it only if it also has the \
             previous secret, which it needs until SoundHash signs with the current one only."
        ));
        return Ok(true);
    }
    output::line(paint(BAD.bold(), "The signature does not match."));
    // Escapes the diagnosis in case it ever contains untrusted text, which it currently does not.
    for line in diagnosis.to_string().lines() {
        output::paragraph(escape(line));
    }
    if diagnosis.kind() == DiagnosisKind::Unknown && secrets.len() == 1 {
        output::note(format_args!(
            "If the endpoint had another secret before, set {PREVIOUS_SECRET} to it, so that it \
             is checked as well."
        ));
    }
    if body.is_empty() && args.file == Path::new("-") {
        output::note("The body was read from standard input, which was empty.");
    }
    if body.starts_with(b"POST ") {
        output::note(
            "This is a whole request. Give only its body, the bytes after the empty line.",
        );
    }
    Ok(false)
}

fn body(path: &Path) -> Result<Vec<u8>, Error> {
    let is_stdin = path == Path::new("-");
    if is_stdin && io::stdin().is_terminal() {
        output::note("Paste the body, and end it with Ctrl-D.");
    }
    let read = if is_stdin {
        read_limited(io::stdin(), MAX_BODY)
    } else {
        File::open(path).and_then(|file| read_limited(file, MAX_BODY))
    };
    read.map_err(|error| Error::usage(format!("{}: {error}", escape(&path.to_string_lossy()))))
}

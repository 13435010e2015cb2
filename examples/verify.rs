//! `cargo run --example verify -- --secret whsec_test --signature 0123…cdef body.json`
//!
//! Says whether a recorded request is authentic and, if it is not, which usual mistake
//! explains that. It ends with 0 only if nothing is wrong. `-` reads the body from stdin.

use std::{
    env,
    error::Error,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use soundhash_webhook::testing::diagnose;

const SECRET_VARIABLE: &str = "SOUNDHASH_WEBHOOK_SECRET";

/// Check the signature of a recorded SoundHash webhook.
#[derive(Parser)]
struct Args {
    /// The endpoint's secret, the current one first if there are several; without it,
    /// `SOUNDHASH_WEBHOOK_SECRET` is read
    #[arg(long = "secret", value_name = "SECRET")]
    secrets: Vec<String>,
    /// The value of the X-Webhook-Signature header
    #[arg(long, allow_hyphen_values = true)]
    signature: String,
    /// The file with the body, byte for byte as it was received; `-` is stdin
    body: PathBuf,
}

impl Args {
    /// As they are: white space at an end is one of the mistakes to be found.
    fn secrets(&self) -> Result<Vec<String>, Box<dyn Error>> {
        if !self.secrets.is_empty() {
            return Ok(self.secrets.clone());
        }
        let secret = env::var(SECRET_VARIABLE)
            .map_err(|error| format!("--secret or {SECRET_VARIABLE}: {error}"))?;
        Ok(vec![secret])
    }

    fn body(&self) -> Result<Vec<u8>, Box<dyn Error>> {
        if self.body == Path::new("-") {
            let mut body = Vec::new();
            io::stdin().lock().read_to_end(&mut body)?;
            return Ok(body);
        }
        let body = fs::read(&self.body);
        Ok(body.map_err(|error| format!("{}: {error}", self.body.display()))?)
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    let diagnosis = diagnose(&args.secrets()?, &args.signature, args.body()?);
    println!(
        "{}",
        if diagnosis.is_right() {
            "right"
        } else {
            "wrong"
        }
    );
    println!("{diagnosis}");
    Ok(diagnosis.is_right())
}

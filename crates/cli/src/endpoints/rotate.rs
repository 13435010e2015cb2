//! `rotate`: replaces a secret by creating a second endpoint.

use std::path::PathBuf;

use axum::http::Method;
use clap::Args;
use serde_json::json;

use super::{manage::create_from, secret_file::SecretFile};
use crate::{
    api::{
        Api,
        model::{Endpoint, read},
    },
    error::Error,
    output,
    url::parse_id,
};

/// Get a new secret: create a second endpoint, wait, and delete the first one
#[derive(Args)]
#[command(after_help = help!(
    "\
SoundHash cannot change the secret of an endpoint. This command creates a copy of the endpoint \
with a new secret, waits until you confirm that your server accepts the secret, and deletes the \
old endpoint. In between, each event arrives twice, with the same body and two signatures. An \
idempotency layer handles it once.

",
    "  $ soundhash-webhook endpoints rotate 7 --secret-file new.secret"
))]
pub(super) struct RotateArgs {
    /// The endpoint
    #[arg(value_parser = parse_id)]
    id: String,
    /// Write the new secret to this new file, which only you can read, instead of printing it
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

pub(super) async fn run(api: &Api, args: RotateArgs, json: bool) -> Result<bool, Error> {
    let old_id = &args.id;
    let file = (args.secret_file.as_deref().map(SecretFile::create)).transpose()?;
    let old: Endpoint = read(&api.get(&[old_id], &[]).await?)?;
    let new = create_from(api, &old, file, json).await?;
    let new_id = new.id.to_string();
    if old.is_active == Some(false) {
        let body = json!({ "is_active": false }).to_string();
        api.send(Method::PATCH, &[&new_id], body).await?;
    }
    let now = match old.is_active {
        Some(false) => {
            "Both endpoints are switched off, so nothing arrives until you switch one on."
        }
        _ => {
            "Both endpoints deliver now: each event arrives twice, with the same body and two \
             signatures."
        }
    };
    output::note(format_args!(
        "
{now}

  1. Give your server the new secret as the current one, and keep the old one
     as the previous one (`previous_secret` of the layer).
  2. Check that your server accepts deliveries of the new endpoint:
     `soundhash-webhook endpoints test {new_id}`
  3. If deliveries failed, find them with `soundhash-webhook reconcile` first.
  4. Confirm here. Endpoint {old_id} is then deleted, with its log of deliveries.
"
    ));
    let question = format!("Delete the old endpoint {old_id} now?");
    if !output::confirm(&question).await? {
        output::note(format_args!(
            "Both endpoints remain. Finish later with `soundhash-webhook endpoints delete {old_id}`, \
             or undo with `soundhash-webhook endpoints delete {new_id}`."
        ));
        return Ok(false);
    }
    api.delete(old_id).await?;
    output::note(format_args!(
        "Endpoint {old_id} is deleted. Remove the old secret from your server after 10 minutes, \
         when the last retry of the old endpoint is over."
    ));
    Ok(true)
}

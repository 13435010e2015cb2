//! The bearer token, which comes from the environment, a refresh token or a command. It is renewed
//! when it expires.

use std::{cell::RefCell, process::Stdio, time::Duration};

use axum::http::{HeaderValue, Method};
use serde_json::json;
use tokio::time::timeout;

use super::{
    call::Call,
    detail::{detail, small_json},
};
use crate::{
    error::Error,
    http::{NoResponse, Response},
    secret, shell,
};

pub(crate) const TOKEN: &str = "SOUNDHASH_API_TOKEN";
pub(crate) const REFRESH_TOKEN: &str = "SOUNDHASH_API_REFRESH_TOKEN";

/// How long the command may take, which is enough for someone to type a password.
const TIME_LIMIT: Duration = Duration::from_secs(300);

pub(super) struct Tokens {
    /// The header with the current token.
    current: RefCell<Option<HeaderValue>>,
    refresh_token: Option<String>,
    command: Option<String>,
}

impl Tokens {
    pub(super) fn from_env(command: Option<String>) -> Result<Self, Error> {
        let token = secret::variable(TOKEN)?;
        let refresh_token = secret::variable(REFRESH_TOKEN)?;
        if token.is_none() && refresh_token.is_none() && command.is_none() {
            return Err(Error::usage(format!(
                "{TOKEN} is not set: set it to the bearer token of your SoundHash account"
            )));
        }
        let header = token.map(|token| header(&token, TOKEN).map_err(Error::usage));
        Ok(Self {
            current: RefCell::new(header.transpose()?),
            refresh_token,
            command,
        })
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        self.current.borrow().clone()
    }

    /// Gets a new token. Returns `false` if neither a command nor a refresh token is set.
    pub(super) async fn renew(
        &self,
        send: impl AsyncFnOnce(Call) -> Result<Response, NoResponse>,
    ) -> Result<bool, Error> {
        let (token, source) = if let Some(command) = &self.command {
            (run(command).await?, "the output of --token-command")
        } else if let Some(token) = &self.refresh_token {
            (refresh(send, token).await?, "the new token")
        } else {
            return Ok(false);
        };
        let header = header(&token, source).map_err(Error::failed)?;
        self.current.replace(Some(header));
        Ok(true)
    }
}

fn header(token: &str, source: &str) -> Result<HeaderValue, String> {
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
        format!(
            "{source} has a line end or another character that is not allowed in a token. Copy the \
             token again."
        )
    })?;
    header.set_sensitive(true);
    Ok(header)
}

async fn run(line: &str) -> Result<String, Error> {
    let failed = |reason: String| Error::failed(format!("--token-command {reason}"));
    let mut command = shell::shell(line);
    let ran = timeout(TIME_LIMIT, shell::run(command.stdout(Stdio::piped()), b"")).await;
    let output = ran
        .map_err(|_| failed(format!("printed no token within {TIME_LIMIT:?}")))?
        .map_err(|error| failed(format!("cannot be run: {error}")))?;
    if !output.status.success() {
        return Err(failed(format!("failed ({})", output.status)));
    }
    match String::from_utf8_lossy(&output.stdout).trim() {
        "" => Err(failed("printed no token".to_owned())),
        token => Ok(token.to_owned()),
    }
}

async fn refresh(
    send: impl AsyncFnOnce(Call) -> Result<Response, NoResponse>,
    token: &str,
) -> Result<String, Error> {
    let failed = |reason: &str| {
        Error::failed(format!(
            "SoundHash does not accept {REFRESH_TOKEN} ({reason}). Refresh tokens expire after a \
             week: log in again and set the new one."
        ))
    };
    let body = json!({ "refresh_token": token }).to_string();
    let call = Call::new(Method::POST, &["auth", "refresh"], &[], body);
    let response = send(call)
        .await
        .map_err(|error| failed(&error.to_string()))?;
    match small_json(&response)["access_token"].as_str() {
        Some(token) if response.status.is_success() => Ok(token.to_owned()),
        _ => Err(failed(&detail(&response))),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_command_that_does_not_end_is_stopped() {
        let Err(error) = run("sleep 600; true").await else {
            panic!("the command ended");
        };
        assert_eq!(
            error.to_string(),
            "--token-command printed no token within 300s"
        );
    }
}

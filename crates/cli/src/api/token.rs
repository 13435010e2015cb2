//! The bearer token: from a variable, a refresh token or a command, and renewed when it expires.

use std::{
    cell::RefCell,
    process::{Command, Stdio},
};

use axum::http::{HeaderValue, Method};
use serde_json::{Value, json};

use super::{Api, explain::detail};
use crate::{error::Error, secret};

pub(crate) const TOKEN: &str = "SOUNDHASH_API_TOKEN";
pub(crate) const REFRESH_TOKEN: &str = "SOUNDHASH_API_REFRESH_TOKEN";

pub(super) struct Tokens {
    /// The token, and the header with it.
    current: RefCell<Option<(String, HeaderValue)>>,
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
        let token = token.map(|token| with_header(token, TOKEN).map_err(Error::usage));
        Ok(Self {
            current: RefCell::new(token.transpose()?),
            refresh_token,
            command,
        })
    }

    pub(super) fn is_known(&self) -> bool {
        self.current.borrow().is_some()
    }

    pub(super) fn text(&self) -> String {
        let current = self.current.borrow();
        current
            .as_ref()
            .map_or_else(String::new, |(text, _)| text.clone())
    }

    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        self.current
            .borrow()
            .as_ref()
            .map(|(_, header)| header.clone())
    }

    /// Gets a new token. Returns `false` if there is no way to get one.
    pub(super) async fn renew(&self, api: &Api) -> Result<bool, Error> {
        let (token, source) = if let Some(command) = &self.command {
            (run(command)?, "the output of --token-command")
        } else if let Some(token) = &self.refresh_token {
            (refresh(api, token).await?, "the new token")
        } else {
            return Ok(false);
        };
        let token = with_header(token, source).map_err(Error::failed)?;
        self.current.replace(Some(token));
        Ok(true)
    }
}

fn with_header(token: String, source: &str) -> Result<(String, HeaderValue), String> {
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
        format!(
            "{source} has a line end or another character that is not allowed in a token. Copy the \
             token again."
        )
    })?;
    header.set_sensitive(true);
    Ok((token, header))
}

fn run(command: &str) -> Result<String, Error> {
    let failed = |reason: String| Error::failed(format!("--token-command {reason}"));
    let output = shell(command)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(format!("cannot be run: {error}")))?;
    if !output.status.success() {
        return Err(failed(format!("failed ({})", output.status)));
    }
    let token = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match token.is_empty() {
        true => Err(failed("printed no token".to_owned())),
        false => Ok(token),
    }
}

async fn refresh(api: &Api, token: &str) -> Result<String, Error> {
    let failed = |reason: &str| {
        Error::failed(format!(
            "SoundHash does not accept {REFRESH_TOKEN} ({reason}). Refresh tokens expire after a \
             week: log in again and set the new one."
        ))
    };
    let body = json!({ "refresh_token": token }).to_string();
    let response = api
        .patient(&Method::POST, &["auth", "refresh"], "", &body)
        .await;
    let response = response.map_err(|error| failed(&error.to_string()))?;
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    match body["access_token"]
        .as_str()
        .filter(|_| response.status.is_success())
    {
        Some(token) => Ok(token.to_owned()),
        None => Err(failed(&detail(&response))),
    }
}

/// Returns the shell with a command line.
pub(crate) fn shell(line: &str) -> Command {
    let (shell, option) = if cfg!(windows) {
        ("cmd", "/C")
    } else {
        ("sh", "-c")
    };
    let mut command = Command::new(shell);
    command.args([option, line]);
    command
}

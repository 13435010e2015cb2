//! Reads secrets from the environment, a file or a prompt, but never from an argument.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use soundhash_webhook::Secret;

use crate::{
    error::Error,
    output::{
        self,
        escape::{escape, is_harmless},
    },
};

pub(crate) const SECRET: &str = "SOUNDHASH_WEBHOOK_SECRET";
pub(crate) const PREVIOUS_SECRET: &str = "SOUNDHASH_WEBHOOK_PREVIOUS_SECRET";

/// Options that users may try although they do not exist. Arguments would reveal a secret to every
/// user on the machine.
const TRIED: [&str; 6] = [
    "--secret",
    "--previous-secret",
    "--token",
    "--api-token",
    "--api-key",
    "--bearer",
];

/// The maximum length of a secret file.
const MAX_FILE: u64 = 64 * 1024;

/// The option that selects the source of the endpoint's secret.
#[derive(Args)]
pub(crate) struct SecretSource {
    /// Read the endpoint's secret from FILE, without its trailing newline
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl SecretSource {
    /// Returns the secret for signing and verifying.
    pub(crate) fn secret(&self) -> Result<Secret, Error> {
        let (text, source) = self.read()?;
        checked(&text, &source)
    }

    /// Returns the secret without checking it, and the name of its source.
    pub(crate) fn read(&self) -> Result<(String, String), Error> {
        if let Some(path) = &self.secret_file {
            let source = path.display().to_string();
            let text = read_file(path)
                .map_err(|error| Error::usage(format!("--secret-file {source}: {error}")))?;
            let line = text.strip_suffix('\n').unwrap_or(&text);
            let secret = line.strip_suffix('\r').unwrap_or(line).to_owned();
            return Ok((secret, source));
        }
        if let Some(secret) = variable(SECRET)? {
            return Ok((secret, SECRET.to_owned()));
        }
        Ok((prompt()?, "the secret".to_owned()))
    }
}

/// Returns the unchecked previous secret, if one is set for a rotation.
pub(crate) fn previous_text() -> Result<Option<String>, Error> {
    // Docker Compose passes on a variable that is not set as an empty one.
    Ok(variable(PREVIOUS_SECRET)?.filter(|it| !it.is_empty()))
}

/// Reads a small file, and warns if other users can change it.
fn read_file(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::mode(&file.metadata()?) & 0o002 != 0 {
        let path = escape(&path.display().to_string());
        output::warning(format_args!(
            "every user of this machine can change {path}. Run `chmod go-w` on it."
        ));
    }
    io::read_to_string(file.take(MAX_FILE))
}

/// Returns the secret, or an error if it starts or ends with whitespace, contains an invisible
/// character, or is in quotes. SoundHash's secrets never do.
pub(crate) fn checked(text: &str, source: &str) -> Result<Secret, Error> {
    if text.trim() != text {
        return Err(Error::usage(format!(
            "{source}: the secret starts or ends with whitespace. Remove the whitespace."
        )));
    }
    if let Some(character) = text.chars().find(|it| !is_harmless(*it)) {
        return Err(Error::usage(format!(
            "{source}: the secret contains the invisible character U+{:04X}. Copy the secret \
             again, or type it.",
            u32::from(character)
        )));
    }
    // Unlike `Secret::try_from`, this rejects a secret in quotes.
    text.parse()
        .map_err(|error| Error::usage(format!("{source}: {error}")))
}

/// Reads an optional environment variable.
pub(crate) fn variable(name: &str) -> Result<Option<String>, Error> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(Error::usage(format!("{name} is not UTF-8"))),
    }
}

fn prompt() -> Result<String, Error> {
    if !io::stderr().is_terminal() {
        return Err(Error::usage(format!(
            "there is no secret: set {SECRET}, or give a file with --secret-file"
        )));
    }
    rpassword::prompt_password("The endpoint's secret (not shown): ")
        .map_err(|error| Error::usage(format!("cannot ask for the secret: {error}. Set {SECRET}.")))
}

/// Returns an error if an argument looks like a secret.
///
/// This must run before the arguments are parsed, because a parse error could repeat the secret.
pub(crate) fn reject_in_arguments(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(), Error> {
    let mut names = arguments
        .into_iter()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .take_while(|argument| argument != "--")
        .map(|argument| argument.split('=').next().unwrap_or_default().to_owned());
    let Some(name) = names.find(|name| TRIED.contains(&name.as_str())) else {
        return Ok(());
    };
    let cure = if name.contains("secret") {
        format!("Set {SECRET}, or give a file with --secret-file.")
    } else {
        "Set SOUNDHASH_API_TOKEN.".to_owned()
    };
    Err(Error::usage(format!(
        "`{name}` is not an option: every user of this machine can read the arguments of a command. \
         {cure}\n\nWhat you typed may be in the history of your shell."
    )))
}

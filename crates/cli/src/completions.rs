//! `completions`: prints scripts that complete commands and options in a shell.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::{error::Error, output};

/// Print a script that completes commands and options in your shell
#[derive(Args)]
#[command(after_help = "\
Examples:
  $ soundhash-webhook completions bash \\
      > ~/.local/share/bash-completion/completions/soundhash-webhook
  $ soundhash-webhook completions zsh \\
      > ~/.zfunc/_soundhash-webhook
  $ soundhash-webhook completions fish \\
      > ~/.config/fish/completions/soundhash-webhook.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, mut command: Command) -> Result<bool, Error> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    let script = String::from_utf8(script).expect("clap writes UTF-8");
    output::line(script.trim_end())?;
    Ok(true)
}

//! `completions`: prints scripts that complete commands and options in a shell.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::output;

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

pub(crate) fn run(args: &CompletionsArgs, mut command: Command) {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    let script = String::from_utf8(script).expect("clap writes UTF-8");
    // In its script for Bash, clap writes some of the names of a command with a hyphen wrongly.
    let script = script.replace("soundhash__subcmd__webhook__", "soundhash__webhook__");
    output::line(script.trim_end());
}

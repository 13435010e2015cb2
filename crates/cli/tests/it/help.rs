//! Compares the help text of every command with the files in `tests/help`.
//!
//! `UPDATE_HELP=1 cargo test -p soundhash-webhook-cli --features database help` updates these
//! files. Review the diff before you commit it.

use std::process::Command;

use crate::support::{Run, bare, bare_command};

/// Returns the names and help texts of a command and its subcommands.
fn helps(name: &str) -> Vec<(String, String)> {
    let mut command = bare!("{name} --help");
    let ran = command.env("COLUMNS", "80").expect(0, "Usage:");
    assert_eq!(ran.stderr, "");
    let mut helps = vec![(name.to_owned(), ran.stdout.clone())];
    let list = ran.stdout.split_once("Commands:\n").map(|(_, rest)| rest);
    let list = list.and_then(|rest| rest.split("\n\n").next());
    let lines = list.into_iter().flat_map(str::lines);
    for line in lines.filter(|line| !line.starts_with("   ")) {
        let subcommand = line.split_whitespace().next().unwrap();
        if subcommand != "help" {
            helps.extend(self::helps(format!("{name} {subcommand}").trim()));
        }
    }
    helps
}

#[cfg(feature = "database")]
#[test]
fn the_help_of_every_command_was_reviewed() {
    use std::{env, fs, path::Path};

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    let helps = helps("");
    assert_eq!(helps.len(), fs::read_dir(&folder).unwrap().count());
    for (name, help) in helps {
        assert!(help.contains("Examples:"), "{name} has no examples");
        let needs = name.starts_with("endpoints") || name == "reconcile";
        assert!(!needs || help.contains("SOUNDHASH_API_TOKEN"), "{name}");
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
            // A line break after a `>` redirection would separate it from its file name.
            assert!(!line.ends_with(" >"), "{name}: {line}");
        }
        let file = format!("soundhash-webhook {name}").trim().replace(' ', "-") + ".txt";
        let file = folder.join(file);
        if env::var_os("UPDATE_HELP").is_some() {
            fs::write(&file, &help).unwrap();
        }
        let read = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(help, read, "{} differs", file.display());
    }
}

#[cfg(not(feature = "database"))]
#[test]
fn a_build_without_databases_says_so() {
    bare!("--help").expect(0, "run them again (needs the feature `database`)");
    let install = "cargo install --path crates/cli --features database";
    bare!("events --help").expect(0, format!("run-again Send recorded events | {install}"));
    bare!("events run-again --help").expect(0, format!("Send recorded events | {install}"));
    bare!("events list --since 2h --json").expect(2, install);
    let mut reconcile = bare!("reconcile --database sqlite:a.db");
    reconcile.env("SOUNDHASH_API_URL", "http://localhost:1");
    reconcile.env("SOUNDHASH_API_TOKEN", "a");
    reconcile.expect(2, install);
    bare!("reconcile --help").expect(0, "--database of a build with the feature `database`");
}

#[test]
fn the_examples_in_the_help_are_valid_commands() {
    let mut count = 0;
    for (_, help) in helps("") {
        let help = help.replace("\\\n", " ");
        let lines = help.lines().map(str::trim);
        for line in lines.filter_map(|line| line.strip_prefix("$ soundhash-webhook")) {
            let line = line.split([';', '|', '<', '>', '#']).next().unwrap();
            // The secret and the API's URL are not set, so the command parses its arguments and
            // then fails.
            let script = format!("exec \"$0\" {line} </dev/null");
            let mut command = Command::new("sh");
            command.args(["-c", &script, env!("CARGO_BIN_EXE_soundhash-webhook")]);
            for variable in ["SOUNDHASH_WEBHOOK_SECRET", "SOUNDHASH_API_URL"] {
                command.env_remove(variable);
            }
            let ran = command.reads("");
            assert!(!ran.stderr.contains("Usage:"), "{line}: {}", ran.stderr);
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn bash_completes_the_options_of_subcommands() {
    for (words, completed) in [
        ("endpoints cr", "create"),
        ("listen --forward-t", "--forward-timeout"),
        ("endpoints rotate --secret-", "--secret-file"),
    ] {
        let words: Vec<_> = words.split(' ').collect();
        let complete = format!(
            "eval \"$(\"$0\" completions bash)\"; COMP_WORDS=(soundhash-webhook {}); COMP_CWORD={}
             _soundhash__webhook soundhash-webhook {} {}; echo \"${{COMPREPLY[*]}}\"",
            words.join(" "),
            words.len(),
            words[words.len() - 1],
            words[words.len() - 2],
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &complete, env!("CARGO_BIN_EXE_soundhash-webhook")]);
        let ran = bash.expect(0, "");
        assert_eq!(ran.stdout.trim(), completed, "{ran:#?}");
    }
}

#[test]
fn the_version_and_completions_are_printed() {
    let version = format!("soundhash-webhook {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(bare!("--version").expect(0, "").stdout, version);
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let mut completions = bare_command("completions");
        completions
            .arg(shell)
            .expect(0, "listen | deliveries | secret-file");
    }
}

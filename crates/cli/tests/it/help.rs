//! The help of every command, compared with the files in `tests/help`.
//!
//! `UPDATE_HELP=1 cargo test -p soundhash-webhook-cli help` writes these files. Review the
//! difference before you commit it.

use std::{env, fs, path::Path};

use crate::support::{bare, run};

const COMMANDS: [&str; 22] = [
    "",
    "listen",
    "send",
    "verify",
    "doctor",
    "replay",
    "reconcile",
    "completions",
    "endpoints",
    "endpoints list",
    "endpoints create",
    "endpoints show",
    "endpoints update",
    "endpoints delete",
    "endpoints test",
    "endpoints deliveries",
    "endpoints stats",
    "endpoints rotate",
    "events",
    "events list",
    "events show",
    "events run-again",
];

/// Returns the commands with the same help in each build, and all of them with the feature
/// `database`.
fn commands() -> impl Iterator<Item = &'static str> {
    COMMANDS.into_iter().filter(|name| {
        cfg!(feature = "database") || !(name.starts_with("events") || *name == "reconcile")
    })
}

#[test]
fn every_command_has_the_help_that_was_read() {
    for name in commands() {
        let mut command = bare(name.split_whitespace());
        let ran = run(command.arg("--help").env("COLUMNS", "80")).expect(0, &["Usage:"]);
        assert_eq!(ran.stderr, "");
        assert!(ran.stdout.contains("Examples:"), "{name} has no examples");
        let needs = name.starts_with("endpoints") || name == "reconcile";
        assert!(
            !needs || ran.stdout.contains("SOUNDHASH_API_TOKEN"),
            "{name}"
        );
        for line in ran.stdout.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
            assert!(
                !line.ends_with(" >"),
                "{name}: a shell needs a file name: {line}"
            );
        }
        let file = format!("soundhash-webhook {name}").trim().replace(' ', "-") + ".txt";
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/help")
            .join(file);
        if env::var_os("UPDATE_HELP").is_some() {
            fs::write(&file, &ran.stdout).unwrap();
        }
        let read = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(ran.stdout, read, "{} differs", file.display());
    }
}

#[test]
fn every_command_is_in_the_list_above() {
    for parent in ["", "endpoints", "events"] {
        if !commands().any(|name| name == parent) {
            continue;
        }
        let ran = run(bare(parent.split_whitespace()).arg("--help"));
        let (_, list) = ran.stdout.split_once("Commands:\n").unwrap();
        let (list, _) = list.split_once("\n\n").unwrap();
        let names = list.lines().filter(|line| !line.starts_with("   "));
        for name in names.filter_map(|line| line.split_whitespace().next()) {
            let command = format!("{parent} {name}");
            assert!(
                name == "help" || COMMANDS.contains(&command.trim()),
                "{command}"
            );
        }
    }
}

#[test]
fn the_examples_in_the_help_are_valid_commands() {
    let mut count = 0;
    for name in commands() {
        let ran = run(bare(name.split_whitespace()).arg("--help"));
        let text = ran.stdout.replace("\\\n", " ");
        for line in text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("$ soundhash-webhook"))
        {
            let line = line.split([';', '|', '<', '>', '#']).next().unwrap();
            // Without a secret and a URL, the command fails, but only after it has parsed its
            // arguments.
            let script = format!("exec \"$0\" {line} </dev/null");
            let mut command = std::process::Command::new("sh");
            command.args(["-c", &script, env!("CARGO_BIN_EXE_soundhash-webhook")]);
            for variable in ["SOUNDHASH_WEBHOOK_SECRET", "SOUNDHASH_API_URL"] {
                command.env_remove(variable);
            }
            let ran = run(&mut command);
            assert!(!ran.stderr.contains("Usage:"), "{line}: {}", ran.stderr);
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn the_version_is_printed() {
    let version = format!("soundhash-webhook {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&mut bare(["--version"])).expect(0, &[]).stdout, version);
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = run(&mut bare(["completions", shell]));
        ran.expect(0, &["listen", "deliveries", "secret-file"]);
    }
}

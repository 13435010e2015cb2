//! Tests the `inspect` example.

use std::process::Command;

use soundhash_webhook_tests::process::example;

#[test]
fn a_secret_that_cannot_be_right_stops_the_example() {
    for (secret, reason) in [("", "empty"), ("whsec_padded\n", "whitespace")] {
        let started = Command::new(example("inspect"))
            .env("SOUNDHASH_WEBHOOK_SECRET", secret)
            .env("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:0")
            .output()
            .unwrap();
        let log = String::from_utf8(started.stderr).unwrap();
        assert_eq!(started.status.code(), Some(1), "{log}");
        for part in ["SOUNDHASH_WEBHOOK_SECRET", reason] {
            assert!(log.contains(part), "{log}");
        }
        assert!(!log.contains("whsec_padded"), "{log}");
    }
}

#[test]
fn an_impossible_address_stops_the_example_and_is_named() {
    for addr in ["127.0.0.1:22x", "192.0.2.1:4040"] {
        let started = Command::new(example("inspect"))
            .env("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:0")
            .env("SOUNDHASH_WEBHOOK_INSPECTOR", addr)
            .output()
            .unwrap();
        let log = String::from_utf8(started.stderr).unwrap();
        assert_eq!(started.status.code(), Some(1), "{log}");
        let cause = format!("SOUNDHASH_WEBHOOK_INSPECTOR: cannot listen on \"{addr}\": ");
        assert!(log.contains(&cause), "{log}");
    }
}

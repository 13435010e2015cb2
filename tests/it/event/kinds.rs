//! Event types, and the places that must list all of them.

use std::{collections::BTreeSet, fs};

use super::*;
use soundhash_webhook::{EventKind, Sender, testing::sample};

#[track_caller]
fn file(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(path).unwrap()
}

/// Collects the keys of all objects in `value`.
fn keys(value: &Value, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                all.insert(key.clone());
                keys(value, all);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, all)),
        _ => {}
    }
}

/// Returns the keys in all event samples.
pub(super) fn all_keys() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for &kind in EventKind::ALL {
        for sender in [Sender::Portal, Sender::Dispatcher] {
            keys(&sample(kind, sender), &mut all);
        }
    }
    all
}

#[test]
fn every_kind_parses_what_it_prints() {
    for &kind in EventKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    let distinct: BTreeSet<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(distinct.len(), EventKind::ALL.len());
}

#[test]
fn the_readme_counts_the_kinds() {
    let count = format!("{} event types", EventKind::ALL.len());
    assert!(file("README.md").contains(&count), "no \"{count}\"");
}

/// The fuzz target also takes its types and keys from the dictionary.
#[test]
fn the_fuzz_dictionary_has_every_kind_and_every_key() {
    let dictionary = file("fuzz/dictionaries/event.dict");
    let has = |word: &str| dictionary.contains(&format!(r#""\"{word}\"#));
    for &kind in EventKind::ALL {
        assert!(has(kind.as_str()), "{kind}");
    }
    let all = all_keys();
    assert!(all.len() > 50);
    for key in all {
        assert!(has(&key), "{key}");
    }
}

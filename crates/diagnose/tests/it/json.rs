//! Tests JSON that was reserialized.

use std::{collections::BTreeMap, fs};

use serde_json::Value;
use soundhash_webhook::{EventKind, Sender, testing::sample};
use soundhash_webhook_diagnose::DiagnosisKind::{NumbersRewritten, Reserialized, SortedKeys};

use super::{KEY, found, sign};

/// The output of Node's `JSON.stringify(JSON.parse(body))` for a delivery from the portal.
#[test]
fn numbers_of_a_real_delivery_rewritten_by_node() {
    let capture = include_str!("../../../../tests/captures/portal-quota.warning.http");
    let (_, body) = capture.split_once("\r\n\r\n").unwrap();
    let received = body.replace(['\n', ' '], "").replace("85.0", "85");
    found(KEY, &sign(KEY, body), &received, NumbersRewritten);
}

#[test]
fn a_body_serialized_again_by_another_library() {
    // The keys, numbers and escapes are written as Python's `json.dumps` writes them.
    let compact = r#"{"z":"M\u00fcller \ud83c\udfb5\u007f","a":[1.0,-2e5,{}, []],"n":null,"s":"a\\\"b, c: d"}"#;
    let compact = compact.replace("{}, []", "{},[]");
    let spaced = r#"{"z": "M\u00fcller \ud83c\udfb5\u007f", "a": [1.0, -2e5, {}, []], "n": null, "s": "a\\\"b, c: d"}"#;
    let pretty = "{\n  \"z\": \"M\\u00fcller \\ud83c\\udfb5\\u007f\",\n  \"a\": [\n    1.0,\n    \
                  -2e5,\n    {},\n    []\n  ],\n  \"n\": null,\n  \"s\": \"a\\\\\\\"b, c: d\"\n}";
    let wide = pretty.replace("  ", "    ");
    let javascript = compact
        .replace("\\u00fc", "ü")
        .replace("\\ud83c\\udfb5", "🎵");
    let javascript = javascript.replace("\\u007f", "\u{7f}");
    let all = [&compact, spaced, pretty, &wide, &javascript];
    for signed in all {
        for received in all {
            if signed != received {
                found(KEY, &sign(KEY, signed), received, Reserialized);
            }
        }
    }
    // The layout generated from text is identical to the output of `serde_json`.
    let ours = serde_json::to_string(&sample(EventKind::MatchFound, Sender::Portal)).unwrap();
    let value: Value = serde_json::from_str(&ours).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    found(KEY, &sign(KEY, &pretty), &ours, Reserialized);
}

/// Sorts the keys, which `serde_json` does not do if another package enables `preserve_order`.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.into_iter().collect();
            let members = sorted.into_iter();
            members
                .map(|(key, value)| (key, self::sorted(value)))
                .collect()
        }
        scalar => scalar,
    }
}

/// A middleware that reserializes JSON may sort the keys, as `serde_json` does.
#[test]
fn keys_of_a_real_delivery_sorted_on_the_way() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/captures");
    let mut count = 0;
    for file in fs::read_dir(folder).unwrap() {
        let capture = fs::read_to_string(file.unwrap().path()).unwrap();
        let (_, body) = capture.split_once("\r\n\r\n").unwrap();
        let sorted = sorted(serde_json::from_str(body).unwrap()).to_string();
        found(KEY, &sign(KEY, body), &sorted, SortedKeys);
        count += 1;
    }
    assert!(count > 20);
}

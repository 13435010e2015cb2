//! Bodies that would take much memory or time.

use std::{io::Read, time::Instant};

use flate2::{Compression, read};
use soundhash_webhook_diagnose::{DiagnosisKind::Unknown, diagnose};

use super::{KEY, finds, kinds, sign};

/// Attack: send a small body that fills the memory when it is decompressed.
#[test]
fn a_decompression_bomb_is_given_up() {
    let zeros = vec![0; 8 << 20];
    let mut bomb = Vec::new();
    let mut encoder = read::GzEncoder::new(&zeros[..], Compression::best());
    encoder.read_to_end(&mut bomb).unwrap();
    finds(&[KEY], sign(KEY, &zeros), &bomb, &[Unknown], None);
}

/// Attack: fill the memory with indentation.
#[test]
fn a_deeply_nested_body_is_not_laid_out() {
    let deep = "[".repeat(50_000) + &"]".repeat(50_000);
    finds(&[KEY], sign("other", "x"), deep, &[Unknown], None);
}

/// A large body is not signed thousands of times, as it would be if every mistake with the secret
/// were combined with every mistake with the body. The limit is 2,500 times the measured time of
/// one signature, so that it does not depend on the speed of the machine.
#[test]
fn a_large_body_is_tried_with_a_bounded_number_of_mistakes() {
    let values = "{\"title\": \"M\\u00fcller\", \"n\": [1, 2.0, {}]}, ".repeat(6_000);
    let body = format!("{{\"event\": \"x\", \"data\": [{values}null]}}");
    assert!(body.len() > 4 * 64 * 1024);
    let start = Instant::now();
    for _ in 0..20 {
        sign(KEY, &body);
    }
    let limit = start.elapsed() * 2_500 / 20;
    let start = Instant::now();
    let diagnosis = diagnose(&[KEY], sign("other", &body), &body);
    let elapsed = start.elapsed();
    assert_eq!(kinds(&diagnosis), [Unknown]);
    println!("{elapsed:?} of {limit:?}");
    assert!(elapsed < limit, "{elapsed:?} of {limit:?}");
}

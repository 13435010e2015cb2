//! Parses signature header values, which are arbitrary bytes or differ only slightly from a valid
//! signature.
#![no_main]

use std::fmt::Write;

use arbitrary::{Arbitrary, Unstructured};
use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use soundhash_webhook::{Secret, Signature, SignatureErrorKind};

fuzz_target!(|data: &[u8]| {
    check(data);
    let mut input = Unstructured::new(data);
    if let Ok(near_miss) = NearMiss::arbitrary(&mut input) {
        near_miss.check();
    }
});

/// Parses a signature independently of the crate: 64 hex digits, two per byte.
fn expected(value: &[u8]) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = value.try_into().ok()?;
    let mut tag = [0; 32];
    for (byte, pair) in tag.iter_mut().zip(digits.chunks_exact(2)) {
        for &digit in pair {
            *byte = *byte << 4 | u8::try_from(char::from(digit).to_digit(16)?).ok()?;
        }
    }
    Some(tag)
}

fn hex(tag: &[u8]) -> String {
    tag.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

/// Checks that the value is parsed as expected, and that a parsed signature is printed with the
/// same digits.
fn check(value: &[u8]) {
    let text = str::from_utf8(value).ok();
    let from_text = text.map(str::parse::<Signature>);
    let header = HeaderValue::from_bytes(value).ok();
    let from_header = header.as_ref().map(Signature::try_from);
    for read in [from_text, from_header].into_iter().flatten() {
        match (read, expected(value)) {
            (Ok(signature), Some(tag)) => {
                assert_eq!(signature.to_string(), hex(&tag));
                assert_eq!(signature.to_string().parse(), Ok(signature));
                let sent = HeaderValue::from(signature);
                assert_eq!(Signature::try_from(&sent), Ok(signature));
            }
            (Err(error), None) => assert_eq!(error.kind(), SignatureErrorKind::Malformed),
            (read, expected) => panic!("{value:?} is {expected:?} but read as {read:?}"),
        }
    }
}

/// A body's valid signature with some bytes changed.
#[derive(Arbitrary, Debug)]
struct NearMiss<'a> {
    upper_case: bool,
    changes: Vec<(u8, u8)>,
    body: &'a [u8],
}

impl NearMiss<'_> {
    fn check(self) {
        let secret = Secret::new("whsec_test");
        let right = secret.sign(self.body).to_string();
        let mut value = right.clone().into_bytes();
        if self.upper_case {
            value.make_ascii_uppercase();
        }
        for (at, byte) in self.changes {
            // If the index is past the end, the byte is appended.
            match value.get_mut(usize::from(at) % 65) {
                Some(digit) => *digit = byte,
                None => value.push(byte),
            }
        }
        check(&value);
        let Ok(header) = HeaderValue::from_bytes(&value) else {
            return;
        };
        let verdict = secret.verify(&header, self.body).map_err(|it| it.kind());
        let expected = match expected(&value) {
            None => Err(SignatureErrorKind::Malformed),
            Some(tag) if hex(&tag) == right => Ok(()),
            Some(_) => Err(SignatureErrorKind::Mismatch),
        };
        assert_eq!(verdict, expected);
    }
}

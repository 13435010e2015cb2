//! Converts bodies to and from their stored form. The database stores long bodies as LZ4 blocks.

use std::borrow::Cow;

use lz4_flex::block::{compress, decompress};

/// The length from which bodies are compressed. Shorter bodies are stored as is.
const LONG: usize = 2_048;

/// The highest compression ratio that LZ4 can reach.
const MAX_RATIO: usize = 255;

/// Returns the bytes to store, plus the length of the body if they are compressed.
pub(crate) fn pack(body: &[u8]) -> (Cow<'_, [u8]>, Option<i64>) {
    if body.len() >= LONG {
        let block = compress(body);
        if block.len() < body.len() {
            return (Cow::Owned(block), i64::try_from(body.len()).ok());
        }
    }
    (Cow::Borrowed(body), None)
}

/// Undoes [`pack`].
pub(crate) fn unpack(stored: Vec<u8>, len: Option<i64>) -> sqlx::Result<Vec<u8>> {
    let Some(len) = len else { return Ok(stored) };
    let len = usize::try_from(len).ok();
    let len = len.filter(|len| len / MAX_RATIO <= stored.len());
    let body = decompress(&stored, len.unwrap_or_default());
    body.map_err(|error| sqlx::Error::Decode(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_body_is_unpacked_unchanged() {
        let noise: Vec<u8> = (0..10_000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        for body in [
            vec![],
            vec![7; LONG - 1],
            vec![7; LONG],
            vec![0; 1 << 20],
            noise,
        ] {
            let (stored, len) = pack(&body);
            assert!(stored.len() <= body.len());
            assert_eq!(unpack(stored.into_owned(), len).unwrap(), body);
        }
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let body = vec![7; 10_000];
        let (stored, len) = pack(&body);
        for (stored, len) in [
            (stored.to_vec(), Some(i64::MAX)),
            (stored.to_vec(), Some(-1)),
            (stored[..10].to_vec(), len),
        ] {
            assert!(unpack(stored, len).is_err());
        }
    }
}

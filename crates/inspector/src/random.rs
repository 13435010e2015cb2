//! Random tokens and ids.

/// Returns 22 random base64url characters. They hold 128 bits, which is enough for a token, and
/// look like the ids that SoundHash's dispatcher generates.
///
/// # Panics
///
/// Panics if the operating system cannot provide randomness.
pub(crate) fn token() -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0; 22];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    let digit = |byte: u8| char::from(DIGITS[usize::from(byte % 64)]);
    bytes.into_iter().map(digit).collect()
}

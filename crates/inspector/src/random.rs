//! Random tokens and ids.

/// Returns 22 characters of base64url, drawn from the operating system's random numbers: 128 bits
/// for a token, and the form of the dispatcher's ids.
///
/// # Panics
///
/// Panics if the operating system provides no random numbers.
pub(crate) fn token() -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0; 22];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    let digit = |byte: u8| char::from(DIGITS[usize::from(byte % 64)]);
    bytes.into_iter().map(digit).collect()
}

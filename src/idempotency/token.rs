use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Proof of a claim: only who holds it can complete or release the key.
///
/// A lease can run out while its handler still works. By then another may hold the key, with
/// another token, and the late one changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(u128);

impl Token {
    /// A token that no other call answers with, in this process or another.
    #[must_use]
    pub fn unique() -> Self {
        // 64 bits that tell processes apart, from the operating system's randomness that std
        // seeds its hash maps with, and a counter within the process. It is no secret, so a
        // dependency on a generator of secrets would buy nothing.
        static PROCESS: LazyLock<u64> =
            LazyLock::new(|| RandomState::new().build_hasher().finish());
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(u128::from(*PROCESS) << 64 | u128::from(count))
    }
}

impl From<u128> for Token {
    fn from(number: u128) -> Self {
        Self(number)
    }
}

impl From<Token> for u128 {
    fn from(token: Token) -> Self {
        token.0
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

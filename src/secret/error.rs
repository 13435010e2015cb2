use std::{error, fmt};

/// Why a value cannot be a [`Secret`](crate::Secret) or a list of them [`Secrets`](crate::Secrets). It never shows the
/// value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretError {
    kind: SecretErrorKind,
}

/// The kinds of [`SecretError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecretErrorKind {
    /// No byte, or no secret at all: everybody could sign.
    Empty,
    /// The environment variable is not set.
    NotSet,
    /// The environment variable is not Unicode.
    NotUnicode,
    /// White space at the beginning or the end.
    SurroundingWhitespace,
    /// More than [`Secrets::MAX`](crate::Secrets::MAX) secrets.
    TooMany,
}

impl SecretError {
    pub(super) const fn new(kind: SecretErrorKind) -> Self {
        Self { kind }
    }

    /// Which of them it is.
    #[must_use]
    pub const fn kind(&self) -> SecretErrorKind {
        self.kind
    }
}

impl fmt::Display for SecretErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "secret is empty",
            Self::NotSet => "secret is not set",
            Self::NotUnicode => "secret is not Unicode",
            Self::SurroundingWhitespace => "secret begins or ends with white space",
            Self::TooMany => "more than four secrets",
        })
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl error::Error for SecretError {}

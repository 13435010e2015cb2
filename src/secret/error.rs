use std::{error, fmt};

/// Why a value cannot be a [`Secret`](crate::Secret), or a list of them be
/// [`Secrets`](crate::Secrets). It never shows the value.
///
/// ```
/// use soundhash_webhook::Secret;
///
/// let error = Secret::from_env("WEBHOOK_SECRET_OF_NOBODY").unwrap_err();
/// assert_eq!(error.to_string(), "WEBHOOK_SECRET_OF_NOBODY: secret is not set");
/// assert_eq!(error.variable(), Some("WEBHOOK_SECRET_OF_NOBODY"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretError {
    kind: SecretErrorKind,
    variable: Option<Box<str>>,
}

/// The kinds of [`SecretError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecretErrorKind {
    /// No byte, or no secret at all: everybody could sign.
    Empty,
    /// The environment variable is not set. Where it need not be, as that of a previous secret,
    /// see [Going live](crate::guide::going_live#secrets).
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
        let variable = None;
        Self { kind, variable }
    }

    /// The same of the value of the environment variable `name`.
    pub(super) fn of_variable(self, name: &str) -> Self {
        let variable = Some(name.into());
        Self { variable, ..self }
    }

    /// Which of them it is.
    #[must_use]
    pub const fn kind(&self) -> SecretErrorKind {
        self.kind
    }

    /// The environment variable that the value came from, or did not;
    /// [`Secret::from_env`](crate::Secret::from_env) knows it.
    #[must_use]
    pub fn variable(&self) -> Option<&str> {
        self.variable.as_deref()
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
        if let Some(variable) = &self.variable {
            write!(f, "{variable}: ")?;
        }
        self.kind.fmt(f)
    }
}

impl error::Error for SecretError {}

//! The secrets of an endpoint, and the MAC that runs over a body. Never printed.

mod error;
mod key;
mod secrets;
mod verifier;

pub(crate) use self::verifier::Verifier;
pub use self::{
    error::{SecretError, SecretErrorKind},
    key::Secret,
    secrets::Secrets,
};

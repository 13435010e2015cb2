//! The secrets that verify a request, either known up front or looked up after the body has
//! arrived.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, LazyLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum_core::BoxError;
use http::request;
use tokio::time::{error::Elapsed, timeout};

use super::provider::{SecretProvider, TooManyLookups};
use crate::{
    panics::panic_as_error,
    rejection::{Rejection, RejectionKind},
    secret::{Secrets, Verifier},
    signature::Signature,
};

/// The head of a request and the secrets that verify it.
#[expect(
    clippy::large_enum_variant,
    reason = "a box would cost every delivery an allocation"
)]
pub(super) enum Keys {
    /// The body is hashed while it arrives.
    Known {
        head: request::Parts,
        secrets: Secrets,
        verifier: Verifier,
    },
    /// The body is hashed after the lookup.
    Lookup {
        head: Arc<request::Parts>,
        /// Boxed because the future borrows from the head and the provider that it owns.
        lookup: Pin<Box<dyn Future<Output = Found> + Send>>,
        /// `None` until the lookup has found the secrets.
        secrets: Option<Secrets>,
    },
}

type Found = Result<Option<Secrets>, BoxError>;

/// Stands in for the secrets of an unknown endpoint, so that the body is hashed as for any other
/// endpoint and the response time does not reveal which endpoints exist.
static DECOY: LazyLock<Secrets> = LazyLock::new(|| Secrets::new("decoy"));

impl Keys {
    #[inline]
    pub(super) fn known(secrets: Secrets, head: request::Parts) -> Self {
        let verifier = secrets.verifier();
        Self::Known {
            head,
            secrets,
            verifier,
        }
    }

    /// Prepares a lookup, which starts when [`poll_lookup`](Self::poll_lookup) is first called.
    pub(super) fn lookup<P: SecretProvider>(
        provider: &Arc<P>,
        head: request::Parts,
        limit: Duration,
    ) -> Self {
        let head = Arc::new(head);
        Self::Lookup {
            lookup: Box::pin(lookup(provider.clone(), head.clone(), limit)),
            head,
            secrets: None,
        }
    }

    pub(super) fn head(&self) -> &request::Parts {
        match self {
            Self::Known { head, .. } => head,
            Self::Lookup { head, .. } => head,
        }
    }

    pub(super) fn into_head(self) -> request::Parts {
        match self {
            Self::Known { head, .. } => head,
            Self::Lookup { head, lookup, .. } => {
                drop(lookup);
                Arc::unwrap_or_clone(head)
            }
        }
    }

    /// Returns the secrets of the endpoint, or `None` if the endpoint is unknown or has not been
    /// looked up yet.
    pub(super) fn secrets(&self) -> Option<&Secrets> {
        match self {
            Self::Known { secrets, .. } => Some(secrets),
            Self::Lookup { secrets, .. } => secrets.as_ref(),
        }
    }

    /// Hashes part of the body if the secrets are already known.
    #[inline]
    pub(super) fn update(&mut self, data: &[u8]) {
        if let Self::Known { verifier, .. } = self {
            verifier.update(data);
        }
    }

    /// Resolves when the lookup, if one is needed, has ended.
    pub(super) fn poll_lookup(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        if let Self::Lookup {
            lookup, secrets, ..
        } = self
        {
            *secrets = ready!(lookup.as_mut().poll(cx)).map_err(failed)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Returns the index of the secret that the body was signed with, or `None` if none of the
    /// secrets matches.
    pub(super) fn verify(&self, body: &[u8], signature: &Signature) -> Option<usize> {
        match self {
            Self::Known { verifier, .. } => verifier.verify(signature),
            Self::Lookup { secrets, .. } => {
                let mut verifier = secrets.as_ref().unwrap_or(&DECOY).verifier();
                verifier.update(body);
                verifier.verify(signature)
            }
        }
    }
}

async fn lookup<P: SecretProvider>(
    provider: Arc<P>,
    head: Arc<request::Parts>,
    limit: Duration,
) -> Found {
    let lookup = async { provider.secrets(&head).await };
    within(limit, panic_as_error("the lookup", lookup))
        .await
        .unwrap_or_else(|_| Err(format!("the lookup took longer than {limit:?}").into()))
}

/// Awaits a future for at most `limit`. A Tokio runtime is needed only if the future has to wait.
pub(super) async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let first = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
    match first {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => timeout(limit, future).await,
    }
}

fn failed(error: BoxError) -> Rejection {
    if error.is::<TooManyLookups>() {
        return Rejection::new(RejectionKind::TooManyLookups);
    }
    Rejection::with_source(RejectionKind::SecretsUnavailable, error)
}

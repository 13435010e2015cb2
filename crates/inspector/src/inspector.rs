//! The inspector and its settings.

use std::{fmt, sync::Arc};

use soundhash_webhook::{Secret, Signature};
use zeroize::Zeroizing;

use crate::{
    layer::InspectorLayer,
    store::{Store, Subscription},
};

/// Keeps what an application receives and shows it in a browser.
#[derive(Clone)]
pub struct Inspector {
    pub(crate) config: Arc<Config>,
    pub(crate) store: Arc<Store>,
}

#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) capacity: usize,
    pub(crate) max_body_size: usize,
    pub(crate) secrets: Vec<Keyed>,
    pub(crate) webhook_url: Option<http::Uri>,
    pub(crate) allow_remote: bool,
    pub(crate) show_sensitive_headers: bool,
}

/// A secret, and its text, which `diagnose` needs.
#[derive(Clone)]
pub(crate) struct Keyed {
    pub(crate) text: Zeroizing<Vec<u8>>,
    pub(crate) secret: Secret,
}

impl AsRef<[u8]> for Keyed {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Config {
    /// Checks a signature with every secret. Returns `None` without secrets.
    pub(crate) fn verify(&self, signature: Option<Signature>, body: &[u8]) -> Option<bool> {
        if self.secrets.is_empty() {
            return None;
        }
        let mut secrets = self.secrets.iter();
        Some(secrets.any(|it| Some(it.secret.sign(body)) == signature))
    }
}

impl Inspector {
    /// Makes an inspector that keeps the last 200 deliveries, the last 200 rejected requests and
    /// 64 KiB of each body.
    #[must_use]
    pub fn new() -> Self {
        Self {
            config: Arc::new(Config {
                capacity: 200,
                max_body_size: 64 * 1024,
                secrets: Vec::new(),
                webhook_url: None,
                allow_remote: false,
                show_sensitive_headers: false,
            }),
            store: Arc::new(Store::new()),
        }
    }

    fn set(mut self, set: impl FnOnce(&mut Config)) -> Self {
        set(Arc::make_mut(&mut self.config));
        self
    }

    /// Sets how many deliveries are kept: 200 by default. As many rejected requests are kept next
    /// to them.
    #[must_use]
    pub fn capacity(self, records: usize) -> Self {
        self.set(|config| config.capacity = records)
    }

    /// Sets how many bytes are kept of each body, of requests and of answers: 64 KiB by default.
    #[must_use]
    pub fn max_body_size(self, bytes: usize) -> Self {
        self.set(|config| config.max_body_size = bytes)
    }

    /// Gives the inspector the endpoint's secret, so that it can explain wrong signatures and send
    /// events itself. Call it again to add previous secrets. The first one signs.
    ///
    /// This takes the text and not a [`Secret`], because the diagnosis of a wrong signature tries
    /// variations of the text. The secret is never shown.
    ///
    /// # Panics
    ///
    /// Panics if `secret` is empty.
    #[must_use]
    #[track_caller]
    pub fn with_secret(self, secret: impl AsRef<[u8]>) -> Self {
        let text = Zeroizing::new(secret.as_ref().to_vec());
        let secret = Secret::new(&*text);
        self.set(|config| config.secrets.push(Keyed { text, secret }))
    }

    /// Tells the inspector the address at which the application receives webhooks, such as
    /// `http://127.0.0.1:3000/webhooks/soundhash`. Samples are sent there.
    ///
    /// Without it, the inspector sends samples to the route of the last request it saw.
    ///
    /// # Panics
    ///
    /// Panics if `url` is not an absolute `http` URL.
    #[must_use]
    #[track_caller]
    pub fn webhook_url(self, url: &str) -> Self {
        let url: http::Uri = url.parse().expect("a URL");
        assert!(
            url.scheme_str() == Some("http") && url.host().is_some(),
            "the webhook's URL must begin with `http://` and name a host"
        );
        self.set(|config| config.webhook_url = Some(url))
    }

    /// Lets [`serve`](Self::serve) and [`bind`](Self::bind) listen at addresses that are not
    /// loopback addresses, and lets browsers ask for any host.
    ///
    /// Everything then depends on the token in the URL, and it travels without encryption.
    #[must_use]
    pub fn allow_remote(self, allow: bool) -> Self {
        self.set(|config| config.allow_remote = allow)
    }

    /// Shows signatures, `Authorization`, `Cookie` and custom headers, which are hidden otherwise.
    #[must_use]
    pub fn show_sensitive_headers(self, show: bool) -> Self {
        self.set(|config| config.show_sensitive_headers = show)
    }

    /// Makes the layer that records what passes through it. Put it outside of all others.
    #[must_use]
    pub fn layer(&self) -> InspectorLayer {
        InspectorLayer::new(self.clone())
    }

    /// Subscribes to the records of requests that are finished from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(self.store.clone())
    }
}

impl Default for Inspector {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspector")
            .field("capacity", &self.config.capacity)
            .field("max_body_size", &self.config.max_body_size)
            .field("webhook_url", &self.config.webhook_url)
            .finish_non_exhaustive()
    }
}

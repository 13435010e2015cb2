//! The inspector and its settings.

use std::{fmt, sync::Arc};

use soundhash_webhook::{Secret, Signature};
use zeroize::Zeroizing;

use crate::{
    layer::InspectorLayer,
    store::{Store, Subscription},
};

/// Records the requests that an application receives, and shows them in a browser.
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
    /// Creates an inspector that keeps the last 200 deliveries, the last 200 rejected requests and
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

    /// Sets the number of deliveries to keep. The default is 200. The inspector keeps the same
    /// number of rejected requests in addition.
    #[must_use]
    pub fn capacity(self, records: usize) -> Self {
        self.set(|config| config.capacity = records)
    }

    /// Sets the number of bytes to keep of each body of a request or an answer. The default is
    /// 64 KiB.
    #[must_use]
    pub fn max_body_size(self, bytes: usize) -> Self {
        self.set(|config| config.max_body_size = bytes)
    }

    /// Gives the inspector the endpoint's secret, so that it can explain wrong signatures and send
    /// events. Call this again to add previous secrets. The inspector signs with the first secret.
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

    /// Sets the URL at which the application receives webhooks, such as
    /// `http://127.0.0.1:3000/webhooks/soundhash`. The inspector sends samples to this URL.
    ///
    /// Without a URL, it sends samples to the route of the last request.
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

    /// Sets whether [`serve`](Self::serve) and [`bind`](Self::bind) can listen on addresses other
    /// than loopback addresses, and answer requests for any host. The default is `false`.
    ///
    /// With `true`, only the token in the URL protects the page, and the token is sent without
    /// encryption.
    #[must_use]
    pub fn allow_remote(self, allow: bool) -> Self {
        self.set(|config| config.allow_remote = allow)
    }

    /// Sets whether the page shows signatures, `Authorization`, `Cookie` and custom headers. The
    /// default is `false`.
    #[must_use]
    pub fn show_sensitive_headers(self, show: bool) -> Self {
        self.set(|config| config.show_sensitive_headers = show)
    }

    /// Returns the layer that records requests. Put it outside of all other layers.
    #[must_use]
    pub fn layer(&self) -> InspectorLayer {
        InspectorLayer::new(self.clone())
    }

    /// Subscribes to the records of requests that finish from now on.
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

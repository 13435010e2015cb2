//! The inspector and its settings.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use soundhash_webhook::{Secret, Signature};
use zeroize::Zeroizing;

use crate::store::{Store, Subscription};

/// Records the requests that an application receives, and shows them in a browser.
///
/// Clones share their settings and records, so changing a setting also affects existing layers and
/// pages.
#[derive(Clone)]
pub struct Inspector {
    settings: Arc<RwLock<Arc<Settings>>>,
    pub(crate) store: Arc<Store>,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) capacity: usize,
    pub(crate) max_body_size: usize,
    pub(crate) secrets: Vec<Keyed>,
    pub(crate) webhook_url: Option<http::Uri>,
    pub(crate) allow_remote: bool,
    pub(crate) show_sensitive_headers: bool,
}

/// A secret with its text, which `diagnose` needs.
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

impl Settings {
    /// Returns whether a signature matches the body with any of the secrets.
    pub(crate) fn verify(&self, signature: Option<Signature>, body: &[u8]) -> bool {
        let mut secrets = self.secrets.iter();
        secrets.any(|it| Some(it.secret.sign(body)) == signature)
    }
}

impl Inspector {
    /// Creates an inspector that keeps the last 200 deliveries, the last 200 rejected requests and
    /// the first 64 KiB of each body.
    #[must_use]
    pub fn new() -> Self {
        Self {
            settings: Arc::new(RwLock::new(Arc::new(Settings {
                capacity: 200,
                max_body_size: 64 * 1024,
                secrets: Vec::new(),
                webhook_url: None,
                allow_remote: false,
                show_sensitive_headers: false,
            }))),
            store: Arc::new(Store::new()),
        }
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        let settings = self.settings.read();
        settings.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(self, set: impl FnOnce(&mut Settings)) -> Self {
        // The lock can only be poisoned by a panic while it is held, and no code that holds it
        // panics.
        let mut settings = (self.settings.write()).unwrap_or_else(PoisonError::into_inner);
        set(Arc::make_mut(&mut settings));
        drop(settings);
        self
    }

    /// Sets the number of deliveries to keep. The default is 200. The inspector also keeps the same
    /// number of rejected requests.
    #[must_use]
    pub fn capacity(self, records: usize) -> Self {
        self.set(|settings| settings.capacity = records)
    }

    /// Sets the number of bytes to keep of each request or response body. The default is 64 KiB.
    #[must_use]
    pub fn max_body_size(self, bytes: usize) -> Self {
        self.set(|settings| settings.max_body_size = bytes)
    }

    /// Gives the inspector the endpoint's secret, so that it can explain wrong signatures and send
    /// events. Call this again to add previous secrets. The inspector signs with the first secret.
    ///
    /// This takes the text rather than a [`Secret`], because the diagnosis of a wrong signature
    /// tries variations of the text. The secret is never shown.
    ///
    /// # Panics
    ///
    /// Panics if `secret` is empty.
    #[must_use]
    #[track_caller]
    pub fn with_secret(self, secret: impl AsRef<[u8]>) -> Self {
        let text = Zeroizing::new(secret.as_ref().to_vec());
        let secret = Secret::new(&*text);
        self.set(|settings| settings.secrets.push(Keyed { text, secret }))
    }

    /// Sets the URL at which the application receives webhooks, such as
    /// `http://127.0.0.1:3000/webhooks/soundhash`. The inspector sends samples to this URL.
    ///
    /// If no URL is set, the inspector sends samples to the route of the last request.
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
        self.set(|settings| settings.webhook_url = Some(url))
    }

    /// Sets whether [`serve`](Self::serve) and [`bind`](Self::bind) may listen on non-loopback
    /// addresses and accept requests for any host. The default is `false`.
    ///
    /// If `true`, the page is protected only by the token in the URL, and the token is sent
    /// unencrypted.
    #[must_use]
    pub fn allow_remote(self, allow: bool) -> Self {
        self.set(|settings| settings.allow_remote = allow)
    }

    /// Sets whether the page shows signatures, `Authorization`, `Cookie` and custom headers. The
    /// default is `false`.
    #[must_use]
    pub fn show_sensitive_headers(self, show: bool) -> Self {
        self.set(|settings| settings.show_sensitive_headers = show)
    }

    /// Removes all records, as the page's *Clear* button does.
    ///
    /// Each record holds a clone of the application, for replays. Call this after your server has
    /// ended if something waits until the application has been dropped, such as a task that ends
    /// when the last sender of its channel is dropped.
    pub fn clear(&self) {
        self.store.clear();
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
        let settings = self.settings();
        f.debug_struct("Inspector")
            .field("capacity", &settings.capacity)
            .field("max_body_size", &settings.max_body_size)
            .field("webhook_url", &settings.webhook_url)
            .finish_non_exhaustive()
    }
}

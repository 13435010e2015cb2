//! The verification layer: first with scripted bodies, then over real sockets.
//!
//! The socket tests start a server in a separate process and attack it. At the end, they check that
//! it still serves honest deliveries, has printed nothing else and has not panicked.

mod body;
mod budget;
mod copies;
mod drain;
mod http1;
mod placement;
mod provider;
mod redirected;
#[cfg(feature = "tracing")]
mod response;
mod service;
mod signature;

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use axum::BoxError;
use bytes::Bytes;
use http::Request;
use soundhash_webhook::{RejectionKind, SoundHashWebhookLayer};

use crate::support::{SECRET, echo, outcome};

fn layer() -> SoundHashWebhookLayer {
    SoundHashWebhookLayer::new(SECRET)
}

async fn check<B>(request: Request<B>) -> Result<Bytes, RejectionKind>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    outcome(echo(layer()), request).await
}

/// Returns a buffer that holds a reference to `alive` until it is freed.
fn tracked(alive: &Arc<()>, len: usize) -> Bytes {
    struct Buffer(
        #[expect(dead_code, reason = "it is there to be freed")] Arc<()>,
        Vec<u8>,
    );
    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            &self.1
        }
    }
    Bytes::from_owner(Buffer(alive.clone(), vec![b'x'; len]))
}

/// Returns the output of a future that is ready when it is first polled.
#[track_caller]
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

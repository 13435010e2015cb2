//! Sends the layer requests with arbitrary heads, signatures, secrets, bodies and framing.
#![no_main]

use std::{
    convert::Infallible,
    future::poll_fn,
    sync::{Arc, Mutex, atomic::Ordering},
    task::Poll,
};

use arbitrary::{Arbitrary, Unstructured};
use axum_core::body::Body;
use bytes::Bytes;
use http::{Request, Response, Version, request};
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use soundhash_webhook::{
    BoxError, Delivery, Rejection, RejectionKind, Secret, SecretProvider, Secrets,
    SoundHashWebhookLayer,
};
use soundhash_webhook_fuzz::{Case, End, Reply, Script, Verdict};
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, ServiceExt, service_fn};

thread_local! {
    // The clock is paused. When all tasks are idle, it advances to the next timer.
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
}

fuzz_target!(|data: &[u8]| {
    let input = Unstructured::new(data);
    if let Ok(case) = Case::arbitrary_take_rest(input) {
        RUNTIME.with(|runtime| runtime.block_on(check(&case)));
    }
});

async fn check(case: &Case<'_>) {
    let head = case.head();
    let expected = case.expected(&head.headers);
    let unread = case.rejected_unread(&head.headers).is_some();

    // Over HTTP/1, the layer reads a rejected body to the end, so that the sender can read the
    // response.
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let script = Script::new(case.steps(), case.hints);
        let polls = script.polls();
        let mut request = Request::from_parts(head.clone(), script);
        *request.version_mut() = version;
        assert_eq!(run(case, request).await, expected);
        if version == Version::HTTP_2 {
            assert_eq!(polls.load(Ordering::Relaxed) == 0, unread);
        }
    }

    // A body that arrives in a single frame needs buffer space only if the secrets have to be
    // looked up.
    if case.end == End::Complete && expected != Err(RejectionKind::BufferFull) {
        let whole = Body::from(case.body.to_vec());
        assert_eq!(run(case, Request::from_parts(head, whole)).await, expected);
    }
}

/// Sends the request through the layer, and checks the request that the inner service receives.
async fn run<B>(case: &Case<'_>, request: Request<B>) -> Verdict
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let arrived: Arc<Mutex<Option<(Bytes, Delivery)>>> = Arc::default();
    let inner = service_fn(|request: Request<Body>| async {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let delivery = head.extensions.get::<Delivery>().expect("a delivery");
        let before = arrived.lock().unwrap().replace((body, delivery.clone()));
        assert!(before.is_none(), "called twice");
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let layer = SoundHashWebhookLayer::with_provider(provider(case))
        .max_body_size(case.limit())
        .max_buffered(case.room())
        .body_timeout(case.timeout());

    let Ok(response) = layer.layer(inner).oneshot(request).await;
    let arrived = arrived.lock().unwrap().take();
    match (response.extensions().get::<Rejection>(), arrived) {
        (None, Some((body, delivery))) => {
            assert!(response.status().is_success());
            assert_eq!(body, case.body[..]);
            assert_eq!(delivery.body(), &case.body[..]);
            assert_eq!(delivery.signature().to_string(), case.sign().to_string());
            Ok(delivery.matched_secret())
        }
        (Some(rejection), None) => {
            assert_eq!(response.status(), rejection.status());
            Err(rejection.kind())
        }
        (rejected, arrived) => panic!("{rejected:?} and {arrived:?}"),
    }
}

fn provider(case: &Case<'_>) -> Provider {
    Provider {
        secrets: Secrets::try_from(case.valid().map(Secret::new).collect::<Vec<_>>())
            .expect("one to four"),
        reply: case.reply,
        look_up: case.look_up,
    }
}

struct Provider {
    secrets: Secrets,
    reply: Reply,
    /// Whether the secrets have to be looked up.
    look_up: bool,
}

impl SecretProvider for Provider {
    async fn secrets(&self, _: &request::Parts) -> Result<Option<Secrets>, BoxError> {
        if self.look_up {
            // While a lookup is pending, the layer polls it twice before other tasks run.
            let mut polls = 0;
            poll_fn(|cx| {
                polls += 1;
                if polls > 2 {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        }
        match self.reply {
            Reply::Secrets => Ok(Some(self.secrets.clone())),
            Reply::NoSuchEndpoint => Ok(None),
            Reply::Error => Err("the vault is sealed".into()),
        }
    }

    fn cached(&self, _: &request::Parts) -> Option<Secrets> {
        (!self.look_up && matches!(self.reply, Reply::Secrets)).then(|| self.secrets.clone())
    }
}

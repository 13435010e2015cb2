//! How to receive webhooks, test the receiver, and run it in production.
//!
#![doc = links!()]
#![doc = include_str!("../docs/guide/README.md")]

// The files in `docs/guide` define their links as paths in the repository. Markdown uses the first
// definition of a link, so these definitions replace the paths in the documentation.
macro_rules! links {
    () => {
        "
[`BodyBroken`]: crate::RejectionKind::BodyBroken
[`BodyTimeout`]: crate::RejectionKind::BodyTimeout
[`BodyTooLarge`]: crate::RejectionKind::BodyTooLarge
[`BufferFull`]: crate::RejectionKind::BufferFull
[`Delivery::body`]: crate::Delivery::body
[`Delivery::endpoint`]: crate::Delivery::endpoint
[`Delivery::event`]: crate::Delivery::event
[`Delivery::json`]: crate::Delivery::json
[`Delivery::matched_secret`]: crate::Delivery::matched_secret
[`DeliverySlot`]: crate::DeliverySlot
[`Delivery`]: crate::Delivery
[`Event::event_type`]: crate::Event::event_type
[`Event::kind`]: crate::Event::kind
[`Event::new`]: crate::Event::new
[`EventData`]: crate::EventData
[`Event`]: crate::Event
[`IdempotencyLayer`]: crate::idempotency
[`Key`]: crate::idempotency::Key
[`MalformedSignature`]: crate::RejectionKind::MalformedSignature
[`MemoryStore`]: crate::idempotency::MemoryStore
[`MissingSignature`]: crate::RejectionKind::MissingSignature
[`OutcomeKind::as_str`]: crate::idempotency::OutcomeKind::as_str
[`Payload`]: crate::Payload
[`Redirected`]: crate::RejectionKind::Redirected
[`RejectionKind::as_str`]: crate::RejectionKind::as_str
[`Rejection`]: crate::Rejection
[`Secret::from_env`]: crate::Secret::from_env
[`Secret::verify`]: crate::Secret::verify
[`SchemaChange::seen`]: crate::SchemaChange::seen
[`SecretProvider`]: crate::SecretProvider
[`SecretsUnavailable`]: crate::RejectionKind::SecretsUnavailable
[`SeveralSignatures`]: crate::RejectionKind::SeveralSignatures
[`SoundHashWebhookLayer`]: crate::SoundHashWebhookLayer
[`UnknownEndpoint`]: crate::RejectionKind::UnknownEndpoint
[`Unrecognized`]: crate::Unrecognized
[`WrongSignature`]: crate::RejectionKind::WrongSignature
[`check_responses`]: crate::SoundHashWebhookLayer::check_responses
[`body_timeout`]: crate::SoundHashWebhookLayer::body_timeout
[`explain_rejections`]: crate::SoundHashWebhookLayer::explain_rejections
[`lookup_timeout`]: crate::SoundHashWebhookLayer::lookup_timeout
[`max_body_size`]: crate::SoundHashWebhookLayer::max_body_size
[`max_buffered`]: crate::SoundHashWebhookLayer::max_buffered
[alerts.yml]: https://github.com/subculture-collective/soundhash-webhook/blob/main/docs/alerts.yml
[benchmarks]: https://github.com/subculture-collective/soundhash-webhook/blob/main/docs/benchmarks.md
[forget]: https://github.com/subculture-collective/soundhash-webhook/blob/main/crates/sqlx/src/log.rs
[going_live]: going_live
[going_live#alerts]: going_live#alerts
[going_live#check-it-from-outside]: going_live#check-it-from-outside
[going_live#connections-and-request-heads]: going_live#connections-and-request-heads
[going_live#proxies]: going_live#proxies
[grafana.json]: https://github.com/subculture-collective/soundhash-webhook/blob/main/docs/grafana.json
[guides]: self
[handlers]: handlers
[idempotency]: crate::idempotency
[migrating]: migrating
[missing_events]: missing_events
[openapi.json]: https://github.com/subculture-collective/soundhash-webhook/blob/main/docs/openapi.json
[past_one_machine]: past_one_machine
[placement#redirects]: placement#redirects
[placement]: placement
[quick_start]: quick_start
[run_again]: run_again
[schema_changes]: schema_changes
[security]: security
[security#an-authentic-event-may-not-be-yours]: security#an-authentic-event-may-not-be-yours
[security#secrets]: security#secrets
[telemetry]: telemetry
[testing_your_handler]: testing_your_handler
[testing_your_handler#from-the-shell]: testing_your_handler#from-the-shell
[testing_your_handler#hostile-requests]: testing_your_handler#hostile-requests
[testing_your_handler#without-http]: testing_your_handler#without-http
[troubleshooting]: troubleshooting
"
    };
}
use links;

macro_rules! guides {
    ($($name:ident)*) => {
        $(
            #[doc = links!()]
            #[doc = include_str!(concat!("../docs/guide/", stringify!($name), ".md"))]
            pub mod $name {}
        )*
    };
}

guides! {
    going_live
    handlers
    migrating
    missing_events
    past_one_machine
    placement
    quick_start
    run_again
    schema_changes
    security
    testing_your_handler
    troubleshooting
}

// Its code needs a metrics exporter, so `examples/metrics` tests it.
#[cfg(not(doctest))]
guides! { telemetry }

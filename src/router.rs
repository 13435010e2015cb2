//! [`EventRouter`]: a handler for each type of event.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    future::{self, Future},
    pin::Pin,
    sync::Arc,
};

use axum::handler::Handler;
use axum_core::{
    extract::Request,
    response::{IntoResponse, Response},
};
use http::StatusCode;

use crate::{
    delivery::Delivery,
    event::{Envelope, EventData, EventError, EventKind, Resource},
    extract::{EventRejection, verified},
    telemetry::{self, Misfit},
};

/// Calls a handler for each type of event, instead of a `match` on
/// [`Event::data`](crate::Event::data) (feature `router`).
///
/// An `EventRouter` is itself an axum handler, for [`post`]. The handlers in it are axum handlers as
/// well. They can use the state `S` of the application and any extractor: the
/// [`Payload`](crate::Payload) of their type, an [`Event`](crate::Event), a [`Delivery`], `State`,
/// `Bytes` and so on.
///
/// ```
/// use axum::{Router, extract::State, http::StatusCode, routing::post};
/// use soundhash_webhook::{
///     Event, EventKind, EventRouter, MatchFound, Payload, SoundHashWebhookLayer, VideoProcessed,
/// };
///
/// #[derive(Clone)]
/// struct Database;
///
/// async fn processed(State(_db): State<Database>, Payload(video): Payload<VideoProcessed>) {
///     println!("processed {:?}", video.title);
/// }
///
/// async fn found(Payload(found): Payload<MatchFound>) -> Result<(), StatusCode> {
///     println!("{} matches", found.matches.len());
///     Ok(())
/// }
///
/// async fn other(event: Event) {
///     println!("not for us: {}", event.event_type());
/// }
///
/// let events = EventRouter::new()
///     .on(EventKind::VideoProcessed, processed)
///     .on(EventKind::MatchFound, found)
///     .fallback(other);
///
/// let app: Router = Router::new()
///     .route("/webhooks/soundhash", post(events))
///     .layer(SoundHashWebhookLayer::new("whsec_test"))
///     .with_state(Database);
/// ```
///
/// # Which handler is called
///
/// The type in the signed body decides, and headers are ignored. The body is parsed only once.
///
/// | delivery | with a fallback | without a fallback |
/// | --- | --- | --- |
/// | an event of a type that has a handler | that handler | that handler |
/// | an event of another type | the fallback | 200, and the payload is not read |
/// | an event whose payload does not fit its type | the fallback | 200, because a retry would not fit either |
/// | a body that is not an event | the fallback | 400 or 422, see [`EventRejection::status`] |
/// | a request that no [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) verified | 500 | 500 |
///
/// A handler is therefore only called with events of its type, and extracting their
/// [`Payload`](crate::Payload) succeeds. SoundHash's "test this webhook" button sends payloads that
/// often do not fit their type.
///
/// Deliveries that the router cannot parse are logged at `warn` and counted, as the
/// [guide](crate::guide::telemetry) describes. To store them, set a fallback that takes a
/// [`Delivery`], and a `Result<Event, EventRejection>` if you need the reason.
///
/// A handler that takes the [`Payload`](crate::Payload) of a type other than its own answers each
/// delivery with 422. The compiler cannot find this mistake, but a test that sends one
/// `testing::sample` of each type does.
///
/// # Without `post`
///
/// The methods of axum's [`Handler`] also work on an `EventRouter`. `with_state` turns it into a
/// tower service, for example for `post_service`, and `layer` puts a middleware around all handlers.
///
/// [`post`]: https://docs.rs/axum/0.8/axum/routing/method_routing/fn.post.html
#[must_use = "an `EventRouter` does nothing until it is given to a route"]
pub struct EventRouter<S = ()>(Arc<Routes<S>>);

struct Routes<S> {
    by_kind: HashMap<EventKind, Route<S>>,
    fallback: Option<Route<S>>,
}

/// A handler without the types of its extractors.
type Route<S> = Arc<dyn Fn(Request, S) -> Answer + Send + Sync>;
type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

impl<S: 'static> EventRouter<S> {
    /// Creates a router that accepts every event and does nothing.
    pub fn new() -> Self {
        Self(Arc::new(Routes {
            by_kind: HashMap::new(),
            fallback: None,
        }))
    }

    /// Calls `handler` for events of the type `kind`.
    ///
    /// # Panics
    ///
    /// Panics if the type already has a handler.
    #[track_caller]
    pub fn on<H, T>(mut self, kind: EventKind, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        match Arc::make_mut(&mut self.0).by_kind.entry(kind) {
            Entry::Vacant(free) => free.insert(route(handler)),
            Entry::Occupied(_) => panic!("{kind} already has a handler"),
        };
        self
    }

    /// Calls `handler` for every other verified delivery: events of other types, events whose payload
    /// does not fit their type, and bodies that are not events.
    ///
    /// # Panics
    ///
    /// Panics if the router already has a fallback.
    #[track_caller]
    pub fn fallback<H, T>(mut self, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let fallback = &mut Arc::make_mut(&mut self.0).fallback;
        assert!(fallback.is_none(), "the router already has a fallback");
        *fallback = Some(route(handler));
        self
    }
}

fn route<H: Handler<T, S>, T: 'static, S: 'static>(handler: H) -> Route<S> {
    Arc::new(move |request, state| Box::pin(handler.clone().call(request, state)))
}

impl<S> Routes<S> {
    /// Returns the handler of the event's type, if there is one and the payload fits the type.
    fn find(&self, delivery: &Delivery) -> Option<&Route<S>> {
        let route = self.on(delivery.envelope().as_ref().ok()?)?;
        let event = delivery.event_ref().ok()?;
        (!matches!(event.data, EventData::Unrecognized(_))).then_some(route)
    }

    fn on(&self, envelope: &Envelope) -> Option<&Route<S>> {
        self.by_kind.get(&envelope.kind()?)
    }

    /// Logs a delivery without a handler if its type or its payload is not understood. Does not read
    /// the payload of a type without a handler.
    ///
    /// # Errors
    ///
    /// Returns a rejection if the body is not an event.
    fn log_unrouted(&self, delivery: &Delivery) -> Result<(), EventRejection> {
        let not_an_event =
            |error: &EventError| EventRejection::not_an_event(delivery, error.clone());
        let envelope = delivery.envelope().as_ref().map_err(not_an_event)?;
        let log = |misfit| {
            let known = envelope.kind().map(EventKind::as_str);
            let is_test = envelope.resource.as_ref().is_some_and(Resource::is_test);
            delivery.log_once(|| telemetry::unrecognized(known, misfit, is_test));
        };
        if self.on(envelope).is_some() {
            delivery.event_ref().map_err(not_an_event)?;
            log(Misfit::Payload);
        } else if envelope.kind().is_none() {
            log(Misfit::UnknownType);
        }
        Ok(())
    }
}

// The marker `()` sets this apart from axum's implementations for functions. axum's `MethodRouter`
// uses it, too.
impl<S: 'static> Handler<(), S> for EventRouter<S> {
    type Future = Answer;

    fn call(self, request: Request, state: S) -> Answer {
        let answer = match verified(request.extensions(), request.uri()) {
            Err(missing) => missing.into_response(),
            Ok(delivery) => {
                if let Some(route) = self.0.find(delivery) {
                    return route(request, state);
                }
                let logged = self.0.log_unrouted(delivery);
                if let Some(fallback) = &self.0.fallback {
                    return fallback(request, state);
                }
                match logged {
                    Ok(()) => StatusCode::OK.into_response(),
                    Err(rejection) => rejection.into_response(),
                }
            }
        };
        Box::pin(future::ready(answer))
    }
}

impl<S: 'static> Default for EventRouter<S> {
    fn default() -> Self {
        Self::new()
    }
}

// Derives would require a state that is `Clone` and `Debug`.
impl<S> Clone for EventRouter<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Clone for Routes<S> {
    fn clone(&self) -> Self {
        Self {
            by_kind: self.by_kind.clone(),
            fallback: self.fallback.clone(),
        }
    }
}

/// Shows the types that have a handler.
impl<S> fmt::Debug for EventRouter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = EventKind::ALL.iter();
        let kinds: Vec<_> = kinds.filter(|it| self.0.by_kind.contains_key(it)).collect();
        f.debug_struct("EventRouter")
            .field("on", &kinds)
            .field("fallback", &self.0.fallback.is_some())
            .finish()
    }
}

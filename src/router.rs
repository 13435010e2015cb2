//! A handler for each type of event.

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
    event::{Envelope, Event, EventData, EventError, EventKind},
    extract::{EventRejection, verified},
    telemetry::{self, Misfit},
};

/// A handler for each type of event, instead of a `match` on [`Event::data`](crate::Event::data).
///
/// It is itself an axum handler, for [`post`]; the handlers in it are axum's, too, with the
/// application's state `S` and any extractors: a [`Payload`](crate::Payload) of their type, an
/// [`Event`](crate::Event), a [`Delivery`], `State`, `Bytes` and so on.
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
/// # What is called, and what is answered
///
/// The type is that of the signed body; no header has a say. The body is read once, whatever
/// the handlers take.
///
/// | delivery | handler | without a fallback |
/// | --- | --- | --- |
/// | of a type that has a handler | that one | |
/// | of a type that has none | the fallback | 200: to SoundHash, an event that one does not care for is delivered; its payload is not looked at |
/// | of a type that has a handler, but its payload does not fit, as those of SoundHash's "test this webhook" button | the fallback | 200: sent again, it would not fit either |
/// | that is no JSON, or no event | the fallback | 400 or 422, as [`EventRejection::status`] |
/// | not verified, as there is no [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) around it | none | 500, also with a fallback |
///
/// So a handler on a type is called only with an event that is one, and its
/// [`Payload`](crate::Payload) of that type is always there. What is not understood is logged at
/// `warn` and counted, see the [guide](crate::guide::telemetry). To keep it, set a fallback that
/// takes a [`Delivery`], and perhaps a `Result<Event, EventRejection>`.
///
/// A handler that takes the [`Payload`](crate::Payload) of another type than it stands for answers
/// 422 to each of its deliveries. The compiler cannot see that; a test that sends one
/// `testing::sample` of each type does.
///
/// # Without `post`
///
/// The methods of axum's [`Handler`] make a service of it: `with_state` for `post_service` or any
/// other place that takes a tower service, and `layer` for a middleware around all handlers.
///
/// [`post`]: https://docs.rs/axum/0.8/axum/routing/method_routing/fn.post.html
#[must_use = "it has to be given to a route"]
pub struct EventRouter<S = ()>(Arc<Routes<S>>);

struct Routes<S> {
    by_kind: HashMap<EventKind, Route<S>>,
    fallback: Option<Route<S>>,
}

/// A handler that has forgotten which extractors it takes.
type Route<S> = Arc<dyn Fn(Request, S) -> Answer + Send + Sync>;
type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

impl<S: 'static> EventRouter<S> {
    /// Accepts every event and does nothing.
    pub fn new() -> Self {
        Self(Arc::new(Routes {
            by_kind: HashMap::new(),
            fallback: None,
        }))
    }

    /// Calls `handler` for events of type `kind`.
    ///
    /// # Panics
    ///
    /// If the type has a handler already.
    #[track_caller]
    pub fn on<H, T>(mut self, kind: EventKind, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        match Arc::make_mut(&mut self.0).by_kind.entry(kind) {
            Entry::Vacant(free) => free.insert(route(handler)),
            Entry::Occupied(_) => panic!("{kind} has a handler already"),
        };
        self
    }

    /// Calls `handler` for everything else that was verified: events of other types, events that
    /// do not fit their type, and bodies that are no events.
    ///
    /// # Panics
    ///
    /// If there is a fallback already.
    #[track_caller]
    pub fn fallback<H, T>(mut self, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let fallback = &mut Arc::make_mut(&mut self.0).fallback;
        assert!(fallback.is_none(), "there is a fallback already");
        *fallback = Some(route(handler));
        self
    }
}

fn route<H: Handler<T, S>, T: 'static, S: 'static>(handler: H) -> Route<S> {
    Arc::new(move |request, state| Box::pin(handler.clone().call(request, state)))
}

impl<S> Routes<S> {
    /// The handler of an event of this type, if there is one, and it is such an event.
    fn find(&self, delivery: &Delivery) -> Option<&Route<S>> {
        let route = self.on(delivery.envelope().as_ref().ok()?)?;
        let event = delivery.event_ref().ok()?;
        (!matches!(event.data, EventData::Unrecognized(_))).then_some(route)
    }

    fn on(&self, envelope: &Envelope) -> Option<&Route<S>> {
        let kind = envelope.event_type().parse().ok()?;
        self.by_kind.get(&kind)
    }

    /// Tells the operator of what has no handler because it was not understood. The payload of a
    /// type without a handler is not looked at.
    fn tell(&self, delivery: &Delivery) -> Result<(), EventRejection> {
        let not_an_event =
            |error: &EventError| EventRejection::not_an_event(delivery, error.clone());
        let envelope = delivery.envelope().as_ref().map_err(not_an_event)?;
        let event_type = envelope.event_type();
        if self.on(envelope).is_some() {
            let event = delivery.event_ref().map_err(not_an_event)?;
            let kind = event.kind().map(EventKind::as_str);
            delivery.tell_once(|| {
                telemetry::unrecognized(event_type, kind, Misfit::Payload, event.is_test());
            });
        } else if event_type.parse::<EventKind>().is_err() {
            delivery.tell_once(|| {
                let is_test = delivery.event_ref().is_ok_and(Event::is_test);
                telemetry::unrecognized(event_type, None, Misfit::UnknownType, is_test);
            });
        }
        Ok(())
    }
}

// With `()`, as axum's own `MethodRouter`: a marker that is not that of any function.
impl<S: 'static> Handler<(), S> for EventRouter<S> {
    type Future = Answer;

    fn call(self, request: Request, state: S) -> Answer {
        let answer = match verified(request.extensions(), request.uri()) {
            Err(missing) => missing.into_response(),
            Ok(delivery) => {
                if let Some(route) = self.0.find(delivery) {
                    return route(request, state);
                }
                let told = self.0.tell(delivery);
                if let Some(fallback) = &self.0.fallback {
                    return fallback(request, state);
                }
                match told {
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

// Not derived: a state need be neither `Clone` nor `Debug`.
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

/// Shows which types have a handler.
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

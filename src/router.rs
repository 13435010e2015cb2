//! The [`EventRouter`], which has a handler for each event type.

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
    event::{Event, EventData, EventError, EventKind, EventPayload},
    extract::{EventRejection, Payload, PayloadRejection, verified},
};

/// Calls a different handler for each event type, as an alternative to a `match` on
/// [`Event::data`](crate::Event::data) (feature `router`).
///
/// An `EventRouter` is itself an axum handler, which you pass to [`post`]. The handlers that you
/// register with it are ordinary axum handlers. They have access to the application's state `S` and
/// can use any extractor, such as the [`Payload`] of their type, an [`Event`], a [`Delivery`],
/// `State` or `Bytes`. If a handler's first argument is a `Payload`, the router infers the event
/// type from it.
///
/// ```
/// use axum::{Router, extract::State, http::StatusCode, routing::post};
/// use soundhash_webhook::{
///     Delivery, EventRouter, MatchFound, Payload, SoundHashWebhookLayer, VideoProcessed,
/// };
///
/// #[derive(Clone)]
/// struct Database;
///
/// async fn processed(Payload(video): Payload<VideoProcessed>, State(_db): State<Database>) {
///     println!("processed {:?}", video.title);
/// }
///
/// async fn found(Payload(found): Payload<MatchFound>) -> Result<(), StatusCode> {
///     println!("{} matches", found.matches.len());
///     Ok(())
/// }
///
/// /// Gets the events of other types, and all that cannot be parsed.
/// async fn other(delivery: Delivery) {
///     archive(delivery.body());
/// }
/// # fn archive(_: &[u8]) {}
///
/// let events = EventRouter::new()
///     .on(processed)
///     .on(found)
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
/// The router chooses a handler by the event type in the signed body, which is parsed only once. It
/// ignores headers.
///
/// | delivery | with a fallback | without a fallback |
/// | --- | --- | --- |
/// | an event of a type that has a handler | that handler | that handler |
/// | an event of another type | the fallback | 200, and the payload is not read |
/// | an event of a type that has a handler, with a payload that does not fit | the fallback | 422 |
/// | the same from the "test this webhook" button | the fallback | 200 |
/// | a body that is not an event | the fallback | 400 or 422, see [`EventRejection::status`] |
/// | a request that no [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) verified | 500 | 500 |
///
/// A handler is therefore called only for events of its type, so extracting its [`Payload`] always
/// succeeds.
///
/// If a payload does not fit its type, SoundHash has changed the type, and the handler misses an
/// event that the application asked for. After a 200, SoundHash's delivery log would show a
/// success, and only your own log would show the loss. After a 422, the sender retries, which
/// leaves a few minutes for a fix. To keep such events, set a fallback that takes a [`Delivery`],
/// plus a `Result<Event, EventRejection>` if you need the reason. A test delivery gets a 200
/// instead, because its payload rarely fits, nothing is lost, and the user who clicked the button
/// expects success.
///
/// Deliveries that the router cannot parse are counted and logged. They are logged at `warn`, or at
/// `info` if they are tests. [Logs and metrics](crate::guide::telemetry) describes the counters and
/// log messages.
///
/// # Without `post`
///
/// The methods of axum's [`Handler`] also work on an `EventRouter`. `with_state` turns it into a
/// tower service, for example for `post_service`, and `layer` wraps all handlers in middleware.
///
/// [`post`]: https://docs.rs/axum/0.8/axum/routing/method_routing/fn.post.html
#[must_use = "an `EventRouter` does nothing until it is given to a route"]
pub struct EventRouter<S = ()>(Arc<Routes<S>>);

struct Routes<S> {
    by_kind: HashMap<EventKind, Route<S>>,
    fallback: Option<Route<S>>,
}

/// A handler whose extractor types have been erased.
type Route<S> = Arc<dyn Fn(Request, S) -> RouteFuture + Send + Sync>;
type RouteFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

impl<S: 'static> EventRouter<S> {
    /// Creates a router that accepts every event and does nothing.
    pub fn new() -> Self {
        Self(Arc::new(Routes {
            by_kind: HashMap::new(),
            fallback: None,
        }))
    }

    /// Calls `handler` for events of one type, which is inferred from its first argument, a
    /// [`Payload`].
    ///
    /// A handler therefore cannot be registered for the wrong type. Its other arguments can be any
    /// extractors.
    ///
    /// # Panics
    ///
    /// Panics if the type already has a handler.
    #[track_caller]
    pub fn on<H, T>(self, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: PayloadFirst + 'static,
    {
        self.on_kind(T::Payload::KIND, handler)
    }

    /// Calls `handler` for events of type `kind`.
    ///
    /// Use this for a handler whose first argument is not a [`Payload`], such as a handler for
    /// several types, a service, or another router. Otherwise, prefer [`on`](Self::on), because a
    /// handler that takes the `Payload` of a type other than `kind` rejects every event with 422.
    ///
    /// # Panics
    ///
    /// Panics if the type already has a handler.
    #[track_caller]
    pub fn on_kind<H, T>(mut self, kind: EventKind, handler: H) -> Self
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

/// The arguments of a handler whose first argument is a [`Payload`].
#[diagnostic::on_unimplemented(
    message = "the first argument of this handler is not a `Payload`",
    note = "for a handler with other arguments, use `EventRouter::on_kind`"
)]
pub trait PayloadFirst {
    type Payload: EventPayload;
}

// The first element of the tuple is a marker by which axum knows how to extract the last argument.
macro_rules! payload_first {
    ($($T:ident)*) => {
        impl<M, P: EventPayload, $($T),*> PayloadFirst for (M, Payload<P>, $($T,)*) {
            type Payload = P;
        }
        payload_first!(@without_first $($T)*);
    };
    (@without_first) => {};
    (@without_first $First:ident $($T:ident)*) => { payload_first!($($T)*); };
}

payload_first!(T2 T3 T4 T5 T6 T7 T8 T9 T10 T11 T12 T13 T14 T15 T16);

fn route<H: Handler<T, S>, T: 'static, S: 'static>(handler: H) -> Route<S> {
    Arc::new(move |request, state| Box::pin(handler.clone().call(request, state)))
}

impl<S> Routes<S> {
    /// Returns the handler for the event. Parses the event, which logs the reason if that is not
    /// possible, unless no handler is set for its known type.
    ///
    /// # Errors
    ///
    /// If the event has no handler or cannot be parsed, returns the response for a router without a
    /// fallback.
    fn find(&self, delivery: &Delivery) -> Result<&Route<S>, Box<Response>> {
        let not_an_event = |error: &EventError| {
            let _ = delivery.event();
            Box::new(EventRejection::not_an_event(error).into_response())
        };
        let acknowledged = || Box::new(StatusCode::OK.into_response());
        let envelope = delivery.envelope().as_ref().map_err(not_an_event)?;
        let Some(kind) = envelope.event_type.known() else {
            let _ = delivery.event();
            return Err(acknowledged());
        };
        let Some(route) = self.by_kind.get(&kind) else {
            return Err(acknowledged());
        };
        let event = delivery.event().map_err(not_an_event)?;
        match event.data {
            EventData::Unrecognized(_) => Err(Box::new(does_not_fit(event, kind))),
            _ => Ok(route),
        }
    }
}

fn does_not_fit(event: &Event, kind: EventKind) -> Response {
    let rejection = PayloadRejection::other_payload(event, kind);
    match event.is_test() {
        true => StatusCode::OK.into_response(),
        false => rejection.into_response(),
    }
}

// The marker `()` keeps this impl distinct from axum's impls for functions, as in axum's own
// `MethodRouter`.
impl<S: 'static> Handler<(), S> for EventRouter<S> {
    type Future = RouteFuture;

    fn call(self, request: Request, state: S) -> RouteFuture {
        let response = match verified(request.extensions(), request.uri()) {
            Err(missing) => missing.into_response(),
            Ok(delivery) => match (self.0.find(delivery), &self.0.fallback) {
                (Ok(route), _) | (Err(_), Some(route)) => return route(request, state),
                (Err(response), None) => *response,
            },
        };
        Box::pin(future::ready(response))
    }
}

impl<S: 'static> Default for EventRouter<S> {
    fn default() -> Self {
        Self::new()
    }
}

// Deriving `Clone` would require `S: Clone`.
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

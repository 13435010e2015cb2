//! What the payloads of the known types have in common.

use super::data::EventData;
use super::kind::EventKind;

/// The payload of one type of event, such as [`VideoProcessed`](crate::VideoProcessed).
///
/// The twelve structs of this crate are such payloads, and no others. A handler takes one as a
/// [`Payload`](crate::Payload).
///
/// ```
/// use soundhash_webhook::{Event, EventKind, EventPayload, UserCreated, VideoProcessed};
///
/// let event = Event::new(UserCreated::default());
/// assert!(UserCreated::of(&event.data).is_some());
/// assert!(VideoProcessed::of(&event.data).is_none());
/// assert_eq!(VideoProcessed::KIND, EventKind::VideoProcessed);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the payload of a SoundHash event",
    note = "for a type of your own, take a `Delivery` and call its `json`"
)]
pub trait EventPayload: Clone + Into<EventData> + Send + Sync + 'static + Sealed {
    /// The type of the events with this payload.
    const KIND: EventKind;

    /// This payload, if `data` is it.
    fn of(data: &EventData) -> Option<&Self>;
}

/// Keeps others from implementing [`EventPayload`].
pub trait Sealed {}

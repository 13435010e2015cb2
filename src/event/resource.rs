//! The resource that an event is about.

use super::id::Id;

/// The resource that an event is about, as identified by SoundHash's dispatcher.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Resource {
    /// The id of the resource, always as a string, even if it is a number in the payload.
    pub id: Option<Id>,
    /// The resource type, such as `video` or `user`, or `test` for a test delivery.
    pub resource_type: Option<String>,
}

impl Resource {
    pub(crate) fn is_test(&self) -> bool {
        self.resource_type.as_deref() == Some("test")
    }
}

//! The axum extractors: what a handler takes out of a verified request.

mod event;
mod payload;

pub(crate) use self::event::verified;
pub use self::{
    event::{EventRejection, MissingLayer},
    payload::{Payload, PayloadRejection},
};

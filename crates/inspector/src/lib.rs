//! See SoundHash webhooks in the browser: each delivery live, why it was rejected, and a button to
//! replay it.
#![forbid(unsafe_code)]

mod capture;
mod capture_file;
mod event;
mod headers;
mod inspector;
mod layer;
mod random;
mod record;
mod replay;
mod store;
mod target;
mod web;

pub use self::{
    inspector::Inspector,
    layer::{Inspect, InspectorLayer, ResponseFuture},
    record::{Record, Verdict},
    store::{Lagged, Subscription},
    web::Server,
};

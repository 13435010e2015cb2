//! `endpoints` against a server that behaves like SoundHash's API.

pub(crate) mod api;
mod errors;
mod manage;
mod rotate;

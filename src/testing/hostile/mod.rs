//! Requests that an application must refuse, and some that it must let through.
//!
//! `case` lists them, `factory` and `body` make them, `failure` says what a wrong answer means.

mod body;
mod case;
mod factory;
mod failure;
mod request;

pub use self::{
    failure::{Failure, FailureKind},
    request::{HostileRequest, HostileRequests, hostile_requests},
};

//! Requests that an application must reject, and some that it must accept.
//!
//! `request` has the public types, `case` lists the requests, `factory` and `body` make them, and
//! `failure` explains a wrong answer.

mod body;
mod case;
mod factory;
mod failure;
mod request;

pub use self::{
    failure::{Failure, FailureKind, FailureReport},
    request::{HostileRequest, HostileRequests, hostile_requests},
};

//! Requests that an application must reject, and some that it must accept.
//!
//! - `case`: the list of requests, with the expected response to each.
//! - `factory`: creates the requests.
//! - `request`: the public iterator and the response check.
//! - `failure`: explains a wrong response.

mod case;
mod factory;
mod failure;
mod request;

pub use self::{
    failure::{Failure, FailureKind, FailureReport},
    request::{HostileRequest, HostileRequests, hostile_requests},
};

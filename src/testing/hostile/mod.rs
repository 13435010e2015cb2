//! Requests that an application must refuse, and some that it must let through.
//!
//! `case` lists them, `draft` and `body` make them, `finding` says what a wrong answer means.

mod body;
mod case;
mod draft;
mod finding;
mod request;

pub use self::{
    finding::{Finding, FindingKind},
    request::{HostileRequest, HostileRequests, hostile_requests},
};

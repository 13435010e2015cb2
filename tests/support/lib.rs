//! Code shared by this repository's test and benchmark packages: examples as processes, NATS,
//! Postgres and Redis servers, proxies, recorded and signed requests, a model of an idempotency
//! store, and a per-thread log.

#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "only this repository's own tests use it"
)]

pub mod captures;
pub mod frames;
pub mod idempotency;
pub mod log;
pub mod model;
pub mod nats_cluster;
pub mod postgres_server;
pub mod process;
pub mod proxy;
pub mod redis_server;
pub mod requests;
pub mod wire;

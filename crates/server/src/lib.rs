//! Serves HTTP/1 and HTTP/2 with limits on connections, request heads and time.
//!
#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

// The modules, in the order in which a connection passes through them:
mod activity;
mod connection;
mod idle;
mod limits;
mod report;
mod server;
mod service;
mod signal;
mod slots;
mod stream;
mod trouble;

pub use server::Server;
pub use service::RequestBody;
pub use signal::shutdown_signal;

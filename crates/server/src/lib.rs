#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

// In the order in which a connection meets them.
mod activity;
mod connection;
mod limits;
mod places;
mod report;
mod server;
mod service;
mod signal;
mod stream;
mod trouble;

pub use server::Server;
pub use signal::shutdown_signal;

//! Attacks that saturate the machine, and tests with the clients that SoundHash's senders use.
//!
//! `cargo test -p soundhash-webhook-tests --test load -- --test-threads 1` runs them, one at a
//! time. `cargo test` does not run them, because they need thousands of connections and other
//! programs.

mod http2;
mod receiver;
mod senders;
mod siege;

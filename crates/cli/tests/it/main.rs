//! Tests that run the command as a separate process, and check its output and exit status.

mod arguments;
mod doctor;
mod endpoints;
#[cfg(feature = "database")]
mod events;
mod forward;
mod help;
mod listen;
mod reconcile;
mod replay;
mod send;
mod support;
mod terminal;
mod tls;
mod verify;

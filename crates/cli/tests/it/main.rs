//! Tests that run the command as a process, with arguments, an environment, output and an exit
//! status.

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

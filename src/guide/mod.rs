//! Guides: what is not about one type alone.
//!
//! 1. [Quick start](quick_start): from an empty folder to a first delivery.
//! 2. [What a handler takes](handlers): all events, one type, or a handler for each type.
//! 3. [Testing your handler](testing_your_handler): in-process, and from the shell.
//! 4. [Where to put the layer](placement).
//! 5. [Each event once](crate::idempotency): retries, duplicates and replays.
//! 6. [Security](security): what is checked, and what is not.
//! 7. [Going live](going_live): secrets and rotation, limits, time-outs, proxies, alarms, several
//!    instances.
//! 8. [What it logs, counts and measures](telemetry).
//! 9. [Troubleshooting](troubleshooting): first of all "every signature is wrong".
//! 10. [Migrating](migrating) from SoundHash's receiver in Flask or Express.

pub mod going_live;
pub mod handlers;
pub mod migrating;
pub mod placement;
pub mod quick_start;
pub mod security;
pub mod telemetry;
pub mod testing_your_handler;
pub mod troubleshooting;

//! Guides: what is not about one type alone.
//!
//! 1. [Quick start](quick_start): from an empty folder to a first delivery.
//! 2. [Testing your handler](testing_your_handler): in-process, and from the shell.
//! 3. [Where to put the layer](placement).
//! 4. [Each event once](crate::idempotency): retries, duplicates and replays.
//! 5. [Security](security): what is checked, and what is not.
//! 6. [Going live](going_live): limits, time-outs, proxies, alarms, several instances.
//! 7. [What it logs, counts and measures](telemetry).
//! 8. [Troubleshooting](troubleshooting): first of all "every signature is wrong".
//! 9. [Migrating](migrating) from SoundHash's receiver in Flask or Express.

pub mod going_live;
pub mod migrating;
pub mod placement;
pub mod quick_start;
pub mod security;
pub mod telemetry;
pub mod testing_your_handler;
pub mod troubleshooting;

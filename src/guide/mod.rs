//! Guides: what is not about one type alone.
//!
//! 1. [Quick start](quick_start): from an empty folder to a first delivery.
//! 2. [Testing your handler](testing_your_handler): in-process, and from the shell.
//! 3. [Where to put the layer](placement).
//! 4. [Security](security): what is checked, and what is not.
//! 5. [Going live](going_live): limits, time-outs, proxies, alarms, several instances.
//! 6. [What it logs, counts and measures](telemetry).
//! 7. [Troubleshooting](troubleshooting): first of all "every signature is wrong".
//! 8. [Migrating](migrating) from SoundHash's receiver in Flask or Express.

pub mod going_live;
pub mod migrating;
pub mod placement;
pub mod quick_start;
pub mod security;
pub mod telemetry;
pub mod testing_your_handler;
pub mod troubleshooting;

//! Guides: how to receive webhooks, test the receiver, and run it in production.
//!
//! 1. [Quick start](quick_start): from an empty folder to a first delivery.
//! 2. [What a handler takes](handlers): every event, one type, or one handler per type.
//! 3. [Testing your handler](testing_your_handler): in-process and from the shell.
//! 4. [Where to put the layer](placement): which routes, and in which order.
//! 5. [Idempotency](crate::idempotency): act on each event once, and reject replays.
//! 6. [Past one machine](past_one_machine): which store or queue keeps your events.
//! 7. [Security](security): what is checked and what is not.
//! 8. [Going live](going_live): secrets, limits, timeouts, proxies and alerts.
//! 9. [Logs and metrics](telemetry): every line and every metric.
//! 10. [Troubleshooting](troubleshooting): every signature is wrong, and other symptoms.
//! 11. [Migrating](migrating) from SoundHash's receivers in Flask or Express.

pub mod going_live;
pub mod handlers;
pub mod migrating;
pub mod past_one_machine;
pub mod placement;
pub mod quick_start;
pub mod security;
pub mod telemetry;
pub mod testing_your_handler;
pub mod troubleshooting;

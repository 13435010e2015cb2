//! Answer at once, work later: verified SoundHash events go to a job queue on Redis.
//!
//! SoundHash waits 30 s for an answer, and gives up after four attempts. Here, an event is
//! accepted as soon as it is *stored*, and a worker has as long, and as many attempts, as its work
//! needs. `main.rs` says how to run it.
//!
//! The queue is [`oxana`]'s: it takes a job's id from us, stores a job in one step, takes a job
//! from a worker that died, tries one that failed again later, and keeps what it gave up.
//! `apalis-redis` 1.0 does not hold up here: an id such as `007` comes back as `7`, which ends the
//! worker, and so do 8000 jobs that wait, each time that it is started again.

pub mod job;
pub mod receive;
pub mod stop;
pub mod work;

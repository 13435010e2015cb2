//! Measures how long receiving and hashing a body take.

use std::time::{Duration, Instant};

/// Measures how long receiving and hashing a body take. It reads the clock only if the result is
/// recorded.
pub(crate) struct Stopwatch(Option<Running>);

struct Running {
    start: Instant,
    hashed: Duration,
}

/// The result of a [`Stopwatch`].
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) waited: Duration,
    pub(super) hashed: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(super::records_verified().then(|| Running {
            start: Instant::now(),
            hashed: Duration::ZERO,
        }))
    }

    pub(crate) fn hashing<T>(&mut self, hash: impl FnOnce() -> T) -> T {
        let Some(running) = &mut self.0 else {
            return hash();
        };
        let start = Instant::now();
        let result = hash();
        running.hashed += start.elapsed();
        result
    }

    pub(super) fn times(&self) -> Option<Times> {
        self.0.as_ref().map(|&Running { start, hashed }| Times {
            // All time except for the hashing counts as waiting, because the rest is very short.
            waited: start.elapsed().saturating_sub(hashed),
            hashed,
        })
    }
}

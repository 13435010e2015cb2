use std::time::{Duration, Instant};

/// How long a delivery was waited for, and how long it was hashed. Reads no clock unless
/// somebody wants to know.
pub(crate) struct Stopwatch(Option<Running>);

struct Running {
    start: Instant,
    hashed: Duration,
}

/// What a [`Stopwatch`] measured.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) waited: Duration,
    pub(super) hashed: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(super::details_are_wanted().then(|| Running {
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

    /// Up to now.
    pub(super) fn times(&self) -> Option<Times> {
        self.0.as_ref().map(|&Running { start, hashed }| Times {
            // All that is not hashing is waiting; the rest is too little to be measured.
            waited: start.elapsed().saturating_sub(hashed),
            hashed,
        })
    }
}

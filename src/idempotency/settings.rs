//! The settings of a layer, and the age check for events.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::outcome::{Outcome, OutcomeKind};
use crate::{event::Timestamp, telemetry::RejectionLog};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) lease: Duration,
    pub(super) retention: Duration,
    pub(super) max_age: Option<Duration>,
    pub(super) clock_skew: Duration,
    pub(super) detach: bool,
    pub(super) scope: Option<Arc<str>>,
    pub(super) rejections: Arc<RejectionLog>,
    pub(super) clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(60),
            retention: DAY,
            max_age: None,
            clock_skew: Duration::from_secs(60),
            detach: false,
            scope: None,
            rejections: Arc::default(),
            clock: Arc::new(SystemTime::now),
        }
    }
}

impl Settings {
    fn retention(&self) -> Duration {
        match self.max_age {
            // When an event is completed, its time may be up to `clock_skew` ahead of this host's
            // clock, so the event is accepted for that much longer.
            Some(age) => self.retention.max(age.saturating_add(self.clock_skew)),
            None => self.retention,
        }
    }

    /// Returns how long the store remembers a completed event.
    ///
    /// With a `max_age`, this is longer than the retention, because the clocks of different
    /// machines can disagree, and because some time passes between the age check and the claim.
    pub(super) fn stored_retention(&self) -> Duration {
        let slack = match self.max_age {
            Some(_) => self.clock_skew.saturating_add(Duration::from_secs(1)),
            None => Duration::ZERO,
        };
        self.retention().saturating_add(slack)
    }

    pub(super) fn check_age(&self, created_at: Option<Timestamp>) -> Result<(), Outcome> {
        let Some(max_age) = self.max_age else {
            return Ok(());
        };
        let Some(created_at) = created_at else {
            return Err(Outcome::new(OutcomeKind::Undated));
        };
        match (self.clock)().duration_since(created_at.into()) {
            Ok(age) if age >= max_age => Err(Outcome::new(OutcomeKind::TooOld)),
            Err(ahead) if ahead.duration() > self.clock_skew => {
                Err(Outcome::new(OutcomeKind::FromTheFuture))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("lease", &self.lease)
            .field("retention", &self.retention())
            .field("max_age", &self.max_age)
            .field("clock_skew", &self.clock_skew)
            .field("detach", &self.detach)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

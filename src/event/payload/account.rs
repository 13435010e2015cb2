use serde::{Deserialize, Serialize};

use crate::event::{Id, Timestamp, timestamp};

/// `quota.warning`: a quota is nearly used up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuotaWarning {
    /// The period that the quota is for, `daily` for example.
    pub period: String,
    /// How much was used in it.
    pub used: i64,
    /// How much may be used in it.
    pub limit: i64,
    /// How much is left; negative where more was used.
    pub remaining: i64,
    /// How much was used, in percent of the limit.
    pub percentage: f64,
    /// When the next period begins.
    #[serde(
        default,
        deserialize_with = "timestamp::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub reset_at: Option<Timestamp>,
}

/// `job.failed`: a job was given up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobFailed {
    /// The job's id.
    pub job_id: Id,
    /// What kind of job it is, `video_process` for example.
    pub job_type: String,
    /// What it was for.
    pub target_id: Id,
    /// How often it was tried.
    pub attempt_count: u64,
    /// What went wrong, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}

/// `user.created`: somebody signed up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UserCreated {
    /// The user's id.
    pub user_id: Id,
    /// The user's name.
    pub username: String,
    /// The user's e-mail address.
    pub email: String,
}

/// `subscription.updated`: a subscription changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SubscriptionUpdated {
    /// The subscription's id.
    pub subscription_id: Id,
    /// The user that has it.
    pub user_id: Id,
    /// The plan that it is for, `pro` for example.
    pub plan_tier: String,
    /// Its state, `active` for example.
    pub status: String,
    /// The plan that it was for before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_plan: Option<String>,
}

/// `api_limit.reached`: a user reached a limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ApiLimitReached {
    /// The user's id.
    pub user_id: Id,
    /// Which limit, `api_calls` or `storage` for example.
    pub limit_type: String,
    /// How much is used.
    pub current_usage: i64,
    /// How much may be used.
    pub limit_value: i64,
    /// When the count begins again.
    #[serde(
        default,
        deserialize_with = "timestamp::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub reset_at: Option<Timestamp>,
}

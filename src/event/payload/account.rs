//! Events about an account and its limits.

use serde::{Deserialize, Serialize};

use crate::event::id::Id;
use crate::event::timestamp::{Timestamp, lenient};

/// The payload of `quota.warning`: a quota is nearly used up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuotaWarning {
    /// The period that the quota is for, such as `daily`.
    pub period: String,
    /// How much of the quota is used.
    pub used: i64,
    /// The quota.
    pub limit: i64,
    /// What is left of it: negative for someone who is over it.
    pub remaining: i64,
    /// What is used, in percent of the quota.
    pub percentage: f64,
    /// When the period ends.
    #[serde(
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub reset_at: Option<Timestamp>,
}

/// The payload of `user.created`: an account was opened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UserCreated {
    /// The account.
    pub user_id: Id,
    /// The name that the user goes by.
    pub username: String,
    /// The user's e-mail address.
    pub email: String,
}

/// The payload of `subscription.updated`: a plan changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SubscriptionUpdated {
    /// The subscription.
    pub subscription_id: Id,
    /// The account that it belongs to.
    pub user_id: Id,
    /// The plan from now on, such as `pro`.
    pub plan_tier: String,
    /// The state of the subscription, such as `active`.
    pub status: String,
    /// The plan until now, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_plan: Option<String>,
}

/// The payload of `api_limit.reached`: a limit of the API was reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ApiLimitReached {
    /// The account.
    pub user_id: Id,
    /// What is limited, such as `api_calls` or `storage`.
    pub limit_type: String,
    /// How much is used, in the limit's unit.
    pub current_usage: i64,
    /// The limit.
    pub limit_value: i64,
    /// When counting begins anew, for a limit of which it does.
    #[serde(
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub reset_at: Option<Timestamp>,
}

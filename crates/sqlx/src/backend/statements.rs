//! The SQL of an event log, with its names filled in.
//!
//! A row is in one of these states. The states of a store end at `claimed_until`.
//!
//! | state | `recorded` | `claim_token` | `claimed_until` |
//! | --- | --- | --- | --- |
//! | recorded by `record` | true | any | any |
//! | claimed by a store | false | the claim's | in the future |
//! | completed by a store | false | NULL | in the future |
//! | free | false | any | NULL or past |

use std::sync::Arc;

use soundhash_webhook::{Delivery, idempotency::Key};

use super::{Backend, Value, Words};
use crate::{event::to_micros, name::TableName, text::escape};

/// Returns the values of [`Statements::record`].
pub(crate) fn recorded(delivery: &Delivery) -> [Value<'_>; 5] {
    // A body that is not an event is authentic, too, and is recorded without a type.
    let event = delivery.event().ok();
    let created_at = event.and_then(|event| event.created_at);
    [
        Value::key(&Key::from(delivery)),
        Value::OptionalText(event.map(|event| escape(event.event_type()))),
        Value::OptionalText(delivery.endpoint().map(escape)),
        Value::OptionalInteger(created_at.map(|time| to_micros(time.into()))),
        Value::Bytes(delivery.body()),
    ]
}

#[derive(Debug)]
pub struct Statements {
    pub(crate) begin: Arc<str>,
    /// `$1` key, `$2` type, `$3` endpoint, `$4` `created_at`, `$5` body. Has a row if the event is
    /// new, and none if it is a duplicate or if another transaction has its lock.
    pub(crate) record: Arc<str>,
    /// Like `record`, but waits for the lock, at most for `$6`.
    #[cfg(feature = "postgres")]
    pub(crate) wait_and_record: Arc<str>,
    /// The parameters of `record` as arrays. Each row has the number of an event and 1 if it is new,
    /// 0 if it is a duplicate, or 2 if another transaction has its lock.
    #[cfg(feature = "postgres")]
    pub(crate) accept: Arc<str>,
    /// Records several events on SQLite. The parts are the SQL before the values, for the values of
    /// one event, and after them. Has a row with the key of each new event.
    #[cfg(feature = "sqlite")]
    pub(crate) record_rows: [String; 3],
    /// `$1` type, `$2` endpoint, `$3` since, `$4` and `$5` before (time and key), `$6` limit, `$7` 1
    /// for forgotten events only.
    pub(crate) list: Arc<str>,
    /// `$1` key.
    pub(crate) get: Arc<str>,
    /// `$1` key.
    pub(crate) forget: Arc<str>,
    /// `$1` time, `$2` limit.
    pub(crate) purge_records: Arc<str>,
    /// `$1` limit.
    pub(crate) purge_claims: Arc<str>,
    /// `$1` key, `$2` token, `$3` lease.
    pub(crate) claim: Arc<str>,
    /// `$1` key. Has a row if the key is completed.
    pub(crate) renew: Arc<str>,
    /// `$1` key, `$2` token, `$3` retention.
    pub(crate) complete: Arc<str>,
    /// `$1` key, `$2` token.
    pub(crate) release: Arc<str>,
}

impl Statements {
    pub(crate) fn new<DB: Backend>(name: &TableName) -> Self {
        let words = DB::words();
        let Words {
            now,
            body_len,
            skip_locked,
            ..
        } = words;
        let table = name.table();
        let instant = |value: &str| Words::fill(words.instant, value);
        let from_now = |value: &str| format!("{now} + {}", Words::fill(words.span, value));
        let micros = |value: &str| Words::fill(words.micros, value);
        let integer = |value: &str| Words::fill(words.integer, value);

        let is_held = format!("(recorded OR claimed_until > {now})");
        let summary = format!(
            "event_key, event_type, endpoint, {}, {}, {body_len}, {}",
            micros("created_at"),
            micros("received_at"),
            integer(&is_held),
        );
        let insert_claim = format!(
            "INSERT INTO {table} AS log (event_key, claim_token, claimed_until) \
             SELECT $1, $2, {until} \
             WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE event_key = $1 AND {is_held}) \
             AND {try_lock} \
             ON CONFLICT (event_key) DO UPDATE SET \
             claim_token = excluded.claim_token, claimed_until = excluded.claimed_until \
             WHERE NOT log.recorded \
             AND (log.claimed_until IS NULL OR log.claimed_until <= {now}) \
             RETURNING 1",
            until = from_now("$3"),
            try_lock = try_lock::<DB>(name, "$1"),
        );
        let is_completed = format!("(recorded OR claim_token IS NULL AND claimed_until > {now})");
        let held_by_token =
            format!("event_key = $1 AND claim_token = $2 AND claimed_until > {now}");

        Self {
            begin: DB::begin(name).into(),
            record: record::<DB>(name, &format!("WHERE {}", try_lock::<DB>(name, "$1"))).into(),
            #[cfg(feature = "postgres")]
            wait_and_record: DB::wait_and_record(
                &number::<DB>(name, "$1"),
                &record::<DB>(name, "FROM ready WHERE locked"),
            )
            .into(),
            #[cfg(feature = "postgres")]
            accept: accept::<DB>(name),
            #[cfg(feature = "sqlite")]
            record_rows: [
                format!("{} VALUES ", insert(name)),
                format!("(?, TRUE, ?, ?, ?, {now}, ?)"),
                format!(" {}", unless_recorded::<DB>()),
            ],
            list: list::<DB>(name, &summary, &is_held).into(),
            get: format!(
                "SELECT {summary}, body FROM {table} \
                 WHERE event_key = $1 AND received_at IS NOT NULL"
            )
            .into(),
            forget: format!(
                "UPDATE {table} SET recorded = FALSE, claim_token = NULL, claimed_until = {now} \
                 WHERE event_key = $1 AND {is_completed}"
            )
            .into(),
            purge_records: format!(
                "DELETE FROM {table} WHERE event_key IN (SELECT event_key FROM {table} \
                 WHERE received_at < {before} \
                 AND (claimed_until IS NULL OR claimed_until <= {now}) \
                 ORDER BY received_at LIMIT $2{skip_locked})",
                before = instant("$1"),
            )
            .into(),
            purge_claims: format!(
                "DELETE FROM {table} WHERE event_key IN (SELECT event_key FROM {table} \
                 WHERE received_at IS NULL AND claimed_until <= {now} LIMIT $1{skip_locked})"
            )
            .into(),
            claim: insert_claim.into(),
            // The retention does not matter for a recorded event.
            renew: format!(
                "UPDATE {table} SET claimed_until = {until} \
                 WHERE event_key = $1 AND {is_completed} RETURNING 1",
                until = from_now("retention"),
            )
            .into(),
            complete: format!(
                "UPDATE {table} SET claim_token = NULL, claimed_until = {until}, retention = $3 \
                 WHERE {held_by_token}",
                until = from_now("$3"),
            )
            .into(),
            release: format!(
                "UPDATE {table} SET claim_token = NULL, claimed_until = {now} \
                 WHERE {held_by_token}"
            )
            .into(),
        }
    }
}

fn list<DB: Backend>(name: &TableName, summary: &str, is_held: &str) -> String {
    let instant = |value: &str| Words::fill(DB::words().instant, value);
    format!(
        "SELECT {summary} FROM {table} WHERE received_at IS NOT NULL \
         AND ($1 IS NULL OR event_type = $1) AND ($2 IS NULL OR endpoint = $2) \
         AND received_at >= {since} AND (received_at, event_key) < ({before}, $5) \
         AND ($7 = 0 OR NOT {is_held}) \
         ORDER BY received_at DESC, event_key DESC LIMIT $6",
        table = name.table(),
        since = instant("$3"),
        before = instant("$4"),
    )
}

/// Returns the number of the lock that belongs to the key.
fn number<DB: Backend>(name: &TableName, key: &str) -> String {
    let number = DB::words().number;
    Words::fill(&number.replace("$table", &name.table().to_string()), key)
}

fn try_lock<DB: Backend>(name: &TableName, key: &str) -> String {
    Words::fill(DB::words().try_lock, &number::<DB>(name, key))
}

fn insert(name: &TableName) -> String {
    let table = name.table();
    format!(
        "INSERT INTO {table} AS log \
         (event_key, recorded, event_type, endpoint, created_at, received_at, body)"
    )
}

/// The end of an `INSERT` of events.
fn unless_recorded<DB: Backend>() -> String {
    format!(
        "ON CONFLICT (event_key) DO UPDATE SET \
         recorded = TRUE, event_type = excluded.event_type, endpoint = excluded.endpoint, \
         created_at = excluded.created_at, body = excluded.body, \
         received_at = coalesce(log.received_at, excluded.received_at) \
         WHERE NOT log.recorded AND (log.claim_token IS NOT NULL \
         OR log.claimed_until IS NULL OR log.claimed_until <= {now}) \
         RETURNING event_key",
        now = DB::words().now,
    )
}

/// The statement `record`, on this condition.
fn record<DB: Backend>(name: &TableName, condition: &str) -> String {
    let words = DB::words();
    format!(
        "{insert} SELECT $1, TRUE, $2, $3, {created_at}, {now}, $5 {condition} {unless_recorded}",
        insert = insert(name),
        created_at = Words::fill(words.instant, "$4"),
        now = words.now,
        unless_recorded = unless_recorded::<DB>(),
    )
}

#[cfg(feature = "postgres")]
fn accept<DB: Backend>(name: &TableName) -> Arc<str> {
    let words = DB::words();
    format!(
        "WITH new AS MATERIALIZED (\
         SELECT number, key, type, endpoint, created, body, {locked} AS locked \
         FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[]) \
         WITH ORDINALITY AS new (key, type, endpoint, created, body, number)), \
         inserted AS ({insert} \
         SELECT key, TRUE, type, endpoint, {created_at}, {now}, body FROM new WHERE locked \
         {unless_recorded}) \
         SELECT number, CASE WHEN event_key IS NOT NULL THEN 1 WHEN locked THEN 0 ELSE 2 END::bigint \
         FROM new LEFT JOIN inserted ON event_key = key",
        locked = try_lock::<DB>(name, "key"),
        insert = insert(name),
        created_at = Words::fill(words.instant, "created"),
        now = words.now,
        unless_recorded = unless_recorded::<DB>(),
    )
    .into()
}

//! The SQL statements of an event log, with the table's names filled in.
//!
//! A row is in one of these states. The states that a store sets expire at `claimed_until`.
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
use crate::{body::pack, event::to_micros, name::TableName, text::escape};

/// Returns the values to bind to [`Statements::record`].
pub(crate) fn recorded(delivery: &Delivery) -> [Value<'_>; 6] {
    // Parsing the payload would take longer than compressing it.
    let created_at = delivery.created_at();
    let (body, len) = pack(delivery.body());
    [
        Value::key(&Key::from(delivery)),
        // A verified body that is not an event is also recorded, without a type.
        Value::OptionalText(delivery.event_type().map(escape)),
        Value::OptionalText(delivery.endpoint().map(escape)),
        Value::OptionalInteger(created_at.map(|time| to_micros(time.into()))),
        Value::Bytes(body),
        Value::OptionalInteger(len),
    ]
}

#[derive(Debug)]
pub struct Statements {
    pub(crate) begin: Arc<str>,
    /// Like `begin`, for a transaction that runs only this crate's statements.
    pub(crate) begin_read_committed: Arc<str>,
    /// `$1` key, `$2` type, `$3` endpoint, `$4` `created_at`, `$5` body, `$6` its length if it is
    /// compressed. Returns a row if the event is new, or nothing if it is a duplicate, if another
    /// transaction holds its lock, or if a trigger drops its row.
    pub(crate) record: Arc<str>,
    /// Like `record`, for the first event in a transaction from [`begin`](Self::begin).
    #[cfg(feature = "sqlite")]
    pub(crate) record_first: Arc<str>,
    /// `$1` key. Returns whether the event is a duplicate (1 or 0), and the ID of the server
    /// process.
    pub(crate) duplicate: Arc<str>,
    /// Like `record`, but waits up to `$7` for the lock.
    #[cfg(feature = "postgres")]
    pub(crate) wait_and_record: Arc<str>,
    /// Takes the parameters of `record` as arrays. Each row of the result has the position of an
    /// event and its outcome: 1 if it is new, 0 if it is a duplicate, or 2 if it is undecided. This
    /// also writes the jobs for the new events.
    #[cfg(feature = "postgres")]
    pub(crate) accept: Arc<str>,
    /// Records several events on SQLite. The parts are the SQL before and after the values. Returns
    /// the key of each new event.
    #[cfg(feature = "sqlite")]
    pub(crate) record_rows: [String; 2],
    /// Writes the jobs for new events. The keys are inserted between the two parts.
    pub(crate) jobs: Option<[String; 2]>,
    /// Selects the keys of duplicates. The list of keys is appended.
    #[cfg(feature = "sqlite")]
    pub(crate) duplicates: String,
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
    /// `$1` key. Returns a row if a claim or another transaction holds the key.
    pub(crate) held: Arc<str>,
    /// `$1` key. If the key is completed, renews its retention period and returns a row.
    pub(crate) renew: Arc<str>,
    /// `$1` key, `$2` token, `$3` retention.
    pub(crate) complete: Arc<str>,
    /// `$1` key, `$2` token.
    pub(crate) release: Arc<str>,
}

impl Statements {
    /// `jobs` is the user's statement that writes the jobs for new events.
    pub(crate) fn new<DB: Backend>(name: &TableName, jobs: Option<&str>) -> Self {
        let words = DB::words();
        let Words {
            now,
            body_len,
            skip_locked,
            transaction,
            ..
        } = words;
        let table = name.table();
        let purge = |rows: &str| {
            let rows = format!("SELECT event_key FROM {table} WHERE {rows}{skip_locked}");
            format!("DELETE FROM {table} WHERE event_key IN ({rows})").into()
        };
        // The Unix epoch, which is always in the past. The current time would be in the future if
        // the clock were then set back.
        let past = Words::fill(words.instant, "0");
        let from_now = |value: &str| format!("{now} + {}", Words::fill(words.span, value));
        let micros = |value: &str| Words::fill(words.micros, value);
        let integer = |value: &str| Words::fill(words.integer, value);

        let exists = |condition: &str| {
            format!("EXISTS (SELECT 1 FROM {table} WHERE event_key = $1 AND {condition})")
        };
        let is_held = format!("(recorded OR claimed_until > {now})");
        let summary = format!(
            "event_key, event_type, endpoint, {}, {}, coalesce(uncompressed_len, {body_len}), {}",
            micros("created_at"),
            micros("received_at"),
            integer(&is_held),
        );
        let try_lock_of_key = try_lock::<DB>(name, "$1");
        let record_now = record::<DB>(name, &format!("WHERE {try_lock_of_key}"));
        let is_completed = is_completed::<DB>();
        let by_token = format!("event_key = $1 AND claim_token = $2 AND claimed_until > {now}");

        Self {
            begin: DB::begin(name).into(),
            begin_read_committed: format!("{}{}", DB::READ_COMMITTED, DB::begin(name)).into(),
            #[cfg(feature = "sqlite")]
            record_first: format!("RELEASE soundhash_webhook; {record_now}").into(),
            record: record_now.into(),
            duplicate: format!("SELECT {}, {transaction}", integer(&exists(&is_completed))).into(),
            #[cfg(feature = "postgres")]
            wait_and_record: words
                .wait_and_record
                .replace("$number", &number::<DB>(name, "$1"))
                .replace("$insert", &record::<DB>(name, "FROM ready WHERE locked"))
                .into(),
            #[cfg(feature = "postgres")]
            accept: accept::<DB>(name, jobs),
            #[cfg(feature = "sqlite")]
            record_rows: record_rows::<DB>(name),
            jobs: jobs.map(|sql| write_jobs(name, sql)),
            #[cfg(feature = "sqlite")]
            duplicates: format!(
                "SELECT event_key FROM {table} WHERE {is_completed} AND event_key IN "
            ),
            list: list::<DB>(name, &summary, &is_held).into(),
            get: format!(
                "SELECT {summary}, body, uncompressed_len FROM {table} \
                 WHERE event_key = $1 AND received_at IS NOT NULL"
            )
            .into(),
            forget: format!(
                "UPDATE {table} SET recorded = FALSE, claim_token = NULL, claimed_until = {past} \
                 WHERE event_key = $1 AND {is_completed}"
            )
            .into(),
            purge_records: purge(&format!(
                "received_at < {before} AND (claimed_until IS NULL OR claimed_until <= {now}) \
                 ORDER BY received_at LIMIT $2",
                before = Words::fill(words.instant, "$1"),
            )),
            purge_claims: purge(&format!(
                "received_at IS NULL AND claimed_until <= {now} LIMIT $1"
            )),
            claim: claim::<DB>(name, &exists(&is_held), &from_now("$3")).into(),
            held: format!(
                "SELECT 1 WHERE NOT {try_lock_of_key} OR {}",
                exists(&is_held)
            )
            .into(),
            renew: renew::<DB>(name, &is_completed, from_now).into(),
            complete: format!(
                "UPDATE {table} SET claim_token = NULL, claimed_until = {until}, retention = $3 \
                 WHERE {by_token}",
                until = from_now("$3"),
            )
            .into(),
            release: format!(
                "UPDATE {table} SET claim_token = NULL, claimed_until = {past} \
                 WHERE {by_token}"
            )
            .into(),
        }
    }
}

fn claim<DB: Backend>(name: &TableName, is_held: &str, until: &str) -> String {
    format!(
        "INSERT INTO {table} AS log (event_key, claim_token, claimed_until) \
         SELECT $1, $2, {until} \
         WHERE NOT {is_held} AND {try_lock} \
         ON CONFLICT (event_key) DO UPDATE SET \
         claim_token = excluded.claim_token, claimed_until = excluded.claimed_until \
         WHERE NOT log.recorded \
         AND (log.claimed_until IS NULL OR log.claimed_until <= {now}) \
         RETURNING 1",
        table = name.table(),
        try_lock = try_lock::<DB>(name, "$1"),
        now = DB::words().now,
    )
}

/// A recorded event never expires, so its retention does not matter. It has none, but a store may
/// still hold a claim.
fn renew<DB: Backend>(
    name: &TableName,
    is_completed: &str,
    from_now: impl Fn(&str) -> String,
) -> String {
    let table = name.table();
    let renew = format!(
        "UPDATE {table} SET claimed_until = coalesce({until}, claimed_until) \
         WHERE event_key = $1 AND {is_completed}",
        until = from_now("retention"),
    );
    // Group commit makes this cheap.
    if DB::ONE_WRITER {
        return format!("{renew} RETURNING 1");
    }
    // Nothing is written until a hundredth of the retention period is over. Otherwise, copies of a
    // recorded delivery would occupy all connections, waiting for each other's commits of this row.
    let earlier = from_now("retention / 100 * 99");
    format!(
        "WITH renewed AS ({renew} AND claimed_until < {earlier} RETURNING 1) \
         SELECT 1 FROM {table} WHERE event_key = $1 AND {is_completed}"
    )
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

/// Returns the SQL expression for the key's lock number.
fn number<DB: Backend>(name: &TableName, key: &str) -> String {
    let number = DB::words().number;
    Words::fill(&number.replace("$table", &name.table().to_string()), key)
}

fn try_lock<DB: Backend>(name: &TableName, key: &str) -> String {
    Words::fill(DB::words().try_lock, &number::<DB>(name, key))
}

/// Returns the condition for a duplicate: an event that a transaction has recorded or a store has
/// completed.
fn is_completed<DB: Backend>() -> String {
    let now = DB::words().now;
    format!("(recorded OR claim_token IS NULL AND claimed_until > {now})")
}

fn insert(name: &TableName) -> String {
    let table = name.table();
    format!(
        "INSERT INTO {table} AS log \
         (event_key, recorded, event_type, endpoint, created_at, received_at, body, \
         uncompressed_len)"
    )
}

/// Returns the final clause of an `INSERT` of events, which skips events that are already recorded.
fn unless_recorded<DB: Backend>() -> String {
    format!(
        "ON CONFLICT (event_key) DO UPDATE SET \
         recorded = TRUE, event_type = excluded.event_type, endpoint = excluded.endpoint, \
         created_at = excluded.created_at, body = excluded.body, \
         uncompressed_len = excluded.uncompressed_len, \
         received_at = coalesce(log.received_at, excluded.received_at) \
         WHERE NOT log.recorded AND (log.claim_token IS NOT NULL \
         OR log.claimed_until IS NULL OR log.claimed_until <= {now}) \
         RETURNING event_key",
        now = DB::words().now,
    )
}

/// Returns the SQL that records an event if `condition` holds.
fn record<DB: Backend>(name: &TableName, condition: &str) -> String {
    let words = DB::words();
    format!(
        "{insert} SELECT $1, TRUE, $2, $3, {created_at}, {now}, $5, $6 {condition} {unless_recorded}",
        insert = insert(name),
        created_at = Words::fill(words.instant, "$4"),
        now = words.now,
        unless_recorded = unless_recorded::<DB>(),
    )
}

fn write_jobs(name: &TableName, sql: &str) -> [String; 2] {
    let table = name.table();
    [
        format!(
            "WITH new_events AS (\
             SELECT event_key, event_type, endpoint FROM {table} WHERE event_key IN ("
        ),
        format!(")) {sql}"),
    ]
}

#[cfg(feature = "sqlite")]
fn record_rows<DB: Backend>(name: &TableName) -> [String; 2] {
    let (insert, now) = (insert(name), DB::words().now);
    [
        format!(
            "{insert} SELECT column1, TRUE, column2, column3, column4, {now}, column5, column6 \
             FROM (VALUES "
        ),
        format!(") WHERE column1 IS NOT NULL {}", unless_recorded::<DB>()),
    ]
}

#[cfg(feature = "postgres")]
fn accept<DB: Backend>(name: &TableName, jobs: Option<&str>) -> Arc<str> {
    let words = DB::words();
    let with_jobs = jobs.map(|sql| {
        format!(
            ", new_events AS (SELECT event_key, event_type, endpoint FROM soundhash_inserted), \
             soundhash_jobs AS ({sql}\n)"
        )
    });
    // Postgres runs a `SELECT` in a `WITH` clause only if its rows are used, so this counts them.
    // Without a new event, the job statement must not run.
    let job_count = jobs.map(|_| {
        ", CASE WHEN EXISTS (SELECT 1 FROM soundhash_inserted) \
         THEN (SELECT count(*) FROM soundhash_jobs) END"
    });
    format!(
        "WITH soundhash_new AS MATERIALIZED (\
         SELECT number, key, type, endpoint, created, body, len, {locked} AS locked \
         FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::bigint[]) \
         WITH ORDINALITY AS new (key, type, endpoint, created, body, len, number)), \
         soundhash_inserted AS ({insert} \
         SELECT key, TRUE, type, endpoint, {created_at}, {now}, body, len \
         FROM soundhash_new WHERE locked {unless_recorded}, event_type, endpoint){jobs} \
         SELECT number, CASE WHEN event_key IS NOT NULL THEN 1 \
         WHEN locked AND (SELECT {is_completed} FROM {table} WHERE event_key = key) THEN 0 \
         ELSE 2 END::bigint{job_count} \
         FROM soundhash_new LEFT JOIN soundhash_inserted ON event_key = key",
        is_completed = is_completed::<DB>(),
        table = name.table(),
        locked = try_lock::<DB>(name, "key"),
        insert = insert(name),
        jobs = with_jobs.unwrap_or_default(),
        job_count = job_count.unwrap_or_default(),
        created_at = Words::fill(words.instant, "created"),
        now = words.now,
        unless_recorded = unless_recorded::<DB>(),
    )
    .into()
}

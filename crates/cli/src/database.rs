//! The database in which an application records its events.

use std::{
    error::Error as StdError,
    time::{Duration, SystemTime},
};

use clap::Args;
use soundhash_webhook::idempotency::Key;
use soundhash_webhook_reconcile::{Record, Timestamp};
use soundhash_webhook_sqlx::{
    Backend, EventFilter, EventLog, EventLogError, EventLogErrorKind, EventSummary, RecordedEvent,
};
use sqlx::{
    Connection, Pool, Postgres, Sqlite, SqlitePool, pool::PoolOptions, postgres::PgConnectOptions,
    sqlite::SqliteConnectOptions,
};
use tokio::time::timeout;

use crate::{
    error::Error, output::escape::escape, reconcile::recorded::is_of_portal, secret::variable,
    url::parse_time,
};

pub(crate) const DATABASE: &str = "SOUNDHASH_WEBHOOK_DATABASE";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
const HEADING: &str = "The recorded events";
/// The number of events that one query returns.
const PAGE: usize = 1_000;

/// The options that select the database.
#[derive(Args)]
pub(crate) struct DatabaseArgs {
    /// The application's database: `postgres://USER@HOST/NAME` or `sqlite:FILE`
    #[arg(long, global = true, help_heading = HEADING, value_name = "URL")]
    database: Option<String>,
    /// The table of the event log
    #[arg(long, global = true, help_heading = HEADING, value_name = "NAME", default_value = "soundhash_events")]
    table: String,
    /// The schema of the table
    #[arg(long, global = true, help_heading = HEADING, value_name = "NAME")]
    schema: Option<String>,
}

/// An application's event log.
pub(crate) enum Database {
    Postgres(EventLog<Postgres>),
    Sqlite(EventLog<Sqlite>, SqlitePool),
}

impl DatabaseArgs {
    /// Returns whether the user named a database.
    pub(crate) fn is_given(&self) -> Result<bool, Error> {
        Ok(self.database.is_some() || variable(DATABASE)?.is_some())
    }

    /// Connects to the database. This never creates files or tables.
    pub(crate) async fn open(&self) -> Result<Database, Error> {
        let variable = variable(DATABASE)?;
        let url = match (&self.database, &variable) {
            (Some(url), _) if has_password(url) => {
                return Err(Error::usage(format!(
                    "--database: every user of this machine can read the password in this URL. \
                     Set {DATABASE} to the URL, or PGPASSWORD to the password."
                )));
            }
            (Some(url), _) | (None, Some(url)) => url,
            (None, None) => {
                return Err(Error::usage(format!(
                    "there is no database: give --database, or set {DATABASE}"
                )));
            }
        };
        // The parsers' errors are not shown, because they can repeat parts of the URL.
        let wrong = || {
            Error::usage(
                "the database is not a URL such as postgres://user@host/name or sqlite:events.db",
            )
        };
        if url.starts_with("sqlite:") {
            let options: SqliteConnectOptions = url.parse().map_err(|_| wrong())?;
            // The application's own URL may have `mode=rwc`.
            let options = options.create_if_missing(false);
            let (log, pool) = self.connect(options).await?;
            return Ok(Database::Sqlite(log, pool));
        }
        if !url.starts_with("postgres:") && !url.starts_with("postgresql:") {
            return Err(wrong());
        }
        let options: PgConnectOptions = url.parse().map_err(|_| wrong())?;
        let (log, _) = self.connect(options).await?;
        Ok(Database::Postgres(log))
    }

    /// Returns the events recorded since a given time, except those of the developer portal.
    pub(crate) async fn records(&self, since: Timestamp) -> Result<Vec<Record>, Error> {
        let filter = EventFilter::new();
        let filter = filter.since(since.try_into().unwrap_or(SystemTime::UNIX_EPOCH));
        let database = self.open().await?;
        let events = database.list(filter, usize::MAX).await;
        database.close().await;
        let mut events = events?;
        events.retain(|event| !is_of_portal(event.key.as_str()));
        if are_of_several_endpoints(&events) {
            // Each endpoint records the same event under a different key.
            return Err(Error::usage(
                "the database has events of several endpoints, which can hide each other's missing \
                 events. Compare one at a time: `events list --endpoint NAME --since TIME --limit \
                 1000000 --json >FILE && soundhash-webhook reconcile --endpoint ID --recorded FILE`. \
                 If the endpoint had no name before, choose a --since after that.",
            ));
        }
        let records = events.iter().map(|event| Record {
            time: event.received_at.try_into().unwrap_or_default(),
            key: Some(event.key.to_string()),
        });
        Ok(records.collect())
    }

    async fn connect<DB: Backend>(
        &self,
        options: <DB::Connection as Connection>::Options,
    ) -> Result<(EventLog<DB>, Pool<DB>), Error> {
        let cannot = |cause: String| Error::failed(format!("cannot open the database: {cause}"));
        // This connects without the pool, which would retry until its timeout and hide the cause.
        let connection = timeout(CONNECT_TIMEOUT, DB::Connection::connect_with(&options))
            .await
            .map_err(|_| cannot("no response in time".to_owned()))?
            .map_err(|error| cannot(causes(&error)))?;
        let closed = connection.close().await;
        closed.map_err(|error| cannot(causes(&error)))?;
        let pool = PoolOptions::new()
            .max_connections(2)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(options);
        let name = |error: EventLogError| Error::usage(error.to_string());
        let mut log = EventLog::new(pool.clone())
            .table(&self.table)
            .map_err(name)?;
        if let Some(schema) = &self.schema {
            log = log.schema(schema).map_err(name)?;
        }
        Ok((log, pool))
    }
}

/// Selects events.
#[derive(Args)]
pub(crate) struct Filter {
    /// Only events of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_type: Option<String>,
    /// Only events of this endpoint, as your `SecretProvider` names it
    #[arg(long, value_name = "NAME")]
    pub(crate) endpoint: Option<String>,
    /// Only events received at or after this time, or since this age, such as 90m or 2d; without an
    /// offset, the time is local
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) since: Option<Timestamp>,
    /// Only events received before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time, overrides_with = "until")]
    pub(crate) until: Option<Timestamp>,
    /// Only events that should run again, and whose handler has not succeeded since
    #[arg(long)]
    pub(crate) forgotten: bool,
}

impl Filter {
    pub(crate) fn to_event_filter(&self) -> EventFilter {
        let mut filter = EventFilter::new();
        if let Some(event_type) = &self.event_type {
            filter = filter.event_type(event_type);
        }
        if let Some(endpoint) = &self.endpoint {
            filter = filter.endpoint(endpoint);
        }
        let time = |time: Option<Timestamp>| SystemTime::try_from(time?).ok();
        if let Some(since) = time(self.since) {
            filter = filter.since(since);
        }
        if let Some(until) = time(self.until) {
            filter = filter.before(until);
        }
        if self.forgotten {
            filter = filter.forgotten();
        }
        filter
    }
}

pub(crate) fn are_of_several_endpoints(events: &[EventSummary]) -> bool {
    (events.windows(2)).any(|pair| pair[0].endpoint != pair[1].endpoint)
}

fn has_password(url: &str) -> bool {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    user.contains(':') || query.split('&').any(|it| it.starts_with("password="))
}

impl Database {
    /// Returns at most `most` recorded events without their bodies, latest first.
    pub(crate) async fn list(
        &self,
        mut filter: EventFilter,
        most: usize,
    ) -> Result<Vec<EventSummary>, Error> {
        let mut events: Vec<EventSummary> = Vec::new();
        loop {
            let limit = PAGE.min(most - events.len());
            filter = filter.limit(limit.try_into().unwrap_or(u32::MAX));
            let page = match self {
                Self::Postgres(log) => log.list(&filter).await,
                Self::Sqlite(log, _) => log.list(&filter).await,
            };
            let page = page.map_err(|error| failed(&error))?;
            let is_last = page.len() < PAGE;
            events.extend(page);
            match events.last() {
                Some(last) if !is_last && events.len() < most => filter = filter.after(last),
                _ => return Ok(events),
            }
        }
    }

    /// Returns an event with its body, or `None` if it does not exist. The error is
    /// [`Error::Damaged`] if only this event cannot be read.
    pub(crate) async fn get(&self, key: &Key) -> Result<Option<RecordedEvent>, Error> {
        let event = match self {
            Self::Postgres(log) => log.get(key).await,
            Self::Sqlite(log, _) => log.get(key).await,
        };
        event.map_err(|error| match damage(&error) {
            Some(cause) => Error::Damaged(format!(
                "{}: the stored event is damaged: {cause}",
                escape(key.as_str())
            )),
            None => failed(&error),
        })
    }

    /// Returns the event with this key.
    pub(crate) async fn find(&self, key: &str) -> Result<RecordedEvent, Error> {
        let event = self.get(&Key::new(key)).await?;
        event.ok_or_else(|| {
            let key = escape(key);
            Error::usage(format!(
                "there is no event with the key {key}: `events list` shows the keys"
            ))
        })
    }

    /// Marks an event as forgotten, so that the application handles its next delivery.
    pub(crate) async fn forget(&self, key: &Key) -> Result<bool, Error> {
        let forgotten = match self {
            Self::Postgres(log) => log.forget(key).await,
            Self::Sqlite(log, _) => log.forget(key).await,
        };
        forgotten.map_err(|error| failed(&error))
    }

    /// Closes the database, so that SQLite removes its `-wal` file.
    pub(crate) async fn close(self) {
        if let Self::Sqlite(_, pool) = self {
            let _ = timeout(CLOSE_TIMEOUT, pool.close()).await;
        }
    }
}

fn failed(error: &EventLogError) -> Error {
    match error.kind() {
        EventLogErrorKind::NotMigrated => Error::failed(
            "the database has no such table of events. Check --database, --table and --schema. The \
             application creates the table when it calls `EventLog::migrate`.",
        ),
        _ => Error::failed(causes(error)),
    }
}

/// Returns the cause if a row was read but cannot be decoded.
fn damage(error: &EventLogError) -> Option<String> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }) =
            cause.downcast_ref()
        {
            return Some(causes(cause));
        }
        source = cause.source();
    }
    None
}

/// Displays an error with its causes.
fn causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    crate::output::escape::excerpt(&text, 500)
}

//! The backend for PostgreSQL.

use std::{collections::HashMap, mem, sync::Arc, time::Duration};

use sqlx::{
    Connection, PgConnection, PgPool, Postgres, Row, Transaction,
    postgres::{PgArguments, PgConnectOptions},
    query::Query,
};
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{
    Backend, BoxFuture, Change, Changed, Sql, Statements, Value, Words, bind, common_steps, depth,
    is_duplicate, recorded,
};
use crate::{
    error::{EventLogError, EventLogErrorKind, TimedOut, may_be_the_connection},
    name::TableName,
};

impl Backend for Postgres {}

/// Waits for the key's lock and records the event, in a single round trip. The statement sets the
/// timeout, waits for the lock, inserts the row, and restores the timeout for the caller's own
/// statements. Each part depends on the previous one, so they run in this order.
///
/// The unique index would also make the statement wait, but its timeout would start over each time
/// an earlier transaction rolled back. The wait for the lock has a single timeout.
///
/// This statement takes several times as long as a plain `INSERT`, so it is used only if another
/// transaction may hold the lock.
const WAIT_AND_RECORD: &str = "WITH setting AS MATERIALIZED (\
    SELECT previous, set_config('lock_timeout', $7, TRUE) AS applied \
    FROM (SELECT current_setting('lock_timeout') AS previous OFFSET 0) AS before), \
    ready AS MATERIALIZED (SELECT (pg_advisory_xact_lock($number)::text IS NOT NULL) AS locked \
    FROM setting WHERE applied IS NOT NULL), inserted AS ($insert) \
    SELECT inserted_rows, set_config('lock_timeout', previous, TRUE) \
    FROM (SELECT count(*) AS inserted_rows FROM inserted) AS counted, setting";

/// How long the server may take to reply, in addition to the lock timeout.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// The timeout that replaces a `statement_timeout` below one second. SoundHash waits 30 s for a
/// response.
const EVENT_TIMEOUT: &str = "30s";

fn query<'q>(sql: &Arc<str>, values: &[Value<'_>]) -> Query<'q, Postgres, PgArguments> {
    bind!(Postgres, sql, values)
}

/// Formats a value for `lock_timeout`. The value is at least 1 ms, because zero disables the limit.
fn millis(timeout: Duration) -> String {
    let most = u128::from(i32::MAX.unsigned_abs());
    format!("{}ms", timeout.as_millis().clamp(1, most))
}

/// Terminates the connection on the server, so that the pool replaces it. Otherwise, a session
/// setting that made a statement fail, such as a changed role, would make it fail again. The client
/// cannot close the connection, because the transaction owns it.
async fn end(connection: &mut PgConnection) {
    let end = "ROLLBACK; SET statement_timeout = 0; RESET SESSION AUTHORIZATION; \
         SELECT pg_terminate_backend(pg_backend_pid())";
    // This always returns an error, because the server closes the connection.
    let _ = sqlx::raw_sql(end).execute(connection).await;
}

/// The cancellations that may run at a time, each on a connection outside the pool. An attacker can
/// hang up any number of times.
static CANCELLATIONS: Semaphore = Semaphore::const_new(4);

/// Cancels the wait for a lock on the server when the caller stops waiting. Otherwise, the server
/// would keep waiting and occupy the connection.
struct CancelWait {
    transaction: String,
    options: Option<Arc<PgConnectOptions>>,
}

impl CancelWait {
    async fn cancel(transaction: &str, options: &PgConnectOptions) -> sqlx::Result<()> {
        let mut connection = PgConnection::connect_with(options).await?;
        // The waiting statement may not have reached the server yet, so this tries several times.
        // If the wait has ended, the connection may already be in another transaction.
        for _ in 0..5 {
            let cancel = "SELECT pg_cancel_backend(pid)
                FROM pg_locks JOIN pg_stat_activity USING (pid)
                WHERE locktype = 'advisory' AND NOT granted
                AND pid || ' ' || (extract(epoch FROM xact_start) * 1000000)::bigint = $1";
            let cancelled = sqlx::query(cancel).bind(transaction);
            if cancelled.execute(&mut connection).await?.rows_affected() > 0 {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        connection.close().await
    }
}

impl Drop for CancelWait {
    fn drop(&mut self) {
        // If the wait is not canceled, it ends at the lock timeout.
        if let (Some(options), Ok(runtime)) = (self.options.take(), Handle::try_current())
            && let Ok(place) = CANCELLATIONS.try_acquire()
        {
            let transaction = mem::take(&mut self.transaction);
            runtime.spawn(async move {
                let _ = timeout(REPLY_TIMEOUT, Self::cancel(&transaction, &options)).await;
                drop(place);
            });
        }
    }
}

impl Sql for Postgres {
    // By default, a session may be read-only, or use an isolation level that hides what other
    // transactions commit during the wait for the lock.
    const BEGIN: &'static str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
    const READ_COMMITTED: &'static str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; ";
    const ONE_WRITER: bool = false;
    const WRITERS: usize = 2;

    // All of these statements take a single round trip. `BEGIN` comes last, so that an error does
    // not leave a transaction open. The `INSERT` of the event takes the same table lock anyway. By
    // default, the wait for it has no limit. A `statement_timeout` below one second is too short for
    // a transaction.
    fn begin(name: &TableName) -> String {
        format!(
            "SET TRANSACTION READ WRITE; \
             SELECT set_config('lock_timeout', '59999ms', TRUE) \
             WHERE current_setting('lock_timeout') = '0'; \
             LOCK TABLE {} IN ROW EXCLUSIVE MODE; \
             SELECT set_config('lock_timeout', '0', TRUE) \
             WHERE current_setting('lock_timeout') = '59999ms'; \
             SELECT set_config('statement_timeout', '{EVENT_TIMEOUT}', TRUE) \
             WHERE current_setting('statement_timeout') ~ '^.{{1,3}}ms$'; BEGIN",
            name.table(),
        )
    }

    fn words() -> Words {
        Words {
            // `now()` would return the start time of the transaction.
            now: "clock_timestamp()",
            instant: "(timestamptz 'epoch' + ? * interval '1 microsecond')",
            span: "? * interval '1 microsecond'",
            micros: "(extract(epoch FROM ?) * 1000000)::bigint",
            body_len: "octet_length(body)::bigint",
            integer: "(?)::int::bigint",
            skip_locked: " FOR UPDATE SKIP LOCKED",
            try_lock: "pg_try_advisory_xact_lock(?)",
            transaction: "pg_backend_pid() || ' ' || (extract(epoch FROM now()) * 1000000)::bigint",
            wait_and_record: WAIT_AND_RECORD,
            number: "hashtextextended('$table' || ? COLLATE \"C\", 0)",
        }
    }

    fn migrations(name: &TableName) -> Vec<String> {
        let table = name.table();
        vec![format!(
            r#"CREATE TABLE IF NOT EXISTS {table} (
                event_key text COLLATE "C" PRIMARY KEY,
                recorded boolean NOT NULL DEFAULT FALSE,
                event_type text,
                endpoint text,
                created_at timestamptz,
                received_at timestamptz,
                claim_token bytea,
                claimed_until timestamptz,
                retention bigint,
                body bytea,
                uncompressed_len bigint
            );
            CREATE INDEX IF NOT EXISTS "{by_time}" ON {table} (received_at, event_key)
                WHERE received_at IS NOT NULL;
            CREATE INDEX IF NOT EXISTS "{by_claim}" ON {table} (claimed_until) WHERE received_at IS NULL;
            -- Long bodies are already compressed.
            ALTER TABLE {table} ALTER body SET STORAGE EXTERNAL;"#,
            by_time = name.index("_received_at").bare(),
            by_claim = name.index("_claimed_until").bare(),
        )]
    }

    fn is_migrated<'a>(
        connection: &'a mut Self::Connection,
        name: &'a TableName,
    ) -> BoxFuture<'a, sqlx::Result<bool>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT (to_regclass($1), to_regclass($2)) IS NOT NULL")
                .bind(name.migrations().to_string())
                .bind(name.table().to_string())
                .fetch_one(connection)
                .await?;
            row.try_get(0)
        })
    }

    fn prepare_migrations<'a>(
        connection: &'a mut Self::Connection,
        name: &'a TableName,
    ) -> BoxFuture<'a, sqlx::Result<()>> {
        Box::pin(async move {
            sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('soundhash_webhook', 0))")
                .execute(&mut *connection)
                .await?;
            // While this waits for a long read of the table, all inserts would wait behind it.
            let limit = "SET LOCAL lock_timeout = '5s'";
            sqlx::query(limit).execute(&mut *connection).await?;
            let Some(schema) = name.schema() else {
                return Ok(());
            };
            // `IF NOT EXISTS` requires permission to create schemas even if the schema exists.
            // `to_regnamespace` does not see a schema that was created during the wait for the
            // lock.
            let exists =
                sqlx::query("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)")
                    .bind(schema)
                    .fetch_one(&mut *connection)
                    .await?;
            if !exists.try_get::<bool, _>(0)? {
                Self::execute_raw(connection, format!("CREATE SCHEMA \"{schema}\"")).await?;
            }
            Ok(())
        })
    }

    fn clean(_: &mut PgConnection) -> BoxFuture<'_, sqlx::Result<()>> {
        // sqlx and the server disagree about the transaction. The server's state is unknown, so the
        // connection is replaced.
        Box::pin(async { Err(sqlx::Error::InvalidSavePointStatement) })
    }

    fn check<'a>(
        connection: &'a mut PgConnection,
        pool: &'a PgPool,
    ) -> BoxFuture<'a, Result<(), EventLogError>> {
        Box::pin(async move {
            let encoding = sqlx::query_scalar("SELECT getdatabaseencoding()::text");
            let encoding: String = encoding.fetch_one(connection).await?;
            // `SQL_ASCII` stores all bytes unchanged.
            if encoding != "UTF8" && encoding != "SQL_ASCII" {
                return Err(EventLogError::new(
                    EventLogErrorKind::Encoding,
                    "encoding of the database cannot store every event: create the database with \
                     `ENCODING 'UTF8'`",
                ));
            }
            // sqlx gives the first statement on every connection the same name. A pooler in
            // transaction mode that does not track these names sends the statements of two
            // connections to the same server process, where the second one fails.
            let options = pool.connect_options();
            let mut first = None;
            for _ in 0..2 {
                let Ok(mut connection) = PgConnection::connect_with(&options).await else {
                    return Ok(());
                };
                let prepared = sqlx::query("SELECT 1").execute(&mut connection).await;
                match prepared.map_err(EventLogError::from) {
                    Err(error) if error.kind() == EventLogErrorKind::PreparedStatements => {
                        return Err(error);
                    }
                    _ => drop(first.replace(connection)),
                }
            }
            Ok(())
        })
    }

    fn is_busy(pool: &PgPool) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let is_busy = async {
                let options = pool.connect_options();
                let mut connection = PgConnection::connect_with(&options).await?;
                // The caller has already waited for `LONG`.
                let active = "SELECT EXISTS (SELECT FROM pg_stat_activity
                    WHERE usename = current_user AND datname = current_database()
                    AND state = 'active' AND clock_timestamp() - query_start > interval '9 s')";
                let is_busy = sqlx::query_scalar(active).fetch_one(&mut connection);
                let is_busy: bool = is_busy.await?;
                connection.close().await?;
                Ok::<_, sqlx::Error>(is_busy)
            };
            matches!(
                timeout(REPLY_TIMEOUT, is_busy).await,
                Err(_) | Ok(Err(_) | Ok(true))
            )
        })
    }

    // The server itself ends the wait for a lock, so only its reply can be late.
    fn time_limit(lock_timeout: Duration) -> (Duration, TimedOut) {
        (lock_timeout.saturating_add(REPLY_TIMEOUT), TimedOut::Reply)
    }

    fn record<'a>(
        tx: &'a mut Transaction<'_, Self>,
        pool: &'a PgPool,
        statements: &'a Statements,
        values: &'a [Value<'a>],
        lock_timeout: Duration,
    ) -> BoxFuture<'a, Result<bool, EventLogError>> {
        let connection = &mut **tx;
        Box::pin(async move {
            let recorded = async {
                let inserted = query(&statements.record, values);
                if inserted.fetch_optional(&mut *connection).await?.is_some() {
                    return Ok(Some(true));
                }
                let (found, transaction) =
                    is_duplicate::<Self>(connection, statements, values).await?;
                if found {
                    return Ok(Some(false));
                }
                let mut cancel = CancelWait {
                    transaction,
                    options: Some(pool.connect_options()),
                };
                let record = query(&statements.wait_and_record, values).bind(millis(lock_timeout));
                let recorded = record.fetch_one(&mut *connection).await;
                cancel.options = None;
                if recorded?.try_get::<i64, _>(0)? > 0 {
                    return Ok(Some(true));
                }
                // The statement does not see a row that was committed while it waited, so this
                // checks again.
                let (found, _) = is_duplicate::<Self>(connection, statements, values).await?;
                Ok(found.then_some(false))
            };
            match recorded.await {
                Err(error @ sqlx::Error::Database(_))
                    if may_be_the_connection(&error) && depth::<Self>(connection) == 1 =>
                {
                    end(connection).await;
                    Err(error.into())
                }
                done => done?.ok_or(EventLogError::skipped()),
            }
        })
    }

    fn is_one_statement(_: &Statements, _: &[&Change]) -> bool {
        true
    }

    fn change<'a>(
        connection: &'a mut PgConnection,
        statements: &'a Statements,
        changes: &'a [&'a Change],
    ) -> BoxFuture<'a, sqlx::Result<Vec<Changed>>> {
        Box::pin(async move {
            let mut numbers = HashMap::with_capacity(changes.len());
            let mut rows = Rows::default();
            // The row number of each change, and whether it is the first change with its key.
            let mut positions = Vec::with_capacity(changes.len());
            for change in changes {
                let Change::Record(delivery) = change else {
                    continue;
                };
                let [
                    Value::Text(key),
                    Value::OptionalText(event_type),
                    Value::OptionalText(endpoint),
                    Value::OptionalInteger(created_at),
                    Value::Bytes(body),
                    Value::OptionalInteger(len),
                ] = recorded(delivery)
                else {
                    continue;
                };
                let next = numbers.len();
                let number = *numbers.entry(key.to_string()).or_insert(next);
                positions.push((number, number == next));
                if number < next {
                    continue;
                }
                rows.keys.push(key.into_owned());
                rows.types.push(event_type.map(Into::into));
                rows.endpoints.push(endpoint.map(Into::into));
                rows.created.push(created_at);
                rows.bodies.push(body.into_owned());
                rows.lens.push(len);
            }
            let sql = sqlx::AssertSqlSafe(Arc::clone(&statements.accept));
            let accepted = sqlx::query(sql)
                .bind(rows.keys)
                .bind(rows.types)
                .bind(rows.endpoints)
                .bind(rows.created)
                .bind(rows.bodies)
                .bind(rows.lens)
                .fetch_all(connection)
                .await?;
            let mut states = vec![Changed::Undecided; accepted.len()];
            for row in accepted {
                let number: i64 = row.try_get(0)?;
                let state: i64 = row.try_get(1)?;
                let position = usize::try_from(number - 1).ok();
                if let (Some(slot), 0 | 1) = (position.and_then(|at| states.get_mut(at)), state) {
                    *slot = Changed::Rows(u64::from(state == 1));
                }
            }
            let result = positions.into_iter().map(|(number, is_first)| {
                match states.get(number).copied().unwrap_or(Changed::Undecided) {
                    Changed::Rows(1) if !is_first => Changed::Rows(0),
                    state => state,
                }
            });
            Ok(result.collect())
        })
    }

    common_steps!();
}

/// The values of several events, as arrays.
#[derive(Default)]
struct Rows {
    keys: Vec<String>,
    types: Vec<Option<String>>,
    endpoints: Vec<Option<String>>,
    created: Vec<Option<i64>>,
    bodies: Vec<Vec<u8>>,
    lens: Vec<Option<i64>>,
}

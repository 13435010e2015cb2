//! Brings the table up to date. Any number of processes can do this at the same time.

use std::sync::Arc;

use sqlx::Pool;

use crate::{
    backend::{Backend, Value},
    connection,
    error::EventLogError,
    name::TableName,
};

pub(crate) async fn migrate<DB: Backend>(
    pool: &Pool<DB>,
    name: &TableName,
) -> Result<(), EventLogError> {
    let versions = DB::migrations(name);
    let mut connection = connection::acquire(pool).await?;
    DB::check(&mut connection, pool).await?;
    // This check does not lock anything, because most starts have nothing to do.
    if DB::is_migrated(&mut connection, name).await?
        && applied::<DB>(&mut connection, name).await? >= versions.len()
    {
        return Ok(());
    }
    drop(connection);

    let connection = connection::acquire(pool).await?;
    let mut tx = connection::begin(connection, pool, &DB::BEGIN.into()).await?;
    DB::prepare_migrations(&mut tx, name).await?;
    // Another process may have migrated the table in the meantime.
    let table = name.migrations();
    let create = format!("CREATE TABLE IF NOT EXISTS {table} (version bigint PRIMARY KEY)");
    DB::execute_raw(&mut tx, create).await?;
    // A partial restore can lose either table. If it was the one of the migrations, these statements
    // change nothing.
    let applied = match DB::is_migrated(&mut tx, name).await? {
        true => applied::<DB>(&mut tx, name).await?,
        false => 0,
    };
    let insert = format!("INSERT INTO {table} VALUES ($1) ON CONFLICT DO NOTHING");
    let insert: Arc<str> = insert.into();
    for (version, sql) in (1..).zip(versions).skip(applied) {
        DB::execute_raw(&mut tx, sql).await?;
        DB::execute(&mut tx, &insert, &[Value::Integer(version)]).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Returns the number of migrations that have been applied.
async fn applied<DB: Backend>(
    connection: &mut DB::Connection,
    name: &TableName,
) -> sqlx::Result<usize> {
    let sql: Arc<str> = format!("SELECT max(version) FROM {}", name.migrations()).into();
    let rows = DB::fetch(connection, &sql, &[]).await?;
    let version = rows.first().map(|row| DB::integer(row, 0)).transpose()?;
    Ok(version
        .flatten()
        .and_then(|version| version.try_into().ok())
        .unwrap_or(0))
}

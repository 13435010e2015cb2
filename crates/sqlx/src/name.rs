//! The validated names of the table, its migrations table and its indexes.

use std::fmt;

use crate::error::EventLogError;

/// Postgres truncates identifiers to 63 bytes. This leaves room for the suffixes below.
const MAX_LEN: usize = 48;

/// The name of an event log's table, with its schema if one was set.
#[derive(Clone, Debug)]
pub struct TableName {
    schema: Option<String>,
    table: String,
}

impl Default for TableName {
    fn default() -> Self {
        Self {
            schema: None,
            table: "soundhash_events".to_owned(),
        }
    }
}

impl TableName {
    pub(crate) fn set_schema(&mut self, name: &str) -> Result<(), EventLogError> {
        self.schema = Some(valid(name)?);
        Ok(())
    }

    pub(crate) fn set_table(&mut self, name: &str) -> Result<(), EventLogError> {
        self.table = valid(name)?;
        Ok(())
    }

    pub(crate) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    pub(crate) fn table(&self) -> Quoted<'_> {
        self.quoted("")
    }

    /// The table that records the applied migrations.
    pub(crate) fn migrations(&self) -> Quoted<'_> {
        self.quoted("_migrations")
    }

    pub(crate) fn index(&self, suffix: &'static str) -> Quoted<'_> {
        self.quoted(suffix)
    }

    fn quoted(&self, suffix: &'static str) -> Quoted<'_> {
        Quoted { name: self, suffix }
    }
}

/// An identifier as written in SQL, prefixed with its schema.
#[derive(Clone, Copy)]
pub(crate) struct Quoted<'a> {
    name: &'a TableName,
    suffix: &'static str,
}

impl Quoted<'_> {
    /// Returns the identifier without its schema and quotes.
    pub(crate) fn bare(&self) -> String {
        format!("{}{}", self.name.table, self.suffix)
    }
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = self.name.schema() {
            write!(f, "\"{schema}\".")?;
        }
        write!(f, "\"{}{}\"", self.name.table, self.suffix)
    }
}

fn valid(name: &str) -> Result<String, EventLogError> {
    let mut bytes = name.bytes();
    let starts = bytes
        .next()
        .is_some_and(|byte| byte == b'_' || byte.is_ascii_alphabetic());
    let goes_on = bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
    if starts && goes_on && name.len() <= MAX_LEN {
        Ok(name.to_owned())
    } else {
        Err(EventLogError::invalid_name(name))
    }
}

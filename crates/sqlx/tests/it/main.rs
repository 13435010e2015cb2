//! The event log and the store, tested on Postgres servers and SQLite files that the tests create.

mod accept;
mod child;
mod crash;
mod errors;
mod fixture;
mod inspect;
mod migrate;
mod pgbouncer;
mod pool;
mod postgres;
mod record;
mod skipped;
mod sqlite;
mod store;

/// Runs tests that are generic over the database on both of them.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test::<sqlx::Postgres>().await;
            })+
        }

        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test::<sqlx::Sqlite>().await;
            })+
        }
    };
}
pub(crate) use on_both;

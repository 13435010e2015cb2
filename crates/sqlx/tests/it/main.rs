//! The event log and the store, on a Postgres server and on SQLite files of the tests' own.

mod child;
mod crash;
mod errors;
mod fixture;
mod inspect;
mod migrate;
mod postgres;
mod record;
mod sqlite;
mod store;

/// Runs tests that are generic over the database on each of them.
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

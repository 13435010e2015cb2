//! Tests of Postgres only.

use std::time::Duration;

use sqlx::Postgres;

use crate::fixture::{Fixture, delivery, log};

#[tokio::test]
async fn the_lock_timeout_of_the_caller_is_left_as_it_was() {
    let (_place, _pool, log) = log::<Postgres>().await;
    let log = log.lock_timeout(Duration::from_millis(1234));
    for id in ["a", "a", "b"] {
        let mut tx = log.begin().await.unwrap();
        sqlx::query("SET LOCAL lock_timeout = '77ms'")
            .execute(&mut *tx)
            .await
            .unwrap();
        let _ = log.record(&mut tx, &delivery(id).await).await.unwrap();
        let left: String = sqlx::query_scalar("SHOW lock_timeout")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        assert_eq!(left, "77ms");
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_record_can_be_made_in_a_nested_transaction() {
    use sqlx::Connection;

    let (_place, pool, log) = log::<Postgres>().await;
    let mut tx = log.begin().await.unwrap();
    let mut nested = tx.begin().await.unwrap();
    let _ = log.record(&mut nested, &delivery("a").await).await.unwrap();
    Postgres::act(&mut nested, "a").await.unwrap();
    nested.rollback().await.unwrap();
    let recorded = log.record(&mut tx, &delivery("a").await).await.unwrap();
    assert!(!recorded.is_duplicate());
    tx.commit().await.unwrap();
    assert_eq!(Postgres::acted(&pool).await, [""; 0]);
}

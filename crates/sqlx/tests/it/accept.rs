//! `accept`: one commit for many deliveries.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use soundhash_webhook::idempotency::Key;
use soundhash_webhook_sqlx::{Accepted, EventLog, EventLogErrorKind, Recorded};
use sqlx::{Pool, Postgres, Sqlite};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    fixture::{Fixture, delivery, delivery_of, log},
    on_both,
    pool::TinyDisk,
};

on_both!(
    an_event_is_accepted_once,
    of_64_concurrent_copies_of_each_event_one_is_new,
    jobs_are_committed_with_their_events,
    an_event_whose_job_fails_harms_no_other,
    a_job_that_panics_fails_only_its_batch,
    a_dropped_request_changes_nothing_for_others,
    an_event_that_is_being_recorded_waits_for_the_end,
    a_closed_pool_is_an_error,
);

const PATIENCE: Duration = Duration::from_mins(1);

/// A log whose job of an event is its row in `acted`.
fn with_jobs<DB: Fixture>(log: EventLog<DB>) -> EventLog<DB> {
    log.enqueue(|connection, deliveries| {
        Box::pin(async move {
            for delivery in deliveries {
                let key = Key::from(delivery);
                if key.as_str().contains("poison") {
                    return Err("a poisoned event".into());
                }
                assert!(!key.as_str().contains("panic"), "a panic of the test");
                DB::act_on(connection, key.as_str()).await?;
            }
            Ok(())
        })
    })
}

async fn setup<DB: Fixture>() -> (DB::Place, Pool<DB>, EventLog<DB>) {
    let (place, pool, log) = log::<DB>().await;
    (place, pool, with_jobs(log))
}

async fn an_event_is_accepted_once<DB: Fixture>() {
    let (_place, _pool, log) = log::<DB>().await;
    let delivery = delivery("a").await;
    assert_eq!(log.accept(&delivery).await.unwrap(), Accepted::New);
    assert!(log.accept(&delivery).await.unwrap().is_duplicate());
    let mut tx = log.begin().await.unwrap();
    let recorded = log.record(&mut tx, &delivery).await.unwrap();
    assert_eq!(recorded, Recorded::Duplicate);
    drop(tx);
    let event = log.get(&Key::from(&delivery)).await.unwrap().unwrap();
    assert_eq!(event.body, delivery.body());
    assert_eq!(event.summary.event_type.as_deref(), Some("video.processed"));
    assert!(event.summary.created_at.is_some());
    // A text that Postgres cannot hold, which is not an event.
    for body in [
        r#"{"id": "\u0000\\0", "type": "a\u0000", "data": {}}"#,
        "no event",
    ] {
        let delivery = delivery_of(body).await;
        assert_eq!(log.accept(&delivery).await.unwrap(), Accepted::New);
        let event = log.get(&Key::from(&delivery)).await.unwrap().unwrap();
        assert_eq!(event.body, body);
    }
}

async fn of_64_concurrent_copies_of_each_event_one_is_new<DB: Fixture>() {
    let (place, pool, log) = setup::<DB>().await;
    let log = log.lock_timeout(PATIENCE);
    let other = EventLog::new(DB::pool(&DB::url(&place), 5).await).lock_timeout(PATIENCE);
    let logs = [log, with_jobs(other)];
    let new = Arc::new(AtomicUsize::new(0));
    let mut deliveries = Vec::new();
    for number in 0..20 {
        deliveries.push(delivery(&format!("{number:03}")).await);
    }
    let mut copies = JoinSet::new();
    for copy in 0..64 {
        for delivery in deliveries.clone() {
            let (log, new) = (logs[copy % 2].clone(), Arc::clone(&new));
            copies.spawn(async move {
                let accepted = log.accept(&delivery).await.unwrap();
                new.fetch_add(usize::from(!accepted.is_duplicate()), Ordering::Relaxed);
            });
        }
    }
    timeout(PATIENCE, copies.join_all())
        .await
        .expect("every copy is accepted in time");
    assert_eq!(new.load(Ordering::Relaxed), 20);
    assert_eq!(DB::acted(&pool).await.len(), 20);
}

async fn jobs_are_committed_with_their_events<DB: Fixture>() {
    let (_place, pool, log) = setup::<DB>().await;
    let mut all = JoinSet::new();
    for number in 0..50 {
        let (log, delivery) = (log.clone(), delivery(&format!("{number:03}")).await);
        all.spawn(async move { log.accept(&delivery).await.unwrap() });
    }
    assert!(all.join_all().await.iter().all(|it| *it == Accepted::New));
    assert_eq!(DB::acted(&pool).await.len(), 50);
    assert!(
        log.accept(&delivery("007").await)
            .await
            .unwrap()
            .is_duplicate()
    );
    assert_eq!(DB::acted(&pool).await.len(), 50);
}

async fn an_event_whose_job_fails_harms_no_other<DB: Fixture>() {
    let (_place, pool, log) = setup::<DB>().await;
    let mut all = JoinSet::new();
    for number in 0..60 {
        let id = match number % 10 {
            5 => format!("poison-{number}"),
            _ => format!("{number:03}"),
        };
        let (log, delivery) = (log.clone(), delivery(&id).await);
        all.spawn(async move {
            let accepted = log.accept(&delivery).await;
            assert_eq!(
                accepted.is_err(),
                id.contains("poison"),
                "{id}: {accepted:?}"
            );
        });
    }
    timeout(PATIENCE, all.join_all())
        .await
        .expect("an end in time");
    assert_eq!(DB::acted(&pool).await.len(), 54);
    let error = log.accept(&delivery("poison").await).await.unwrap_err();
    assert_eq!(error.kind(), EventLogErrorKind::Other, "{error:?}");
    let source = std::error::Error::source(&error).expect("a source");
    assert_eq!(source.to_string(), "a poisoned event");
    assert!(
        log.get(&Key::from(&delivery("poison").await))
            .await
            .unwrap()
            .is_none()
    );
}

async fn a_job_that_panics_fails_only_its_batch<DB: Fixture>() {
    let (_place, pool, log) = setup::<DB>().await;
    let error = log.accept(&delivery("panic").await).await.unwrap_err();
    assert_eq!(error.kind(), EventLogErrorKind::Other, "{error:?}");
    let b = delivery("b").await;
    let next = timeout(PATIENCE, log.accept(&b)).await;
    assert_eq!(next.expect("an end in time").unwrap(), Accepted::New);
    assert_eq!(DB::acted(&pool).await.len(), 1);
}

async fn a_dropped_request_changes_nothing_for_others<DB: Fixture>() {
    let (_place, pool, log) = setup::<DB>().await;
    let mut all = JoinSet::new();
    for number in 0..200_u64 {
        let (log, delivery) = (log.clone(), delivery(&format!("{number:03}")).await);
        all.spawn(async move {
            let accept = log.accept(&delivery);
            match number % 2 {
                0 => assert_eq!(accept.await.unwrap(), Accepted::New),
                _ => drop(timeout(Duration::from_micros(number * 40), accept).await),
            }
        });
    }
    timeout(PATIENCE, all.join_all())
        .await
        .expect("an end in time");
    // The events of dropped requests are stored with their jobs, or not at all.
    for number in 0..200 {
        let _ = log
            .accept(&delivery(&format!("{number:03}")).await)
            .await
            .unwrap();
    }
    let acted = DB::acted(&pool).await;
    assert_eq!(acted.len(), 200);
}

async fn an_event_that_is_being_recorded_waits_for_the_end<DB: Fixture>() {
    for (commit, expected) in [(true, Accepted::Duplicate), (false, Accepted::New)] {
        let (_place, pool, log) = setup::<DB>().await;
        let a = delivery("a").await;
        let mut tx = log.begin().await.unwrap();
        assert_eq!(log.record(&mut tx, &a).await.unwrap(), Recorded::New);
        let waiting = tokio::spawn({
            let (log, a) = (log.clone(), a.clone());
            async move { log.accept(&a).await.unwrap() }
        });
        if !DB::IS_SQLITE {
            // Another event does not wait.
            let other = timeout(PATIENCE, async { log.accept(&delivery("b").await).await });
            assert_eq!(other.await.expect("an end in time").unwrap(), Accepted::New);
        }
        sleep(Duration::from_millis(200)).await;
        assert!(!waiting.is_finished());
        if commit {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        assert_eq!(waiting.await.unwrap(), expected);
        assert_eq!(
            DB::acted(&pool)
                .await
                .iter()
                .filter(|key| key.ends_with('a'))
                .count(),
            usize::from(!commit)
        );
    }
}

async fn a_closed_pool_is_an_error<DB: Fixture>() {
    let (_place, pool, log) = setup::<DB>().await;
    pool.close().await;
    let error = log.accept(&delivery("a").await).await.unwrap_err();
    assert_eq!(error.kind(), EventLogErrorKind::PoolExhausted, "{error:?}");
}

/// Postgres turns the commit of a failed transaction into a rollback, and sqlx returns `Ok`.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ignores_the_error_of_a_statement_is_an_error() {
    let (_place, _pool, log) = log::<Postgres>().await;
    for sql in ["SELECT 1 / 0", "ROLLBACK"] {
        let log = log.clone().enqueue(move |connection, _| {
            Box::pin(async move {
                let _ = sqlx::raw_sql(sql).execute(connection).await;
                Ok(())
            })
        });
        let a = delivery("a").await;
        assert!(log.accept(&a).await.is_err(), "{sql}");
        assert!(log.get(&Key::from(&a)).await.unwrap().is_none(), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_only_what_is_committed_is_accepted() {
    let Some(disk) = TinyDisk::mount() else {
        return;
    };
    let (pool, log) = disk.log().await;
    let log = with_jobs(log);
    let (mut accepted, mut failed) = (Vec::new(), 0);
    for round in 0..6 {
        if round % 2 == 1 {
            disk.fill();
        }
        let mut all = JoinSet::new();
        for number in 0..30 {
            let body = format!(
                r#"{{"id": "{round}-{number:02}", "type": "a", "data": "{}"}}"#,
                "x".repeat(3_000 * (number % 3))
            );
            let (log, delivery) = (log.clone(), delivery_of(body).await);
            all.spawn(async move {
                let accepted = log.accept(&delivery).await;
                (Key::from(&delivery).to_string(), accepted.is_ok())
            });
        }
        for (key, is_accepted) in all.join_all().await {
            assert!(
                is_accepted || round % 2 == 1,
                "{key} failed on a disk with space"
            );
            failed += usize::from(!is_accepted);
            accepted.extend(is_accepted.then_some(key));
        }
        disk.free();
    }
    assert!(failed > 0, "the disk was not full");
    let fresh = Sqlite::pool(&format!("sqlite://{}/events.db", disk.folder.display()), 1).await;
    drop(pool);
    accepted.sort();
    assert_eq!(Sqlite::acted(&fresh).await, accepted);
}

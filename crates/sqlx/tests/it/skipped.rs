//! Events whose rows are silently dropped by a user's trigger.

use soundhash_webhook::idempotency::Key;
use soundhash_webhook_sqlx::{EventLogError, EventLogErrorKind};
use soundhash_webhook_tests::log::Log;
use tracing::Level;

use crate::{
    fixture::{Fixture, delivery, log},
    on_both,
    pool::is_new,
};

on_both!(an_event_whose_row_a_trigger_drops_is_an_error);

/// An event that was not inserted is a duplicate only if its row exists.
async fn an_event_whose_row_a_trigger_drops_is_an_error<DB: Fixture>() {
    let (_database, pool, plain) = log::<DB>().await;
    let jobs = plain.clone().enqueue("SELECT 1 FROM new_events");
    let ways = [
        (&plain, "record"),
        (&plain, "accept"),
        (&jobs, "accept"),
        (&plain, "claim"),
    ];
    for id in ["old", "forgotten"] {
        assert!(is_new(&plain, "record", &delivery(id).await).await.unwrap());
    }
    let forgotten = Key::from(&delivery("forgotten").await);
    assert!(plain.forget(&forgotten).await.unwrap());
    for (statement, id) in [("INSERT", "new"), ("UPDATE", "forgotten")] {
        let (create, drop) = match DB::IS_SQLITE {
            true => ("BEGIN SELECT RAISE(IGNORE); END", ""),
            false => (
                "FOR EACH ROW EXECUTE FUNCTION skip()",
                " ON soundhash_events",
            ),
        };
        let function = "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN RETURN NULL; END'";
        if !DB::IS_SQLITE {
            let _ = DB::run(&pool, function).await;
        }
        let name = format!("skip_{statement}");
        let create =
            format!("CREATE TRIGGER {name} BEFORE {statement} ON soundhash_events {create}");
        DB::run(&pool, create.leak()).await.unwrap();
        for (log, way) in ways {
            let logged = Log::up_to(Level::ERROR);
            let error = is_new(log, way, &delivery(id).await).await.expect_err(way);
            let error: Box<EventLogError> = error.downcast().unwrap();
            assert_eq!(error.kind(), EventLogErrorKind::Skipped, "{way}: {error:?}");
            assert!(error.to_string().contains("trigger"), "{error}");
            let logged = logged.take();
            assert!(
                way == "claim" || logged.contains("trigger"),
                "{way}: {logged}"
            );
            assert!(
                !is_new(log, way, &delivery("old").await).await.unwrap(),
                "{way}"
            );
        }
        let drop = format!("DROP TRIGGER {name}{drop}");
        DB::run(&pool, drop.leak()).await.unwrap();
        assert!(
            is_new(&plain, "record", &delivery(id).await).await.unwrap(),
            "{statement}"
        );
    }
}

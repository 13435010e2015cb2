//! Runs the example in separate processes. Each test starts its own Postgres server. Accepted
//! events must be handled once, even if processes are killed.

mod ends;
mod killed;
mod restored;
mod support;
mod work;

use soundhash_webhook::{EventKind, Sender, testing::sample};
use soundhash_webhook_tests::postgres_server::PostgresServer;

use self::support::{SECRET, acted, acted_in_time, deliver, event, start, start_worker};

#[tokio::test]
async fn a_delivery_is_accepted_immediately_and_handled_once() {
    let postgres = PostgresServer::start();
    let receiver = start("receive", &postgres.url());
    let bodies = EventKind::ALL.iter().map(|&kind| {
        let mut event = sample(kind, Sender::Dispatcher);
        event["id"] = format!("id-of-{kind}").into();
        event.to_string().into_bytes()
    });
    let bodies: Vec<_> = bodies.collect();
    for body in &bodies {
        assert_eq!(deliver(&receiver, SECRET, body).await, 202);
        assert_eq!(deliver(&receiver, SECRET, body).await, 200);
        // Attack: get the receiver to handle a request that SoundHash did not send.
        assert_eq!(deliver(&receiver, "whsec_guessed", body).await, 401);
    }
    assert_eq!(acted(&postgres.url()).await.len(), 0);

    let worker = start_worker(&postgres.url());
    let acted = acted_in_time(&postgres.url(), bodies.len()).await;
    for (key, event_type) in acted {
        assert!(
            key.ends_with(&format!("id-of-{event_type}")),
            "{key} {event_type}"
        );
    }
    for program in [receiver.process, worker] {
        program.signal("TERM");
        assert!(program.ended().0.success());
    }
}

#[tokio::test]
async fn one_process_can_do_both() {
    let postgres = PostgresServer::start();
    let both = start("", &postgres.url());
    // Other queues have parsed ids like this one as numbers.
    assert_eq!(deliver(&both, SECRET, &event("007")).await, 202);
    // U+0000, which Postgres cannot store, and the characters that might replace it.
    for id in ["a\0b", "a\u{2400}b", r"a\0b"] {
        assert_eq!(deliver(&both, SECRET, &event(id)).await, 202);
    }
    let acted = acted_in_time(&postgres.url(), 4).await;
    for id in ["007", r"a\0b", "a\u{2400}b", r"a\\0b"] {
        let with_id = |(key, _): &(String, String)| key.ends_with(id);
        assert!(acted.iter().any(with_id), "{acted:?}");
    }
    both.signal("INT");
    assert!(both.ended().0.success());
}

#[tokio::test]
async fn while_the_database_is_unavailable_the_response_is_503() {
    let mut postgres = PostgresServer::start();
    let both = start("", &postgres.url());
    assert_eq!(deliver(&both, SECRET, &event("a")).await, 202);
    postgres.stop("INT");
    assert_eq!(deliver(&both, SECRET, &event("b")).await, 503);
    postgres.restart("INT");
    while deliver(&both, SECRET, &event("b")).await == 503 {}
    acted_in_time(&postgres.url(), 2).await;
}

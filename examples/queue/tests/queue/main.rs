//! The example as programs, on a Redis server of its own: what is accepted is worked on, once,
//! whatever fails in between.

mod support;

use std::time::Duration;

use axum::http::StatusCode;
use oxana::Storage;
use soundhash_webhook::{
    EventKind, Secret,
    idempotency::MemoryStore,
    testing::{Sender, SignedRequest, sample},
};
use soundhash_webhook_queue_example::{
    job::{self, Events},
    receive,
};
use soundhash_webhook_tests::redis_server::RedisServer;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use self::support::{Program, SECRET, Service, deliver, event};

#[tokio::test]
async fn a_delivery_is_answered_at_once_and_worked_on_later() {
    let (redis, mut service) = (RedisServer::start(), Service::start().await);
    let receiver = Program::start("receive", &redis.url(), &service.url);
    for &kind in EventKind::ALL {
        let mut event = sample(kind, Sender::Dispatcher);
        event["id"] = kind.as_str().into();
        assert_eq!(deliver(&receiver, SECRET, &event).await, 202);
        // Attack: have something done that SoundHash did not send.
        assert_eq!(deliver(&receiver, "whsec_guessed", &event).await, 401);
    }
    service.gets_nothing().await;

    let _worker = Program::start("work", &redis.url(), &service.url);
    let mut types = Vec::new();
    for _ in EventKind::ALL {
        let (key, event) = service.gets(StatusCode::OK).await;
        let event_type = event["type"].as_str().unwrap().to_owned();
        assert_eq!(key, format!("t{event_type}"));
        types.push(event_type);
    }
    types.sort_unstable();
    let mut all: Vec<_> = EventKind::ALL.iter().map(ToString::to_string).collect();
    all.sort_unstable();
    assert_eq!(types, all);
    service.gets_nothing().await;
}

#[tokio::test]
async fn a_duplicate_is_one_job() {
    let (redis, mut service) = (RedisServer::start(), Service::start().await);
    let both = Program::start("", &redis.url(), &service.url);
    assert_eq!(deliver(&both, SECRET, &event("007")).await, 202);
    assert_eq!(deliver(&both, SECRET, &event("007")).await, 200);
    let (key, _) = service.gets(StatusCode::OK).await;
    assert_eq!(key, "t007");
    // Also when it is done.
    assert_eq!(deliver(&both, SECRET, &event("007")).await, 200);
    service.gets_nothing().await;
}

/// Delivers to a receiver whose idempotency store has just been made, and so remembers nothing.
async fn deliver_anew(queue: &Storage, id: &str) -> u16 {
    let app = receive::app(Secret::new(SECRET), queue.clone(), MemoryStore::new(1));
    let request = SignedRequest::new(SECRET).event(Sender::Dispatcher, &event(id));
    let response = app.oneshot(request.build()).await.unwrap();
    response.status().as_u16()
}

/// A receiver that died between the queue and its answer, or a store that forgot: the event comes
/// again, and nothing remembers it but its job.
#[tokio::test]
async fn a_duplicate_that_nobody_remembers_is_one_job_as_long_as_it_is_there() {
    let (redis, mut service) = (RedisServer::start(), Service::start().await);
    let queue = job::storage(&redis.url()).unwrap();
    let deliver = |id| deliver_anew(&queue, id);
    let answers = tokio::join!(deliver("a"), deliver("a"), deliver("b"), deliver("a"));
    assert_eq!(answers, (202, 202, 202, 202));
    assert_eq!(queue.enqueued_count(Events).await.unwrap(), 2);

    let _worker = Program::start("work", &redis.url(), &service.url);
    let mut keys = [
        service.gets(StatusCode::BAD_GATEWAY).await.0,
        service.gets(StatusCode::BAD_GATEWAY).await.0,
    ];
    keys.sort_unstable();
    assert_eq!(keys, ["ta", "tb"]);
    // Both failed and are to be tried again.
    assert_eq!(deliver("a").await, 202);
    service.gets(StatusCode::OK).await;
    service.gets(StatusCode::OK).await;
    service.gets_nothing().await;
}

#[tokio::test]
async fn a_queue_that_hangs_is_answered_with_503_while_soundhash_waits() {
    let redis = RedisServer::start();
    let queue = job::storage(&redis.url()).unwrap();
    assert_eq!(deliver_anew(&queue, "a").await, 202);
    redis.signal("STOP");
    let answer = timeout(Duration::from_secs(25), deliver_anew(&queue, "b")).await;
    assert_eq!(answer, Ok(503));
    redis.signal("CONT");
    assert_eq!(deliver_anew(&queue, "b").await, 202);
}

#[tokio::test]
async fn a_job_that_fails_is_tried_again() {
    let (redis, mut service) = (RedisServer::start(), Service::start().await);
    let both = Program::start("", &redis.url(), &service.url);
    let sent = event("a");
    assert_eq!(deliver(&both, SECRET, &sent).await, 202);
    for status in [
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::NOT_FOUND,
        StatusCode::OK,
    ] {
        let (key, event) = service.gets(status).await;
        assert_eq!((&*key, &event["data"]), ("ta", &sent["data"]));
    }
    service.gets_nothing().await;
}

#[tokio::test]
async fn a_job_is_not_lost_with_its_worker() {
    let (redis, mut service) = (RedisServer::start(), Service::start().await);
    let receiver = Program::start("receive", &redis.url(), &service.url);
    let worker = Program::start("work", &redis.url(), &service.url);
    assert_eq!(deliver(&receiver, SECRET, &event("a")).await, 202);
    let at_work = service.asked().await;
    // As a machine does that loses its power.
    worker.signal("KILL");
    drop((worker, at_work));

    let worker = Program::start("work", &redis.url(), &service.url);
    let at_work = service.asked().await;
    assert_eq!(at_work.key, "ta");
    // As at a release: what is at work comes to its end.
    worker.signal("TERM");
    at_work.answer(StatusCode::OK);
    assert!(worker.ended().await.success());

    let _worker = Program::start("work", &redis.url(), &service.url);
    service.gets_nothing().await;
}

#[tokio::test]
async fn what_is_in_the_queue_survives_a_restart_of_redis() {
    let (mut redis, mut service) = (RedisServer::start(), Service::start().await);
    let receiver = Program::start("receive", &redis.url(), &service.url);
    let _worker = Program::start("work", &redis.url(), &service.url);
    let first = event("first");
    assert_eq!(deliver(&receiver, SECRET, &first).await, 202);
    let at_work = service.asked().await;

    redis.stop();
    let second = event("second");
    // While SoundHash waits: it sends the event again.
    let refused = timeout(Duration::from_secs(25), deliver(&receiver, SECRET, &second));
    assert_eq!(refused.await.unwrap(), 503);
    at_work.answer(StatusCode::OK);
    // Longer than a worker has patience.
    sleep(Duration::from_secs(6)).await;
    redis.restart();

    // Another worker goes on; what was done while nobody could hear of it is done once more.
    let mut keys = Vec::new();
    while deliver(&receiver, SECRET, &second).await == 503 {
        sleep(Duration::from_millis(100)).await;
    }
    while keys.len() < 2 {
        keys.push(service.gets(StatusCode::OK).await.0);
    }
    keys.sort_unstable();
    assert_eq!(keys, ["tfirst", "tsecond"]);
    service.gets_nothing().await;
}

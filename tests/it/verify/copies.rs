//! The limit on copies of one delivery that are handled at a time.

use std::{convert::Infallible, sync::Arc};

use axum::body::Body;
use http::{Request, Response};
use soundhash_webhook::RejectionKind;
use tokio::sync::Semaphore;
use tower::{Layer, service_fn};

use super::layer;
use crate::support::{BODY, outcome, signed};

const COPIES: usize = 64;

/// Attack: repeat a recorded delivery until its handlers occupy all memory, or all connections to
/// the database.
#[tokio::test]
async fn copies_of_a_delivery_do_not_occupy_the_handlers() {
    let (entered, turns) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (arrivals, gate) = (entered.clone(), turns.clone());
    let service = layer().layer(service_fn(move |request: Request<Body>| {
        let (arrivals, gate) = (arrivals.clone(), gate.clone());
        async move {
            arrivals.add_permits(1);
            gate.acquire().await.unwrap().forget();
            Ok::<_, Infallible>(Response::new(request.into_body()))
        }
    }));
    let start = |body: &'static [u8]| tokio::spawn(outcome(service.clone(), signed(body)));
    let arrived = async |count: usize| {
        let permits = entered.acquire_many(count.try_into().unwrap()).await;
        permits.unwrap().forget();
    };

    let mut handled: Vec<_> = (0..COPIES).map(|_| start(BODY)).collect();
    arrived(COPIES).await;
    for _ in 0..3 {
        let rejected = start(BODY).await.unwrap();
        assert_eq!(rejected, Err(RejectionKind::TooManyCopies));
    }
    // Another delivery is handled, and so is a copy once another one's sender has hung up.
    let other = start(b"{}");
    arrived(1).await;
    let canceled = handled.pop().unwrap();
    canceled.abort();
    canceled.await.unwrap_err();
    handled.push(start(BODY));
    arrived(1).await;
    assert_eq!(
        start(BODY).await.unwrap(),
        Err(RejectionKind::TooManyCopies)
    );

    turns.add_permits(COPIES + 1);
    for copy in handled {
        assert_eq!(copy.await.unwrap().unwrap(), BODY);
    }
    assert_eq!(other.await.unwrap().unwrap(), &b"{}"[..]);
    turns.add_permits(COPIES);
    let again: Vec<_> = (0..COPIES).map(|_| start(BODY)).collect();
    for copy in again {
        assert_eq!(copy.await.unwrap().unwrap(), BODY);
    }
}

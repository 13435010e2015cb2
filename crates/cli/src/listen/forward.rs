//! Passes verified requests on to an application, and returns its answers.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, Method, Response, StatusCode, header},
    response::IntoResponse,
    routing::{MethodRouter, any},
};
use reqwest::{Client, Url};
use soundhash_webhook::Delivery;

use crate::{
    error::Error,
    http::{self, NoAnswer, exchange, remove_hop_by_hop},
    output,
};

pub(super) struct Forwarder {
    client: Client,
    url: Url,
}

impl Forwarder {
    pub(super) fn new(url: Url, timeout: Duration) -> Result<Self, Error> {
        let client = http::client(&url, timeout)
            // The application runs next to this command, so requests need no proxy.
            .no_proxy()
            // If the application had closed a pooled connection, a delivery would fail.
            .pool_max_idle_per_host(0);
        Ok(Self {
            client: http::build(client)?,
            url,
        })
    }

    pub(super) fn handler(self) -> MethodRouter {
        any(forward).with_state(Arc::new(self))
    }
}

async fn forward(
    State(forwarder): State<Arc<Forwarder>>,
    delivery: Delivery,
    method: Method,
    mut headers: HeaderMap,
) -> Response<Body> {
    remove_hop_by_hop(&mut headers);
    headers.remove(header::CONTENT_LENGTH);
    let request = (forwarder.client)
        .request(method, forwarder.url.clone())
        .headers(headers)
        .body(delivery.body().clone());
    // The answer is received completely before its status is passed on, so that an incomplete
    // answer does not acknowledge the delivery.
    match exchange(request).await {
        Ok(mut answer) => {
            remove_hop_by_hop(&mut answer.headers);
            answer.headers.remove(header::CONTENT_LENGTH);
            (answer.status, answer.headers, answer.body).into_response()
        }
        Err(error) => {
            let status = match error {
                NoAnswer::Timeout => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            };
            // The line of the delivery says that the sender got this status.
            output::warning(format_args!("{}: {error}", forwarder.url));
            status.into_response()
        }
    }
}

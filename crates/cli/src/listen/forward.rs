//! Passes verified requests on to an application, and returns its answers.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header},
    response::IntoResponse,
    routing::{MethodRouter, any},
};
use soundhash_webhook::Delivery;

use crate::{
    error::Error,
    http::{Client, Connections, NoAnswer, remove_hop_by_hop},
    output,
};

pub(super) struct Forwarder {
    client: Client,
    url: Uri,
}

impl Forwarder {
    pub(super) fn new(url: Uri, timeout: Duration) -> Result<Self, Error> {
        // A connection that the application closed meanwhile would fail a delivery.
        let client = Client::new(&url, timeout, Connections::Closed)?;
        Ok(Self { client, url })
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
    let mut request = Request::new(delivery.body().clone().into());
    *request.method_mut() = method;
    *request.uri_mut() = forwarder.url.clone();
    *request.headers_mut() = headers;
    // The answer is received completely before its status is passed on, so that one that breaks
    // off acknowledges nothing.
    match forwarder.client.send(request).await {
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

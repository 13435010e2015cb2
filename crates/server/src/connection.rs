//! Serves a connection until it ends, times out, or has to make room for another.

use std::{error::Error, future::poll_fn, io, pin::pin, task::Poll};

use hyper_util::server::graceful::GracefulConnection;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::debug;

use crate::{activity::Activity, limits::Limits, report::Report, slots::Slot, trouble::Trouble};

type BoxError = Box<dyn Error + Send + Sync>;

/// The reason for no longer polling a connection, or for asking it to end.
enum Next {
    Ended(Result<(), BoxError>),
    /// The connection has to make room for a new one, or has been idle for too long.
    Close,
    /// The head of a request did not arrive in time.
    HeadTimeout,
    /// The connection has to finish its current requests and accept no further ones.
    EndGracefully,
    /// The grace time is over.
    GraceOver,
}

/// Drives a connection to its end.
pub(crate) async fn drive<C>(
    connection: C,
    activity: &Activity,
    slot: &Slot,
    limits: &Limits,
    report: &Report,
    mut stop: watch::Receiver<()>,
) where
    C: GracefulConnection<Error = BoxError>,
{
    let peer = Some(slot.addr().ip());
    let mut connection = pin!(connection);
    let mut leave = pin!(slot.leave());
    let mut stop = pin!(stop.changed());
    let mut timer = pin!(sleep_until(Instant::now() + limits.head_timeout));
    // The timer for the connection's maximum age and, once the connection is ending, for the grace
    // time.
    let mut age = pin!(sleep_until(Instant::now() + limits.max_age));
    let mut ending = None;
    loop {
        let next = poll_fn(|cx| {
            // The connection is polled first, because polling it changes the state that is checked
            // below.
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(Next::Ended(ended));
            }
            if leave.as_mut().poll(cx).is_ready() {
                // If the connection becomes busy before it closes, it can be asked to close again
                // later.
                leave.set(slot.leave());
                return Poll::Ready(Next::Close);
            }
            if ending.is_some() {
                if age.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Next::GraceOver);
                }
            } else if stop.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Next::EndGracefully);
            } else if age.as_mut().poll(cx).is_ready() {
                if activity.is_http2() || activity.has_requests() {
                    return Poll::Ready(Next::EndGracefully);
                }
                // An HTTP/1 connection without requests is not closed yet, because a request may
                // already be on its way.
                activity.set_old();
            }
            while let Some(deadline) = activity.deadline(limits, ending) {
                if deadline < timer.deadline() {
                    timer.as_mut().reset(deadline);
                }
                if timer.as_mut().poll(cx).is_pending() {
                    break;
                }
                if deadline <= Instant::now() {
                    return Poll::Ready(if activity.is_mid_head() {
                        Next::HeadTimeout
                    } else {
                        Next::Close
                    });
                }
                timer.as_mut().reset(deadline);
            }
            Poll::Pending
        })
        .await;
        match next {
            Next::Ended(Ok(())) => return,
            Next::Ended(Err(error)) => {
                debug!(%error, "connection ended");
                if let Some(trouble) = trouble(&*error, activity) {
                    report.note(trouble, peer);
                }
                return;
            }
            Next::EndGracefully => {
                let now = *ending.insert(Instant::now());
                age.as_mut().reset(now + limits.grace);
                connection.as_mut().graceful_shutdown();
            }
            Next::GraceOver => {
                if !activity.is_idle() {
                    report.note(Trouble::Grace, peer);
                }
                return;
            }
            Next::HeadTimeout => {
                report.note(Trouble::HeadTimeout, peer);
                return;
            }
            Next::Close => {
                connection.as_mut().graceful_shutdown();
                // This sends the final HTTP/2 frames. A request that has just arrived is still
                // served.
                let ended = poll_fn(|cx| Poll::Ready(connection.as_mut().poll(cx))).await;
                if ended.is_ready() || activity.is_idle() {
                    return;
                }
                if ending.is_none() {
                    let now = *ending.insert(Instant::now());
                    age.as_mut().reset(now + limits.grace);
                }
            }
        }
    }
}

/// Returns the log entry for a connection error.
fn trouble(error: &(dyn Error + 'static), activity: &Activity) -> Option<Trouble> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // An I/O error means that the peer closed the connection, which is not logged.
        if error.is::<io::Error>() {
            return None;
        }
        cause = error.source();
    }
    if activity.is_http2() {
        return (!activity.had_request()).then_some(Trouble::Http2);
    }
    let error = error.downcast_ref::<hyper::Error>()?;
    error.is_parse().then(|| {
        if error.is_parse_too_large() {
            Trouble::HeadTooLarge
        } else {
            Trouble::of_malformed_head(&activity.first_bytes())
        }
    })
}

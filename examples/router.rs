//! `cargo run --example router`
//!
//! Receives SoundHash webhooks like the `receiver` example, but with a separate handler for each
//! event type. The handlers share a catalogue of processed videos, in which they look up the titles
//! of matches. All other events are printed.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `SOUNDHASH_WEBHOOK_SECRET` | the endpoint's secret | `whsec_test`, with a warning |
//! | `SOUNDHASH_WEBHOOK_ADDR` | the address to listen on | `127.0.0.1:3000` |
//! | `RUST_LOG` | the filter of the log | `info,h2=error` |

use std::{
    collections::HashMap,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{extract::State, http::StatusCode, routing::post};
use example_program::respond_after;
use soundhash_webhook::{
    Delivery, Event, EventRejection, EventRouter, Id, MatchFound, Payload, VideoProcessed,
};

/// Video titles by id. A real application would use a database.
#[derive(Clone, Default)]
struct Catalogue(Arc<Mutex<HashMap<Id, String>>>);

impl Catalogue {
    fn add(&self, video: Id, title: String) {
        let mut titles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        titles.insert(video, title);
    }

    fn title(&self, video: &Id) -> Option<String> {
        let titles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        titles.get(video).cloned()
    }
}

async fn processed(
    Payload(video): Payload<VideoProcessed>,
    State(catalogue): State<Catalogue>,
) -> StatusCode {
    let line = format!("processed: {:?}", video.title);
    if let (Some(id), Some(title)) = (video.video_id, video.title) {
        catalogue.add(id, title);
    }
    respond_after(line).await
}

async fn found(
    Payload(found): Payload<MatchFound>,
    State(catalogue): State<Catalogue>,
) -> StatusCode {
    let matches = found.matches.into_iter().map(|it| {
        // SoundHash's dispatcher does not send the title, so it may have to be looked up.
        let title = it.title.or_else(|| catalogue.title(&it.video_id));
        let title = title.as_deref().unwrap_or("?");
        format!("{title:?} at {} s", it.start_time)
    });
    let matches: Vec<_> = matches.collect();
    respond_after(format!("found: {}", matches.join(", "))).await
}

/// Prints other events, as well as the bodies of authentic deliveries that cannot be parsed. The
/// latter are accepted too, because if they were rejected, SoundHash would just send the same body
/// again. An accepted delivery does not come again, so its body is printed.
async fn other(event: Result<Event, EventRejection>, delivery: Delivery) -> StatusCode {
    match event {
        Ok(event) => example_program::receive(event).await,
        Err(rejection) => {
            // `Debug` keeps every byte, even if it is not UTF-8.
            let body = delivery.body();
            respond_after(format!("cannot parse {body:?}: {rejection}")).await
        }
    }
}

fn main() -> ExitCode {
    example_program::run_webhook(async {
        let events = EventRouter::new().on(processed).on(found).fallback(other);
        Ok(post(events).with_state(Catalogue::default()))
    })
}

//! The commands that list, create, show, update, delete and test endpoints.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anstyle::Style;
use axum::http::Method;
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use super::secret_file::SecretFile;
use crate::{
    api::{
        Api,
        model::{self, Counts, Endpoint, Tested, read},
    },
    data::{self, Data},
    error::Error,
    event_types,
    output::{
        self, BAD, GOOD, WARNING,
        escape::{self, escape, excerpt},
        table::{self, Cell, cell, lines, number, plain},
    },
    url::parse_id,
};

pub(super) async fn list(api: &Api, is_active: Option<bool>, json: bool) -> Result<bool, Error> {
    let query = is_active.map(|it| [("is_active", if it { "true" } else { "false" })]);
    let response = api.get(&[], query.as_ref().map_or(&[], |it| it)).await?;
    if json {
        output::print_json(&response);
        return Ok(true);
    }
    let endpoints: Vec<Endpoint> = read(&response)?;
    if endpoints.is_empty() {
        output::note("There are no endpoints. `endpoints create` makes one.");
        return Ok(true);
    }
    let rows = endpoints.iter().map(|endpoint| {
        let failed = endpoint.failed_deliveries.unwrap_or(0);
        [
            plain(&endpoint.id),
            plain(&endpoint.url),
            lines(&endpoint.events),
            active(endpoint.is_active),
            number(Style::new(), endpoint.total_deliveries.unwrap_or(0)),
            number(bad_if(failed > 0), failed),
        ]
    });
    table::print("ID|URL|EVENTS|ACTIVE|SENT|FAILED", rows);
    Ok(true)
}

/// Create an endpoint, and get the secret that SoundHash generates for it
#[derive(Args)]
#[command(after_help = help!(
    "\
SoundHash shows the secret only once. Without --secret-file, it is printed.

",
    "  $ soundhash-webhook endpoints create --url https://app.example.com/hooks \\
      --event match.found,video.processed --secret-file soundhash.secret"
))]
pub(super) struct CreateArgs {
    /// The public URL of your server; SoundHash rejects localhost
    #[arg(long)]
    url: String,
    /// An event type to receive, such as match.found; commas separate several
    #[arg(
        long = "event",
        value_name = "TYPE",
        required = true,
        value_delimiter = ','
    )]
    events: Vec<String>,
    #[command(flatten)]
    settings: Settings,
    /// Write the secret to this new file, which only you can read, instead of printing it
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// The settings that `create` sets and `update` changes.
#[derive(Args)]
struct Settings {
    /// What the endpoint is for
    #[arg(long)]
    description: Option<String>,
    /// The maximum number of deliveries per minute, from 1 to 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate_limit: Option<u32>,
    /// Have SoundHash add the headers in FILE to each delivery, one `Name: value` per line
    #[arg(long, value_name = "FILE")]
    headers_file: Option<PathBuf>,
}

impl Settings {
    fn add_to(self, body: &mut Value) -> Result<(), Error> {
        set(body, "description", self.description);
        set(body, "rate_limit_per_minute", self.rate_limit);
        let headers = self.headers_file.as_deref().map(headers).transpose()?;
        set(body, "custom_headers", headers);
        Ok(())
    }
}

/// Sets a member of the request if `value` is given.
fn set(body: &mut Value, member: &str, value: Option<impl Serialize>) {
    if let Some(value) = value {
        body[member] = json!(value);
    }
}

/// Reads custom headers from a file. An error does not reveal their content.
fn headers(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let wrong = |what: String| {
        let path = escape(&path.display().to_string());
        Error::usage(format!("--headers-file {path}: {what}"))
    };
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    (text.lines().enumerate())
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| match line.split_once(':') {
            Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
            None => Err(wrong(format!("line {} is not `Name: value`", index + 1))),
        })
        .collect()
}

pub(super) async fn create(api: &Api, args: CreateArgs, json: bool) -> Result<bool, Error> {
    event_types::warn_of_unknown(&args.events);
    let mut body = json!({ "url": args.url, "events": args.events });
    args.settings.add_to(&mut body)?;
    let file = (args.secret_file.as_deref().map(SecretFile::create)).transpose()?;
    create_from(api, &body, file, json).await?;
    Ok(true)
}

/// Creates an endpoint, prints it, and returns it.
pub(super) async fn create_from(
    api: &Api,
    body: &impl Serialize,
    file: Option<SecretFile>,
    json: bool,
) -> Result<Endpoint, Error> {
    let body = json!(body).to_string();
    let response = api.send(Method::POST, &[], body).await?;
    let endpoint: Endpoint = read(&response).map_err(|error| {
        Error::failed(format!(
            "an endpoint was created, but its id or its secret is lost. Find it with \
             `soundhash-webhook endpoints list`, delete it, and create it again: {error}"
        ))
    })?;
    let shown = print_created(&response, &endpoint, file, json).await;
    shown.map_err(|error| {
        let id = &endpoint.id;
        Error::failed(format!(
            "endpoint {id} was created, but its secret is lost. Delete the endpoint with \
             `soundhash-webhook endpoints delete {id}`, and create it again: {error}"
        ))
    })?;
    Ok(endpoint)
}

async fn print_created(
    response: &[u8],
    endpoint: &Endpoint,
    file: Option<SecretFile>,
    json: bool,
) -> Result<(), Error> {
    let secret = endpoint.secret.clone();
    let is_printed = file.is_none();
    let mut shown = secret.ok_or_else(|| Error::failed("the API did not send it"))?;
    let mut members: BTreeMap<&str, &RawValue> = read(response)?;
    if let Some(mut file) = file {
        let path = file.path();
        (file.write(&shown))
            .map_err(|error| Error::failed(format!("cannot write to {path}: {error}")))?;
        members.remove("secret");
        shown = format!("written to {path}");
    }
    if json {
        output::line(escape::json(&members));
    } else {
        table::print_fields(&[
            ("id", plain(&endpoint.id)),
            ("url", plain(&endpoint.url)),
            ("events", lines(&endpoint.events)),
            ("secret", plain(shown)),
        ]);
    }
    output::note("Keep the secret: SoundHash does not show it again.");
    if is_printed {
        // An output that nothing reads is an error here, because it has the secret.
        output::finish().await?;
    }
    Ok(())
}

pub(super) async fn show(api: &Api, id: &str, json: bool) -> Result<bool, Error> {
    print(&api.get(&[id], &[]).await?, json)
}

/// Prints an endpoint as JSON, or as names and values.
fn print(response: &[u8], json: bool) -> Result<bool, Error> {
    if json {
        output::print_json(response);
        return Ok(true);
    }
    let endpoint: Endpoint = read(response)?;
    // The values are not shown, because they can be credentials.
    let headers = endpoint.custom_headers.unwrap_or_default();
    let headers = headers.keys().map(|name| format!("{name}: (hidden)"));
    let headers: Vec<_> = headers.collect();
    let headers = match headers.is_empty() {
        true => plain("none"),
        false => lines(&headers),
    };
    let limit = endpoint.rate_limit_per_minute;
    let limit = limit.map_or_else(|| "none".to_owned(), |limit| format!("{limit} per minute"));
    let created = model::time(endpoint.created_at.as_deref());
    let mut fields = vec![
        ("id", plain(&endpoint.id)),
        ("url", plain(&endpoint.url)),
        (
            "description",
            plain(endpoint.description.unwrap_or_default()),
        ),
        ("events", lines(&endpoint.events)),
        ("active", active(endpoint.is_active)),
        ("rate limit", plain(limit)),
        ("headers", headers),
        ("created", plain(created)),
    ];
    fields.extend(counts(&read(response)?));
    table::print_fields(&fields);
    Ok(true)
}

/// Change an endpoint; omitted settings stay the same
#[derive(Args)]
#[command(after_help = help!(
    "\
The secret of an endpoint cannot be changed: see `endpoints rotate`.

",
    "  $ soundhash-webhook endpoints update 7 --inactive
  $ soundhash-webhook endpoints update 7 --event match.found,job.failed"
))]
pub(super) struct UpdateArgs {
    /// The endpoint
    #[arg(value_parser = parse_id)]
    id: String,
    /// The new public URL
    #[arg(long)]
    url: Option<String>,
    /// An event type to receive, instead of the current types; commas separate several
    #[arg(long = "event", value_name = "TYPE", value_delimiter = ',')]
    events: Vec<String>,
    #[command(flatten)]
    settings: Settings,
    /// Switch the endpoint on
    #[arg(long, conflicts_with = "inactive")]
    active: bool,
    /// Switch the endpoint off; SoundHash does not send missed events later
    #[arg(long)]
    inactive: bool,
}

pub(super) async fn update(api: &Api, args: UpdateArgs, json: bool) -> Result<bool, Error> {
    event_types::warn_of_unknown(&args.events);
    let mut body = json!({});
    set(&mut body, "url", args.url);
    let events = Some(args.events).filter(|events| !events.is_empty());
    set(&mut body, "events", events);
    let is_active = (args.active || args.inactive).then_some(args.active);
    set(&mut body, "is_active", is_active);
    args.settings.add_to(&mut body)?;
    if body == json!({}) {
        return Err(Error::usage(
            "nothing to change: give at least one option, such as --inactive (see --help)",
        ));
    }
    let response = api.send(Method::PATCH, &[&args.id], body.to_string()).await;
    print(&response?, json)
}

pub(super) async fn delete(api: &Api, id: &str, yes: bool, json: bool) -> Result<bool, Error> {
    if !yes {
        output::require_terminal("delete the endpoint")?;
        let endpoint: Endpoint = read(&api.get(&[id], &[]).await?)?;
        let url = escape(&endpoint.url);
        let question = format!("Delete endpoint {id} ({url}) and its log of deliveries?");
        if !output::confirm(&question).await? {
            output::note("Nothing was deleted.");
            return Ok(false);
        }
    }
    api.delete(id).await?;
    if json {
        output::line(json!({ "id": id, "deleted": true }));
    } else {
        output::note(format_args!("Endpoint {id} is deleted."));
    }
    Ok(true)
}

pub(super) async fn test(
    api: &Api,
    id: &str,
    event: String,
    data: Option<Data>,
    json: bool,
) -> Result<bool, Error> {
    let mut body = json!({ "event_type": event });
    event_types::warn_of_unknown(&[event]);
    if data.is_some() {
        body["test_data"] = json!(data::PLACEHOLDER);
    }
    let body = body.to_string();
    let body = data.map_or(body.clone(), |data| data.fill(&body));
    let response = api.send(Method::POST, &[id, "test"], body).await?;
    let tested: Tested = read(&response)?;
    if json {
        output::print_json(&response);
        return Ok(tested.success);
    }
    let result = match tested.success {
        true => cell(GOOD, "accepted"),
        false => cell(BAD, "not accepted"),
    };
    let mut fields = vec![("result", result)];
    let body = tested.response_body.filter(|body| !body.is_empty());
    for (name, text) in [
        ("status", tested.status_code.map(|code| code.to_string())),
        ("duration", tested.duration_ms.map(|ms| format!("{ms} ms"))),
        ("error", tested.error_message.map(|it| excerpt(&it, 500))),
        ("response", body.map(|it| excerpt(&it, 1000))),
    ] {
        fields.extend(text.map(|text| (name, plain(text))));
    }
    table::print_fields(&fields);
    if tested.status_code == Some(401) {
        output::note(
            "Your server rejected the signature. Check that it has the secret of this endpoint, \
             and not another secret.",
        );
    }
    Ok(tested.success)
}

pub(super) async fn stats(api: &Api, id: &str, json: bool) -> Result<bool, Error> {
    let response = api.get(&[id, "stats"], &[]).await?;
    if json {
        output::print_json(&response);
        return Ok(true);
    }
    table::print_fields(&counts(&read(&response)?));
    Ok(true)
}

fn counts(counts: &Counts) -> Vec<(&'static str, Cell)> {
    let failed = counts.failed_deliveries.unwrap_or(0);
    let time = |time: &Option<String>| plain(model::time(time.as_deref()));
    let mut fields = vec![
        ("deliveries", plain(counts.total_deliveries.unwrap_or(0))),
        ("accepted", plain(counts.successful_deliveries.unwrap_or(0))),
        ("failed", cell(bad_if(failed > 0), failed)),
        ("last delivery", time(&counts.last_delivery_at)),
        ("last accepted", time(&counts.last_success_at)),
        ("last failure", time(&counts.last_failure_at)),
    ];
    for (name, value, unit) in [
        (
            "success rate",
            counts.success_rate.map(|it| format!("{it:.1}")),
            "%",
        ),
        (
            "average response",
            counts.average_response_time_ms.map(|it| format!("{it:.0}")),
            "ms",
        ),
    ] {
        fields.extend(value.map(|value| (name, plain(format!("{value} {unit}")))));
    }
    fields
}

fn bad_if(is_bad: bool) -> Style {
    if is_bad { BAD } else { Style::new() }
}

fn active(is_active: Option<bool>) -> Cell {
    match is_active {
        Some(false) => cell(WARNING, "no"),
        _ => cell(GOOD, "yes"),
    }
}

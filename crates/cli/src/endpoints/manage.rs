//! The commands that list, create, show, update, delete and test endpoints.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anstyle::Style;
use clap::Args;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{parse_id, print_json, secret_file::SecretFile};
use crate::{
    api::{
        Api,
        model::{self, Counts, Endpoint, Stats, Tested},
    },
    data::{self, Data},
    error::Error,
    event_types,
    output::{
        self, BAD, GOOD, WARNING,
        escape::{escape, excerpt, pretty_json},
        table::{self, Cell, cell, lines, number, plain},
    },
};

/// List your endpoints
#[derive(Args)]
#[command(after_help = help!("", "  $ soundhash-webhook endpoints list
  $ soundhash-webhook endpoints list --inactive --json"))]
pub(super) struct ListArgs {
    /// Only endpoints that receive events
    #[arg(long, conflicts_with = "inactive")]
    active: bool,
    /// Only endpoints that are switched off
    #[arg(long)]
    inactive: bool,
}

pub(super) async fn list(api: &Api, args: &ListArgs, json: bool) -> Result<bool, Error> {
    let query: &[_] = match (args.active, args.inactive) {
        (true, _) => &[("is_active", "true")],
        (_, true) => &[("is_active", "false")],
        _ => &[],
    };
    let response = api.get(&[], query).await?;
    if json {
        return print_json(&response);
    }
    let endpoints: Vec<Endpoint> = model::read(&response)?;
    if endpoints.is_empty() {
        output::note("There are no endpoints. `endpoints create` makes one.");
        return Ok(true);
    }
    let rows: Vec<_> = (endpoints.iter())
        .map(|endpoint| {
            let failed = endpoint.counts.failed_deliveries.unwrap_or(0);
            let sent = endpoint.counts.total_deliveries.unwrap_or(0);
            [
                plain(&endpoint.id),
                plain(&endpoint.url),
                lines(&endpoint.events),
                active(endpoint.is_active),
                number(Style::new(), sent),
                number(bad_if(failed > 0), failed),
            ]
        })
        .collect();
    table::print(["ID", "URL", "EVENTS", "ACTIVE", "SENT", "FAILED"], &rows)?;
    Ok(true)
}

/// Create an endpoint, and get the secret that SoundHash makes for it
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
    /// A type of event to receive, such as match.found; commas separate several
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
    /// The most deliveries per minute, from 1 to 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate_limit: Option<u32>,
    /// Let SoundHash add the headers in FILE to each delivery, one `Name: value` per line
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

/// Sets a member of the request, if there is a value.
fn set(body: &mut Value, member: &str, value: Option<impl Serialize>) {
    if let Some(value) = value {
        body[member] = json!(value);
    }
}

/// Reads custom headers. The error does not show the headers.
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
    body: &Value,
    file: Option<SecretFile>,
    json: bool,
) -> Result<Endpoint, Error> {
    let mut response = api.post(&[], &body.to_string()).await?;
    let endpoint: Endpoint = model::read(&response)?;
    let printed = print_created(&mut response, &endpoint, file, json);
    printed.map_err(|error| {
        let id = &endpoint.id;
        Error::failed(format!(
            "endpoint {id} was created, but its secret is lost: {error}. Delete the endpoint with \
             `soundhash-webhook endpoints delete {id}` and create it again."
        ))
    })?;
    Ok(endpoint)
}

fn print_created(
    response: &mut Value,
    endpoint: &Endpoint,
    file: Option<SecretFile>,
    json: bool,
) -> Result<(), Error> {
    let secret = response["secret"].as_str().map(str::to_owned);
    let mut place = secret.ok_or_else(|| Error::failed("the API did not send it"))?;
    if let Some(mut file) = file {
        let path = file.path();
        (file.write(&place))
            .map_err(|error| Error::failed(format!("cannot write to {path}: {error}")))?;
        if let Some(members) = response.as_object_mut() {
            members.remove("secret");
        }
        place = format!("written to {path}");
    }
    if json {
        output::line(pretty_json(response))?;
    } else {
        table::print_fields(&[
            ("id", plain(&endpoint.id)),
            ("url", plain(&endpoint.url)),
            ("events", lines(&endpoint.events)),
            ("secret", plain(place)),
        ])?;
    }
    output::note("Keep the secret: SoundHash does not show it again.");
    Ok(())
}

/// Show one endpoint
#[derive(Args)]
#[command(after_help = help!("", "  $ soundhash-webhook endpoints show 7"))]
pub(super) struct ShowArgs {
    /// The endpoint
    #[arg(value_parser = parse_id)]
    id: String,
}

pub(super) async fn show(api: &Api, args: &ShowArgs, json: bool) -> Result<bool, Error> {
    print(&api.get(&[&args.id], &[]).await?, json, fields)
}

/// Prints a response as JSON, or as names and values.
fn print<T: DeserializeOwned>(
    response: &Value,
    json: bool,
    fields: impl FnOnce(T) -> Vec<(&'static str, Cell)>,
) -> Result<bool, Error> {
    if json {
        return print_json(response);
    }
    table::print_fields(&fields(model::read(response)?))?;
    Ok(true)
}

fn fields(endpoint: Endpoint) -> Vec<(&'static str, Cell)> {
    // The values can be credentials.
    let headers = endpoint.custom_headers.unwrap_or_default();
    let headers = headers.keys().map(|name| format!("{name}: (hidden)"));
    let headers: Vec<_> = headers.collect();
    let headers = match headers.is_empty() {
        true => plain("none"),
        false => lines(&headers),
    };
    let description = endpoint.description.unwrap_or_default();
    let created = model::time(endpoint.created_at.as_deref());
    let limit = endpoint.rate_limit_per_minute;
    let limit = limit.map_or_else(|| "none".to_owned(), |limit| format!("{limit} per minute"));
    let mut fields = vec![
        ("id", plain(&endpoint.id)),
        ("url", plain(&endpoint.url)),
        ("description", plain(description)),
        ("events", lines(&endpoint.events)),
        ("active", active(endpoint.is_active)),
        ("rate limit", plain(limit)),
        ("headers", headers),
        ("created", plain(created)),
    ];
    fields.extend(counts(&endpoint.counts));
    fields
}

/// Change an endpoint; settings that you do not give stay the same
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
    /// A type of event to receive, instead of the current types; commas separate several
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
    print(&api.patch(&args.id, &body).await?, json, fields)
}

/// Delete an endpoint and its log of deliveries
#[derive(Args)]
#[command(after_help = help!("", "  $ soundhash-webhook endpoints delete 7
  $ soundhash-webhook endpoints delete 7 --yes"))]
pub(super) struct DeleteArgs {
    /// The endpoint
    #[arg(value_parser = parse_id)]
    id: String,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
}

pub(super) async fn delete(api: &Api, args: &DeleteArgs, json: bool) -> Result<bool, Error> {
    let id = &args.id;
    if !args.yes {
        output::require_terminal("delete the endpoint")?;
        let endpoint: Endpoint = model::read(&api.get(&[id], &[]).await?)?;
        let url = escape(&endpoint.url);
        let question = format!("Delete endpoint {id} ({url}) and its log of deliveries?");
        if !output::confirm(&question).await? {
            output::note("Nothing was deleted.");
            return Ok(false);
        }
    }
    api.delete(id).await?;
    if json {
        return print_json(&json!({ "id": id, "deleted": true }));
    }
    output::note(format_args!("Endpoint {id} is deleted."));
    Ok(true)
}

/// Let SoundHash send a test event to an endpoint
#[derive(Args)]
#[command(after_help = help!(
    "",
    "  $ soundhash-webhook endpoints test 7
  $ soundhash-webhook endpoints test 7 --event job.failed --data '{\"job_id\": 1}'

Exit status: 0 the endpoint accepted the event, 1 it did not, 2 wrong usage"
))]
pub(super) struct TestArgs {
    /// The endpoint
    #[arg(value_parser = parse_id)]
    id: String,
    /// The type of the event, which can be any text
    #[arg(long, value_name = "TYPE", default_value = "match.found")]
    event: String,
    /// The payload, a JSON object; @FILE reads it from a file
    #[arg(long, value_name = "JSON")]
    data: Option<Data>,
}

pub(super) async fn test(api: &Api, args: TestArgs, json: bool) -> Result<bool, Error> {
    event_types::warn_of_unknown(std::slice::from_ref(&args.event));
    let mut body = json!({ "event_type": args.event });
    if args.data.is_some() {
        body["test_data"] = json!(data::PLACEHOLDER);
    }
    let mut body = body.to_string();
    if let Some(data) = args.data {
        body = data.fill(&body);
    }
    let response = api.post(&[&args.id, "test"], &body).await?;
    let tested: Tested = model::read(&response)?;
    if json {
        output::line(pretty_json(&response))?;
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
    table::print_fields(&fields)?;
    if tested.status_code == Some(401) {
        output::note(
            "Your server rejected the signature. Check that it has the secret of this endpoint, \
             and not another secret.",
        );
    }
    Ok(tested.success)
}

/// Show how many deliveries an endpoint accepted
#[derive(Args)]
#[command(after_help = help!("", "  $ soundhash-webhook endpoints stats 7
  $ soundhash-webhook endpoints stats 7 --json"))]
pub(super) struct StatsArgs {
    /// The endpoint
    #[arg(value_parser = parse_id)]
    id: String,
}

pub(super) async fn stats(api: &Api, args: &StatsArgs, json: bool) -> Result<bool, Error> {
    let response = api.get(&[&args.id, "stats"], &[]).await?;
    print(&response, json, |stats: Stats| {
        let mut fields = counts(&stats.counts);
        let rate = stats.success_rate.map(|rate| format!("{rate:.1} %"));
        fields.extend(rate.map(|rate| ("success rate", plain(rate))));
        let time = stats.average_response_time_ms;
        fields.extend(time.map(|ms| ("average response", plain(format!("{ms:.0} ms")))));
        fields
    })
}

fn counts(counts: &Counts) -> Vec<(&'static str, Cell)> {
    let failed = counts.failed_deliveries.unwrap_or(0);
    let time = |time: &Option<String>| plain(model::time(time.as_deref()));
    vec![
        ("deliveries", plain(counts.total_deliveries.unwrap_or(0))),
        ("accepted", plain(counts.successful_deliveries.unwrap_or(0))),
        ("failed", cell(bad_if(failed > 0), failed)),
        ("last delivery", time(&counts.last_delivery_at)),
        ("last accepted", time(&counts.last_success_at)),
        ("last failure", time(&counts.last_failure_at)),
    ]
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

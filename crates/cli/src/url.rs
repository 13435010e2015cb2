//! Parses URLs, addresses, times and durations in arguments.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::http::Uri;
use jiff::{Span, Timestamp, ZonedDateTime, civil::DateTime, tz::TimeZone};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// The URL that `send` and `listen` use unless another one is given.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:3000/webhooks/soundhash";

/// Characters that people type in URLs although they must be percent-encoded.
const UNENCODED: &AsciiSet = &CONTROLS.add(b' ');

/// Parses the URL of a server.
pub(crate) fn parse_url(text: &str) -> Result<Uri, String> {
    let text = text.trim();
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err("not a URL that starts with http:// or https://".to_owned());
    }
    let url: Uri = utf8_percent_encode(text, UNENCODED)
        .to_string()
        .parse()
        .map_err(|error| format!("not a URL: {error}"))?;
    let authority = url.authority().map_or("", |it| it.as_str());
    if authority.contains('@') {
        return Err("has a user name or a password, which are not sent".to_owned());
    }
    // The URL parser accepts an invalid port, so the port is checked separately.
    let port = authority.strip_prefix(url.host().unwrap_or_default());
    match port.and_then(|port| port.strip_prefix(':')) {
        Some(port) if !port.parse().is_ok_and(|port: u16| port > 0) => {
            Err("not a URL: the port has to be a number from 1 to 65535".to_owned())
        }
        _ => Ok(url),
    }
}

/// Parses an endpoint id, which must be safe to use in a URL path.
pub(crate) fn parse_id(text: &str) -> Result<String, String> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !text.is_empty() && text.bytes().all(is_part) {
        Ok(text.to_owned())
    } else {
        Err("not an id; `endpoints list` shows the ids".to_owned())
    }
}

/// Resolves the target of a redirect against the URL that returned it.
pub(crate) fn join(base: &Uri, target: &str) -> Result<Uri, String> {
    let scheme = base.scheme_str().unwrap_or("http");
    let authority = base.authority().map_or("", |it| it.as_str());
    let target = target.split('#').next().unwrap_or_default();
    let url = if target.starts_with("http://") || target.starts_with("https://") {
        target.to_owned()
    } else if target.starts_with("//") {
        format!("{scheme}:{target}")
    } else if target.starts_with('/') {
        format!("{scheme}://{authority}{target}")
    } else if target.split(['/', '?']).take(1).any(|it| it.contains(':')) {
        return Err("it is not an HTTP URL".to_owned());
    } else {
        let folder = base.path().rsplit_once('/');
        let folder = folder.map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{target}")
    };
    parse_url(&url)
}

/// Returns the host of a URL, without IPv6 brackets, and its port.
pub(crate) fn host_and_port(url: &Uri) -> (&str, u16) {
    let is_https = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let host = url.host().unwrap_or_default();
    (host.trim_matches(['[', ']']), port)
}

/// Parses an address to listen on. A port alone means that port on localhost.
pub(crate) fn parse_addr(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix("localhost").unwrap_or(text);
    let port = port.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse()
        .map_err(|_| "not an address such as 127.0.0.1:3000, and not a port".to_owned())
}

/// Parses a positive number of seconds, which may have a fractional part.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "not a number of seconds greater than 0".to_owned())
}

/// Parses a time, given either as a date and time or as an age such as `2d`.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    let now = ZonedDateTime::now();
    let parsed = text.parse::<Timestamp>().or_else(|_| {
        let time: DateTime = text.parse()?;
        Ok(time.to_zoned_datetime(TimeZone::system())?.timestamp())
    });
    let parsed = parsed.or_else(|_: jiff::Error| {
        let age: Span = text.parse()?;
        now.checked_sub(age).map(|time| time.timestamp())
    });
    parsed
        .map_err(|_| "not an age such as 90m or 2d, and not a time such as 2026-11-29T08:00".into())
}

/// Formats a duration in milliseconds, or in seconds if it is long.
pub(crate) fn milliseconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 0.1 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 10.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{seconds:.1} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_of_a_redirect_is_resolved() {
        let base = parse_url("http://a.example:8080/hooks/in?x=1").unwrap();
        for (target, url) in [
            ("https://b.example/", "https://b.example/"),
            ("//b.example/x", "http://b.example/x"),
            ("/login?next=a#top", "http://a.example:8080/login?next=a"),
            ("in/", "http://a.example:8080/hooks/in/"),
        ] {
            assert_eq!(join(&base, target).unwrap().to_string(), url);
        }
        join(&base, "mailto:a@b.example").unwrap_err();
    }

    #[test]
    fn a_port_is_an_address() {
        for text in ["3000", ":3000", "localhost:3000", "127.0.0.1:3000"] {
            assert_eq!(parse_addr(text).unwrap().to_string(), "127.0.0.1:3000");
        }
        parse_addr("here").unwrap_err();
    }
}

//! Checks the connection to the receiver: its address, its certificate, redirects, and HTTP/2.

use std::net::IpAddr;

use axum::http::{StatusCode, Uri, Version};
use jiff::Timestamp;
use rustls::{CertificateError, pki_types::UnixTime};
use soundhash_webhook::Sender;
use tokio::net::lookup_host;

use super::{
    probe::Receiver,
    report::{
        Check,
        Verdict::{Failed, Warning},
    },
    response::judge,
};
use crate::{
    http::{Client, NoResponse},
    output::escape::excerpt,
    send::attempts::Delivered,
    url::host_and_port,
};

/// Automatic renewal replaces a certificate while it still has more than this many days left.
const RENEWAL_DAYS: u64 = 14;

/// Looks up the host's address.
pub(super) async fn address(client: &Client, url: &Uri) -> Check {
    let name = "address";
    if let Some(proxy) = client.proxy_name(url) {
        return Check::ok(name, format!("looked up by the proxy {proxy}"));
    }
    let (host, port) = host_and_port(url);
    let addresses: Vec<_> = match lookup_host((host, port)).await {
        Ok(addresses) => addresses.map(|it| it.ip()).collect(),
        Err(error) => {
            let seen = format!("{host} cannot be resolved: {error}");
            let cure = "Check the spelling of the host, and its A and AAAA records.";
            return Check::new(Failed, name, seen, cure);
        }
    };
    let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let shown = shown.join(", ");
    match addresses.iter().any(|it| is_private(*it)) {
        true => Check::new(
            Warning,
            name,
            shown + ", not public",
            "SoundHash cannot reach this address. Before you go live, check the public URL, from \
             outside of your network.",
        ),
        false => Check::ok(name, shown),
    }
}

fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(it) => it.is_loopback() || it.is_private() || it.is_link_local(),
        IpAddr::V6(it) => it.is_loopback() || it.is_unique_local() || it.is_unicast_link_local(),
    }
}

/// Connects, and checks the certificate. Returns an error if the connection fails.
pub(super) async fn connection(
    client: &Client,
    url: &Uri,
    is_public: bool,
) -> Result<Check, Check> {
    let end = match client.certificate_end(url).await {
        Err(NoResponse::Unreachable {
            certificate: Some(error),
            cause,
            ..
        }) => return Ok(wrong_certificate(&error, cause)),
        Err(error) => {
            let cure = "Check that the application or its proxy listens on this port, and that no \
                        firewall blocks it.";
            let seen = error.to_string();
            return Err(Check::new(Failed, "connection", seen, cure));
        }
        Ok(end) => end,
    };
    if url.scheme_str() == Some("http") {
        let cure = "Others can read and replay the events on their way. Register an https URL.";
        return Ok(match is_public {
            true => Check::new(Warning, "connection", "HTTP without TLS", cure),
            false => Check::ok("connection", "HTTP without TLS"),
        });
    }
    let Some(end) = end else {
        return Ok(Check::ok("certificate", "valid"));
    };
    Ok(validity(end, UnixTime::now()))
}

fn validity(end: UnixTime, now: UnixTime) -> Check {
    let days = end.as_secs().saturating_sub(now.as_secs()) / (24 * 60 * 60);
    let seen = format!("valid until {}, in {days} days", date(end));
    let cure = "Renew the certificate. Without it, SoundHash delivers nothing, and your \
                application does not notice.";
    match days < RENEWAL_DAYS {
        true => Check::new(Warning, "certificate", seen, cure),
        false => Check::ok("certificate", seen),
    }
}

fn wrong_certificate(error: &CertificateError, cause: String) -> Check {
    use CertificateError as E;

    let (seen, cure) = match error {
        E::ExpiredContext { not_after, .. } => (
            format!("expired on {}", date(*not_after)),
            "Renew the certificate, and check that the server has loaded the new one.",
        ),
        E::NotValidForName | E::NotValidForNameContext { .. } => (
            "issued for another host name".to_owned(),
            "Get a certificate for the host of this URL, or register a URL with its host.",
        ),
        E::UnknownIssuer => (
            "issued by an authority that this machine does not trust".to_owned(),
            "Use a certificate of a public authority, and serve its whole chain (`fullchain.pem`).",
        ),
        _ => (cause, "Replace the certificate."),
    };
    Check::new(Failed, "certificate", seen, cure)
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    time.strftime("%Y-%m-%d").to_string()
}

/// Checks the redirects, including a final one that was not followed.
pub(super) fn redirects(delivered: &Delivered) -> Check {
    let name = "redirects";
    let hop = |status: StatusCode, to: &str| format!("{} to {}", status.as_u16(), excerpt(to, 200));
    let hops = delivered.redirects.iter();
    let mut hops: Vec<_> = hops.map(|it| hop(it.status, &it.location)).collect();
    if let Ok(response) = &delivered.result
        && let Some(location) = response.location()
    {
        hops.push(hop(response.status, &location));
        let seen = hops.join("; ") + ", which no sender follows";
        let cure = "SoundHash records a failure. Register a URL that responds without a redirect.";
        return Check::new(Failed, name, seen, cure);
    }
    if hops.is_empty() {
        return Check::ok(name, "none");
    }
    let last = match &delivered.result {
        Ok(response) => response.status.to_string(),
        Err(error) => error.to_string(),
    };
    let seen = |arrived| format!("{}; there, {arrived} gets {last}", hops.join("; "));
    match delivered.is_lost() {
        true => Check::new(
            Failed,
            name,
            seen("a GET without the event"),
            "SoundHash records this last response, and the event is lost. Register a URL that \
             responds without a redirect. Usual causes are http instead of https, an extra or \
             missing `www.` or trailing slash, and a login in front.",
        ),
        false => Check::new(
            Warning,
            name,
            seen("the event"),
            "Nothing is lost today. Register the last URL, because the redirect may change.",
        ),
    }
}

/// Sends an event over HTTP/2 if the server offers it.
pub(super) async fn http2(receiver: &mut Receiver) -> Check {
    receiver.client.offer_http2();
    let result = receiver.send(&receiver.event(Sender::Dispatcher)).await;
    match &result {
        Ok(response) if response.version != Version::HTTP_2 => Check::ok(
            "HTTP/2",
            "not offered, and not needed: SoundHash uses HTTP/1.1",
        ),
        _ => judge("HTTP/2", &result, "").at_most_warning(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_certificate_that_was_not_renewed_is_a_warning() {
        let day = |day: u64| UnixTime::since_unix_epoch(Duration::from_secs(day * 24 * 60 * 60));
        for (days, is_ok) in [(0, false), (13, false), (14, true)] {
            assert_eq!(validity(day(20_000 + days), day(20_000)).is_ok(), is_ok);
        }
    }
}

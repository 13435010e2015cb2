//! Protects the page: checks the host and the token, and adds security headers.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};

use crate::random;

const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// Adds the headers that protect the page from other sites.
pub(super) async fn add_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Accepts only requests for this machine's own names. This prevents DNS rebinding, in which an
/// attacker's domain name resolves to this machine to bypass the browser's same-origin policy.
pub(super) async fn check_host(request: Request, next: Next) -> Response {
    if is_loopback(request.headers(), request.uri()) {
        return next.run(request).await;
    }
    let text = "The inspector accepts requests for localhost only.\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

fn is_loopback(headers: &HeaderMap, uri: &Uri) -> bool {
    let mut values = headers.get_all(header::HOST).iter();
    let authority = match (uri.authority(), values.next(), values.next()) {
        (Some(authority), _, None) => Some(authority.as_str()),
        (None, Some(host), None) => host.to_str().ok(),
        _ => None,
    };
    authority.is_some_and(is_loopback_authority)
}

/// Parses the entire text strictly, because URL parsers disagree about unusual authorities.
fn is_loopback_authority(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    if let Some(port) = text.strip_prefix("localhost") {
        return port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    }
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let ip = match (text.parse(), bare) {
        (Ok(addr), _) => SocketAddr::ip(&addr),
        (Err(_), Some(v6)) => v6.parse().map_or(IpAddr::from([0; 4]), IpAddr::V6),
        (Err(_), None) => text.parse().map_or(IpAddr::from([0; 4]), IpAddr::V4),
    };
    ip.is_loopback()
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

const COOKIE: &str = "soundhash_inspector";

/// The path and the token that give a browser access to the page.
///
/// Browsers send a cookie to every port on a host, so another server on this machine could receive
/// it. The cookie is therefore only valid below a random path that other servers do not know.
#[derive(Clone)]
pub(super) struct Access {
    /// The token in the printed URL and in the cookie.
    pub(super) token: Arc<str>,
    /// The path of the page, with a leading slash.
    path: Arc<str>,
}

impl Access {
    pub(super) fn random() -> Self {
        Self {
            token: random::token().into(),
            path: format!("/{}", random::token()).into(),
        }
    }

    fn is_token(&self, given: &str) -> bool {
        let differences =
            (self.token.bytes().zip(given.bytes())).fold(0, |all, (a, b)| all | (a ^ b));
        self.token.len() == given.len() && differences == 0
    }

    fn is_in_cookie(&self, headers: &HeaderMap) -> bool {
        let values = headers.get_all(header::COOKIE).iter();
        let cookies = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|it| it.split(';'));
        let mut cookies = cookies.filter_map(|cookie| cookie.trim().split_once('='));
        cookies.any(|(name, value)| name == COOKIE && self.is_token(value))
    }

    /// Makes a page accessible only with the token.
    pub(super) fn guard(self, page: Router) -> Router {
        let page = page.layer(from_fn_with_state(self.clone(), check_cookie));
        let path = self.path.clone();
        Router::new()
            .route("/", get(enter))
            .with_state(self)
            .nest(&path, page)
            .fallback(async || unauthorized())
    }
}

/// Moves the token from the URL into a cookie, which does not appear in the address bar or the
/// history.
///
/// The response is a small page that continues by itself. After a redirect, a browser would not send
/// the cookie if the user opened the URL from another site, such as a web terminal, because
/// `SameSite=Strict` considers where a chain of redirects began.
async fn enter(State(access): State<Access>, uri: Uri) -> Response {
    let mut fields = uri.query().unwrap_or_default().split('&');
    let given = fields.find_map(|field| field.strip_prefix("token="));
    if !given.is_some_and(|given| access.is_token(given)) {
        return unauthorized();
    }
    let Access { token, path } = access;
    let cookie = format!("{COOKIE}={token}; HttpOnly; SameSite=Strict; Path={path}");
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>SoundHash inspector</title>\
         <meta name=color-scheme content='light dark'>\
         <link rel=icon href='{path}/favicon.svg'>\
         <meta http-equiv=refresh content='0; url={path}'><a href='{path}'>Continue</a>"
    );
    ([(header::SET_COOKIE, cookie)], Html(html)).into_response()
}

async fn check_cookie(State(access): State<Access>, request: Request, next: Next) -> Response {
    if access.is_in_cookie(request.headers()) {
        return next.run(request).await;
    }
    unauthorized()
}

fn unauthorized() -> Response {
    let text = "The token is missing. Open the address that the application printed when it \
                started: it ends with `?token=` and the token.\n";
    (StatusCode::UNAUTHORIZED, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack: DNS rebinding with names that another parser may interpret differently.
    #[test]
    fn only_names_of_this_machine_are_loopback() {
        let own = "localhost LOCALHOST:4040 127.0.0.1 127.1.2.3:4040 [::1] [::1]:4040";
        for host in own.split(' ') {
            assert!(is_loopback_authority(host), "{host}");
        }
        let others = "localhost.attacker.example localhost:attacker.example localhost: \
                      localhost:+80 localhost:99999 x@localhost 127.0.0.1.attacker.example:4040 \
                      127.0.0.1:x 0.0.0.0 192.168.1.1:4040 [::1].attacker.example [::1]x \
                      [127.0.0.1] ::1 [::2]";
        for host in others.split(' ').chain([""]) {
            assert!(!is_loopback_authority(host), "{host}");
        }
    }
}

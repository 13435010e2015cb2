//! Access to the page: host, token and headers.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};

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

/// Adds the headers that keep other sites out.
pub(super) async fn add_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Answers only requests for names of this machine. This prevents DNS rebinding, in which the name
/// of an attacker's site points to this machine to evade the browser's same-origin policy.
pub(super) async fn check_host(request: Request, next: Next) -> Response {
    match host(request.headers(), request.uri()) {
        Some(host) if is_loopback(&host) => next.run(request).await,
        _ => (
            StatusCode::FORBIDDEN,
            "The inspector answers at localhost only.\n",
        )
            .into_response(),
    }
}

/// Returns the host of a request, without its port.
fn host(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let mut values = headers.get_all(header::HOST).iter();
    let authority = match (uri.authority(), values.next(), values.next()) {
        (Some(authority), _, None) => authority.clone(),
        (None, Some(host), None) => host.to_str().ok()?.parse().ok()?,
        _ => return None,
    };
    Some(authority.host().to_ascii_lowercase())
}

fn is_loopback(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || ip
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// The token of a server, and the cookie that has it.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) value: Arc<str>,
    /// Contains the port, because browsers send a cookie to all ports of a host.
    pub(crate) cookie: Arc<str>,
}

impl Token {
    fn is(&self, given: &str) -> bool {
        let differences =
            (self.value.bytes().zip(given.bytes())).fold(0, |all, (a, b)| all | (a ^ b));
        self.value.len() == given.len() && differences == 0
    }

    fn is_in_cookie(&self, headers: &HeaderMap) -> bool {
        let values = headers.get_all(header::COOKIE).iter();
        let cookies = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|it| it.split(';'));
        let mut cookies = cookies.filter_map(|cookie| cookie.trim().split_once('='));
        cookies.any(|(name, value)| name == &*self.cookie && self.is(value))
    }

    fn is_in_query(&self, uri: &Uri) -> bool {
        let mut fields = uri.query().unwrap_or_default().split('&');
        fields.any(|field| field.strip_prefix("token=").is_some_and(|it| self.is(it)))
    }
}

/// Checks the token, which comes from the URL in the first request and from a cookie in later ones.
pub(super) async fn check_token(
    State(token): State<Token>,
    request: Request,
    next: Next,
) -> Response {
    if request.uri().path() == "/" && token.is_in_query(request.uri()) {
        // The redirect keeps the token out of the address bar and the history.
        let cookie = format!(
            "{}={}; HttpOnly; SameSite=Strict; Path=/",
            token.cookie, token.value
        );
        return ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response();
    }
    if token.is_in_cookie(request.headers()) {
        return next.run(request).await;
    }
    let text = "The token is missing. Open the address that the application printed when it \
                started: it ends with `?token=` and the token.\n";
    (StatusCode::UNAUTHORIZED, text).into_response()
}

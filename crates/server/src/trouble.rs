//! The connection errors that a server logs, with their likely causes.

use crate::limits::Limits;

/// The PROXY protocol signatures, versions 1 and 2.
const PROXY: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];

/// The first bytes of a TLS handshake, in any TLS version.
const TLS: &[u8] = &[0x16, 0x03];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The system could not accept a connection.
    Accept(String),
    Full,
    Evicted,
    PeerShare,
    HeadTimeout,
    HeadTooLarge,
    Tls,
    ProxyProtocol,
    NotHttp,
    Http2,
    Grace,
}

impl Trouble {
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 11] = [
        Self::Accept(String::new()),
        Self::Full,
        Self::Evicted,
        Self::PeerShare,
        Self::HeadTimeout,
        Self::HeadTooLarge,
        Self::Tls,
        Self::ProxyProtocol,
        Self::NotHttp,
        Self::Http2,
        Self::Grace,
    ];

    pub(crate) fn of_malformed_head(first_bytes: &[u8]) -> Self {
        if first_bytes.starts_with(TLS) {
            Self::Tls
        } else if PROXY.iter().any(|proxy| first_bytes.starts_with(proxy)) {
            Self::ProxyProtocol
        } else {
            Self::NotHttp
        }
    }

    /// Returns the name used in log lines and metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Accept(_) => "accept_failed",
            Self::Full => "full",
            Self::Evicted => "evicted",
            Self::PeerShare => "peer_share",
            Self::HeadTimeout => "head_timeout",
            Self::HeadTooLarge => "head_too_large",
            Self::Tls => "tls",
            Self::ProxyProtocol => "proxy_protocol",
            Self::NotHttp => "not_http",
            Self::Http2 => "http2_error",
            Self::Grace => "grace_over",
        }
    }

    /// Returns a message that says what happened and what to do about it.
    pub(crate) fn explain(&self, limits: &Limits) -> String {
        let max = limits.max_connections;
        match self {
            Self::Accept(error) => format!(
                "the system could not accept a connection: {error}. If too many files are open, \
                 raise the limit with `ulimit -n`, or lower `max_connections`"
            ),
            Self::Full => format!(
                "all {max} connections wait for handlers, so new connections wait: the handlers are \
                 too slow, or `max_connections` is too low"
            ),
            Self::Evicted => format!(
                "all {max} connections were in use, so an idle one was closed for a new one: an \
                 attacker occupies connections, or `max_connections` is too low"
            ),
            Self::PeerShare => format!(
                "a peer has {} connections, so one of them was closed. If the peer is your reverse \
                 proxy, raise `max_connections_per_peer`",
                limits.share()
            ),
            Self::HeadTimeout => format!(
                "the head of a request was not complete after {:?}: the peer is too slow, or \
                 attacks",
                limits.head_timeout
            ),
            Self::HeadTooLarge => format!(
                "the head of a request has more than 100 headers or {} bytes: a proxy adds too \
                 many, or the peer attacks",
                limits.max_buf_size
            ),
            Self::Tls => "the peer speaks TLS, but this port expects HTTP without TLS: use \
                          `http://` in the URL, or put a proxy that ends TLS in front"
                .into(),
            Self::ProxyProtocol => "the peer speaks the PROXY protocol, which this server does \
                                    not understand: turn it off in the load balancer, which \
                                    should send X-Forwarded-For instead"
                .into(),
            Self::NotHttp => "the first line or a header of a request is not valid HTTP".into(),
            Self::Http2 => "the peer broke the HTTP/2 protocol before its first request".into(),
            Self::Grace => format!(
                "a request in progress was aborted, because it did not end within the grace time \
                 of {:?}",
                limits.grace
            ),
        }
    }
}

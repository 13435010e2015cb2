//! The list of hostile requests and the expected response to each.

use axum_core::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde_json::json;

use super::factory::{RequestFactory, body, body_of, declare, event, streamed};
use crate::{
    event::Sender,
    rejection::RejectionKind::{
        self, BodyBroken, BodyTooLarge, MalformedSignature, MissingSignature, SeveralSignatures,
        WrongSignature,
    },
    secret::Secret,
    signature::SIGNATURE_HEADER,
};

/// A kind of hostile request.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) expected: Expected,
    pub(super) make: fn(&RequestFactory<'_>) -> Request<Body>,
}

/// The response that a request must get.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    /// A rejection for this reason.
    Rejected(RejectionKind),
    /// A rejection for a missing signature, without reading the body. If the body is read anyway,
    /// something outside of the layer has read it.
    Unread,
    /// A rejection of a body that SoundHash could have sent, because the body is too long.
    OverLimit,
    /// Any 2xx.
    Accepted,
    /// Any response except a 2xx to a request that the layer verified.
    Unhandled,
    /// Any response except a redirect, and a 2xx to a request that no layer verified.
    NotRedirected,
}

impl Expected {
    pub(super) const fn rejection(self) -> Option<RejectionKind> {
        match self {
            Self::Rejected(kind) => Some(kind),
            Self::Unread => Some(MissingSignature),
            Self::OverLimit => Some(BodyTooLarge),
            Self::Accepted | Self::Unhandled | Self::NotRedirected => None,
        }
    }

    pub(super) fn status(self) -> Option<StatusCode> {
        match self {
            Self::Unhandled => Some(StatusCode::METHOD_NOT_ALLOWED),
            Self::NotRedirected => Some(StatusCode::NOT_FOUND),
            _ => self.rejection().map(RejectionKind::status),
        }
    }
}

macro_rules! cases {
    ($($expected:expr, $name:literal => $make:expr;)*) => {
        /// All cases: first the requests that must be rejected, and then authentic ones, so that an
        /// application that rejects everything also fails.
        pub(super) const CASES: &[Case] = &[$(Case {
            name: $name,
            expected: { use Expected::*; $expected },
            make: $make,
        },)*];
    };
}

cases! {
    // ---- no signature
    Rejected(MissingSignature), "no signature" => |it| it.unsigned();
    Rejected(MissingSignature), "the signature in another header" => |it| it.with_headers(|headers| {
        if let Some(signature) = headers.remove(SIGNATURE_HEADER) {
            headers.insert("x-hub-signature-256", signature);
        }
    });
    // A body limit outside of the layer would reject this request with a 413 instead.
    Rejected(MissingSignature), "no signature, and a terabyte declared" => |it| {
        declare(it.unsigned(), 1_000_000_000_000)
    };
    Unread, "no signature, and a body that waits for a 100" => |it| {
        let mut request = it.unsigned().map(|_| Body::new(it.frames(vec![body().into()])));
        request.headers_mut().insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        request
    };
    // ---- accepted by a lenient parser
    Rejected(SeveralSignatures), "the signature twice" => |it| it.with_headers(|headers| {
        if let Some(signature) = headers.get(SIGNATURE_HEADER).cloned() {
            headers.append(SIGNATURE_HEADER, signature);
        }
    });
    Rejected(MalformedSignature), "an empty signature" => |it| it.resigned(|_| Vec::new());
    Rejected(MalformedSignature), "a signature without its last digit" => |it| {
        it.resigned(|signature| signature[..63].into())
    };
    Rejected(MalformedSignature), "a signature with a prefix" => |it| {
        it.resigned(|signature| format!("sha256={signature}").into())
    };
    Rejected(MalformedSignature), "a list of signatures" => |it| {
        it.resigned(|signature| format!("{signature}, {signature}").into())
    };
    Rejected(MalformedSignature), "a signature in base64" => |it| {
        it.resigned(|signature| base64(&signature))
    };
    Rejected(MalformedSignature), "a signature that is not text" => |it| {
        it.resigned(|_| vec![0xff; 64])
    };
    // ---- forged, or changed in transit
    Rejected(WrongSignature), "a guessed signature" => |it| it.guessed();
    Rejected(WrongSignature), "signed with another secret" => |it| {
        it.signed_with(&Secret::new("whsec_unknown"), body())
    };
    Rejected(WrongSignature), "the signature of an empty body" => |it| {
        it.resigned(|_| it.secret.sign(b"").to_string().into())
    };
    Rejected(WrongSignature), "the signature of another event" => |it| {
        it.resigned(|_| it.secret.sign(&body()).to_string().into())
    };
    Rejected(WrongSignature), "a body with one byte changed" => |it| it.tampered(|body| {
        let middle = body.len() / 2;
        body[middle] ^= 1;
    });
    Rejected(WrongSignature), "a body without its last byte" => |it| {
        it.tampered(|body| body.truncate(body.len() - 1))
    };
    Rejected(WrongSignature), "a body with a line break at its end" => |it| {
        it.tampered(|body| body.push(b'\n'))
    };
    // ---- too long, or incomplete
    Rejected(BodyTooLarge), "a terabyte declared" => |it| {
        declare(it.guessed(), 1_000_000_000_000)
    };
    Rejected(BodyTooLarge), "a body over the limit, without a declared length" => |it| {
        streamed(it.guessed(), it.frames(it.too_much()))
    };
    OverLimit, "signed, and over the limit by one byte" => |it| {
        it.signed(body_of(it.max_body_size + 1))
    };
    Rejected(BodyBroken), "signed, and a body that ends early" => |it| {
        let body = Bytes::from(body());
        let half = body.slice(..body.len() / 2);
        streamed(it.signed(body), it.frames(vec![half]).breaks())
    };
    // ---- authentic
    Accepted, "authentic, from the dispatcher" => |it| it.signed(body());
    Accepted, "authentic, from the portal" => |it| {
        it.signed(Sender::Portal.to_bytes(&event(Sender::Portal)))
    };
    Accepted, "authentic, with whitespace around the event" => |it| {
        it.signed([b"\r\n ", &body()[..], b"\t\n"].concat())
    };
    Accepted, "authentic, of a new type" => |it| {
        let mut event = event(Sender::Dispatcher);
        event["type"] = "video.remixed".into();
        it.signed(Sender::Dispatcher.to_bytes(&event))
    };
    Accepted, "authentic, from the test button" => |it| {
        let mut event = event(Sender::Dispatcher);
        event["resource_type"] = "test".into();
        event["resource_id"] = "test-resource".into();
        event["data"] = json!({"test": true, "message": "This is a test"});
        it.signed(Sender::Dispatcher.to_bytes(&event))
    };
    // The owner of an endpoint can configure any header, including this one.
    Accepted, "authentic, with a custom content type" => |it| it.with_headers(|headers| {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    });
    Accepted, "authentic, byte by byte, without a declared length" => |it| {
        let body = Bytes::from(body());
        let bytes = (0..body.len()).map(|at| body.slice(at..=at)).collect();
        streamed(it.signed(body), it.frames(bytes))
    };
    Accepted, "authentic, and as large as allowed" => |it| it.signed(body_of(it.max_body_size));
    // ---- authentic, but to a URL registered by mistake
    NotRedirected, "with or without a trailing slash" => |it| {
        let path = it.uri.path();
        let other = path.strip_suffix('/').filter(|it| !it.is_empty());
        it.signed_for(&other.map_or_else(|| format!("{path}/"), str::to_owned))
    };
    NotRedirected, "at a path that does not exist" => |it| {
        it.signed_for(&format!("{}-does-not-exist", it.uri.path()))
    };
    // ---- authentic, recorded and replayed elsewhere: the signature covers neither method nor path
    Unhandled, "replayed as GET" => |it| it.replayed(Method::GET, it.uri.path());
    Unhandled, "replayed as GET /" => |it| it.replayed(Method::GET, "/");
    Unhandled, "replayed as GET /health" => |it| it.replayed(Method::GET, "/health");
    Unhandled, "replayed as GET /healthz" => |it| it.replayed(Method::GET, "/healthz");
    Unhandled, "replayed as GET /status" => |it| it.replayed(Method::GET, "/status");
    Unhandled, "replayed as POST /" => |it| it.replayed(Method::POST, "/");
    Unhandled, "replayed as POST /health" => |it| it.replayed(Method::POST, "/health");
    Unhandled, "replayed as POST /healthz" => |it| it.replayed(Method::POST, "/healthz");
    Unhandled, "replayed as POST /status" => |it| it.replayed(Method::POST, "/status");
}

/// Encodes a signature in base64 instead of hex, as other services do.
fn base64(signature: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = [0; 33];
    base16ct::lower::decode(signature, &mut bytes).expect("64 digits");
    let groups = bytes.chunks_exact(3).flat_map(|group| {
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift) as usize % DIGITS.len()])
    });
    // The signature has 32 bytes, and the 33rd byte is padding for the last group.
    groups.take(43).chain([b'=']).collect()
}

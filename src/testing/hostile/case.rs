//! The list of hostile requests, and the response that each must get.

use axum_core::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};

use super::factory::{RequestFactory, body, body_of, declare, event, guessed, streamed};
use crate::{event::Sender, rejection::RejectionKind, secret::Secret, signature::SIGNATURE_HEADER};

/// Writes the bytes of a signature in base64, as other services do.
fn base64(signature: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = [0; 33];
    base16ct::lower::decode(signature, &mut bytes).expect("64 digits");
    let groups = bytes.chunks_exact(3).flat_map(|group| {
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift) as usize % DIGITS.len()])
    });
    // The last byte only fills the last group.
    let mut text: Vec<u8> = groups.take(43).collect();
    text.push(b'=');
    text
}

/// A kind of request.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) expected: Expected,
    /// Whether the layer rejects the request without reading its body.
    pub(super) unread: bool,
    /// Whether SoundHash could have sent the body, although it may be too large.
    pub(super) authentic: bool,
    pub(super) make: fn(&RequestFactory<'_>) -> Request<Body>,
}

/// The response that a request must get.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    /// A rejection for this reason.
    Rejected(RejectionKind),
    /// Any 2xx.
    Accepted,
    /// Any response but a 2xx from behind the layer.
    NotActedOn,
    /// Any response but a redirect.
    NotRedirected,
}

impl Expected {
    pub(super) fn status(self) -> Option<StatusCode> {
        match self {
            Self::Rejected(kind) => Some(kind.status()),
            Self::Accepted => None,
            Self::NotActedOn => Some(StatusCode::METHOD_NOT_ALLOWED),
            Self::NotRedirected => Some(StatusCode::NOT_FOUND),
        }
    }
}

const fn rejected(
    kind: RejectionKind,
    name: &'static str,
    make: fn(&RequestFactory<'_>) -> Request<Body>,
) -> Case {
    Case {
        name,
        expected: Expected::Rejected(kind),
        unread: false,
        authentic: false,
        make,
    }
}

const fn accepted(name: &'static str, make: fn(&RequestFactory<'_>) -> Request<Body>) -> Case {
    Case {
        name,
        expected: Expected::Accepted,
        unread: false,
        authentic: true,
        make,
    }
}

/// A delivery that an attacker recorded and sends to another route, which is possible because the
/// signature covers neither the method nor the path.
const fn replayed(name: &'static str, make: fn(&RequestFactory<'_>) -> Request<Body>) -> Case {
    Case {
        expected: Expected::NotActedOn,
        ..accepted(name, make)
    }
}

/// A delivery to a URL that was registered with a mistake.
const fn misdirected(name: &'static str, make: fn(&RequestFactory<'_>) -> Request<Body>) -> Case {
    Case {
        expected: Expected::NotRedirected,
        ..accepted(name, make)
    }
}

/// All cases: the requests that must be rejected, and then the authentic ones, on which an
/// application that rejects everything fails.
pub(super) const CASES: &[Case] = &[
    // ---- no signature
    rejected(RejectionKind::MissingSignature, "no signature", |factory| {
        factory.unsigned()
    }),
    rejected(
        RejectionKind::MissingSignature,
        "the signature in another header",
        |factory| {
            let mut request = factory.signed(body());
            let headers = request.headers_mut();
            if let Some(signature) = headers.remove(SIGNATURE_HEADER) {
                headers.insert("x-hub-signature-256", signature);
            }
            request
        },
    ),
    // A body limit outside of the layer responds to this with 413.
    rejected(
        RejectionKind::MissingSignature,
        "no signature, and a terabyte declared",
        |factory| {
            let mut request = factory.unsigned();
            declare(&mut request, 1_000_000_000_000);
            request
        },
    ),
    // The layer never polls this body. If the body is polled, something outside of the layer reads
    // it.
    Case {
        unread: true,
        ..rejected(
            RejectionKind::MissingSignature,
            "no signature, and a body that waits for a 100",
            |factory| {
                let body = factory.frames(vec![body().into()]);
                let mut request = factory.unsigned().map(|_| Body::new(body));
                let headers = request.headers_mut();
                headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
                request
            },
        )
    },
    // ---- accepted by a lenient parser
    rejected(
        RejectionKind::SeveralSignatures,
        "the signature twice",
        |factory| {
            let mut request = factory.signed(body());
            let headers = request.headers_mut();
            if let Some(signature) = headers.get(SIGNATURE_HEADER).cloned() {
                headers.append(SIGNATURE_HEADER, signature);
            }
            request
        },
    ),
    rejected(
        RejectionKind::MalformedSignature,
        "an empty signature",
        |factory| factory.resigned(|_| Vec::new()),
    ),
    rejected(
        RejectionKind::MalformedSignature,
        "a signature without its last digit",
        |factory| factory.resigned(|signature| signature[..63].into()),
    ),
    rejected(
        RejectionKind::MalformedSignature,
        "a signature with a prefix",
        |factory| factory.resigned(|signature| format!("sha256={signature}").into()),
    ),
    rejected(
        RejectionKind::MalformedSignature,
        "a list of signatures",
        |factory| factory.resigned(|signature| format!("{signature}, {signature}").into()),
    ),
    rejected(
        RejectionKind::MalformedSignature,
        "a signature in base64",
        |factory| factory.resigned(|signature| base64(&signature)),
    ),
    rejected(
        RejectionKind::MalformedSignature,
        "a signature that is not text",
        |factory| factory.resigned(|_| vec![0xff; 64]),
    ),
    // ---- forged, or changed on the way
    rejected(
        RejectionKind::WrongSignature,
        "a guessed signature",
        guessed,
    ),
    rejected(
        RejectionKind::WrongSignature,
        "signed with another secret",
        |factory| factory.signed_with(&Secret::new("whsec_unknown"), body()),
    ),
    rejected(
        RejectionKind::WrongSignature,
        "the signature of no bytes",
        |factory| factory.resigned(|_| factory.secret.sign(b"").to_string().into()),
    ),
    rejected(
        RejectionKind::WrongSignature,
        "the signature of another event",
        |factory| factory.resigned(|_| factory.secret.sign(&body()).to_string().into()),
    ),
    rejected(
        RejectionKind::WrongSignature,
        "a body with one byte changed",
        |factory| {
            factory.tampered(|mut body| {
                let middle = body.len() / 2;
                body[middle] ^= 1;
                body
            })
        },
    ),
    rejected(
        RejectionKind::WrongSignature,
        "a body without its last byte",
        |factory| {
            factory.tampered(|mut body| {
                body.pop();
                body
            })
        },
    ),
    rejected(
        RejectionKind::WrongSignature,
        "a body with a line break at its end",
        |factory| factory.tampered(|body| [&body[..], b"\n"].concat()),
    ),
    // ---- too long, or incomplete
    rejected(
        RejectionKind::BodyTooLarge,
        "a terabyte declared",
        |factory| {
            let mut request = guessed(factory);
            declare(&mut request, 1_000_000_000_000);
            request
        },
    ),
    rejected(
        RejectionKind::BodyTooLarge,
        "a body over the limit, of no declared length",
        |factory| streamed(guessed(factory), factory.frames(factory.too_much())),
    ),
    Case {
        authentic: true,
        ..rejected(
            RejectionKind::BodyTooLarge,
            "signed, and over the limit by one byte",
            |factory| factory.signed(body_of(factory.max_body_size + 1)),
        )
    },
    rejected(
        RejectionKind::BodyBroken,
        "signed, and a body that breaks off",
        |factory| {
            let body = Bytes::from(body());
            let half = body.slice(..body.len() / 2);
            streamed(factory.signed(body), factory.frames(vec![half]).breaks())
        },
    ),
    // ---- authentic
    accepted("authentic, from the dispatcher", |factory| {
        factory.signed(body())
    }),
    accepted("authentic, from the portal", |factory| {
        factory.signed(Sender::Portal.to_bytes(&event(Sender::Portal)))
    }),
    accepted("authentic, with whitespace around the event", |factory| {
        factory.signed([b"\r\n ", &body()[..], b"\t\n"].concat())
    }),
    accepted("authentic, of a type that is new", |factory| {
        let mut event = event(Sender::Dispatcher);
        event["type"] = "video.remixed".into();
        factory.signed(Sender::Dispatcher.to_bytes(&event))
    }),
    accepted("authentic, from the test button", |factory| {
        let mut event = event(Sender::Dispatcher);
        event["resource_type"] = "test".into();
        event["resource_id"] = "test-resource".into();
        event["data"] = serde_json::json!({"test": true, "message": "This is a test"});
        factory.signed(Sender::Dispatcher.to_bytes(&event))
    }),
    // The owner of an endpoint can configure any header, including this one.
    accepted("authentic, with a content type of its own", |factory| {
        let mut request = factory.signed(body());
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        request
    }),
    accepted(
        "authentic, byte by byte and of no declared length",
        |factory| {
            let body = Bytes::from(body());
            let bytes = (0..body.len()).map(|at| body.slice(at..=at)).collect();
            streamed(factory.signed(body), factory.frames(bytes))
        },
    ),
    accepted("authentic, and as large as allowed", |factory| {
        factory.signed(body_of(factory.max_body_size))
    }),
    // ---- authentic, and registered with a mistake
    misdirected("with or without a trailing slash", |factory| {
        let path = factory.uri.path();
        let other = path.strip_suffix('/').filter(|it| !it.is_empty());
        factory.signed_for(&other.map_or_else(|| format!("{path}/"), str::to_owned))
    }),
    misdirected("at a path that does not exist", |factory| {
        factory.signed_for(&format!("{}-does-not-exist", factory.uri.path()))
    }),
    // ---- authentic, and replayed elsewhere
    replayed("replayed as GET", |factory| {
        let mut request = factory.signed(body());
        *request.method_mut() = Method::GET;
        request
    }),
    replayed("replayed as GET /", |factory| {
        factory.replayed(Method::GET, "/")
    }),
    replayed("replayed as GET /health", |factory| {
        factory.replayed(Method::GET, "/health")
    }),
    replayed("replayed as GET /healthz", |factory| {
        factory.replayed(Method::GET, "/healthz")
    }),
    replayed("replayed as GET /status", |factory| {
        factory.replayed(Method::GET, "/status")
    }),
    replayed("replayed as POST /", |factory| {
        factory.replayed(Method::POST, "/")
    }),
    replayed("replayed as POST /health", |factory| {
        factory.replayed(Method::POST, "/health")
    }),
    replayed("replayed as POST /healthz", |factory| {
        factory.replayed(Method::POST, "/healthz")
    }),
    replayed("replayed as POST /status", |factory| {
        factory.replayed(Method::POST, "/status")
    }),
];

use axum_core::body::Body;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, header};

use super::factory::{RequestFactory, body, body_of, declare, event, guessed, streamed};
use crate::{
    rejection::RejectionKind, secret::Secret, signature::SIGNATURE_HEADER, testing::Sender,
};

/// A kind of request, and what has to become of it.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Why it has to be refused; an authentic one that need not is to be answered with 2xx.
    pub(super) refusal: Option<RejectionKind>,
    /// Whether it is to be refused without anybody's reading a byte of its body.
    pub(super) unread: bool,
    /// Whether it is as SoundHash would send it, but perhaps too large.
    pub(super) authentic: bool,
    pub(super) make: fn(&RequestFactory<'_>) -> Request<Body>,
}

const fn refused(
    kind: RejectionKind,
    name: &'static str,
    make: fn(&RequestFactory<'_>) -> Request<Body>,
) -> Case {
    Case {
        name,
        refusal: Some(kind),
        unread: false,
        authentic: false,
        make,
    }
}

const fn accepted(name: &'static str, make: fn(&RequestFactory<'_>) -> Request<Body>) -> Case {
    Case {
        name,
        refusal: None,
        unread: false,
        authentic: true,
        make,
    }
}

/// Those that must be refused, and then, lest an application pass that refuses everything, those
/// that must not.
pub(super) const CASES: &[Case] = &[
    // ---- no signature
    refused(RejectionKind::MissingSignature, "no signature", |factory| {
        factory.unsigned()
    }),
    refused(
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
    // A limit of the body's size that stands outside answers this with 413.
    refused(
        RejectionKind::MissingSignature,
        "no signature, and a terabyte declared",
        |factory| {
            let mut request = factory.unsigned();
            declare(&mut request, 1_000_000_000_000);
            request
        },
    ),
    // The one body that the layer does not poll even once, so whoever does is outside of it.
    Case {
        unread: true,
        ..refused(
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
    // ---- what a lenient parser would take for one
    refused(
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
    refused(
        RejectionKind::MalformedSignature,
        "an empty signature",
        |factory| factory.resigned(|_| Vec::new()),
    ),
    refused(
        RejectionKind::MalformedSignature,
        "a signature without its last digit",
        |factory| factory.resigned(|signature| signature[..63].into()),
    ),
    refused(
        RejectionKind::MalformedSignature,
        "a signature with a prefix",
        |factory| factory.resigned(|signature| format!("sha256={signature}").into()),
    ),
    refused(
        RejectionKind::MalformedSignature,
        "a list of signatures",
        |factory| factory.resigned(|signature| format!("{signature}, {signature}").into()),
    ),
    refused(
        RejectionKind::MalformedSignature,
        "a signature in base64",
        |factory| {
            factory.resigned(|signature| {
                let mut bytes = [0; 32];
                base16ct::lower::decode(signature, &mut bytes).expect("64 digits");
                BASE64_STANDARD.encode(bytes).into()
            })
        },
    ),
    refused(
        RejectionKind::MalformedSignature,
        "a signature that is not text",
        |factory| factory.resigned(|_| vec![0xff; 64]),
    ),
    // ---- forged, or changed on the way
    refused(
        RejectionKind::WrongSignature,
        "a guessed signature",
        guessed,
    ),
    refused(
        RejectionKind::WrongSignature,
        "signed with another secret",
        |factory| factory.signed_with(&Secret::new("whsec_of_nobody"), body()),
    ),
    refused(
        RejectionKind::WrongSignature,
        "the signature of no bytes",
        |factory| factory.resigned(|_| factory.secret.sign(b"").to_string().into()),
    ),
    refused(
        RejectionKind::WrongSignature,
        "the signature of another event",
        |factory| factory.resigned(|_| factory.secret.sign(&body()).to_string().into()),
    ),
    refused(
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
    refused(
        RejectionKind::WrongSignature,
        "a body without its last byte",
        |factory| {
            factory.tampered(|mut body| {
                body.pop();
                body
            })
        },
    ),
    refused(
        RejectionKind::WrongSignature,
        "a body with a line break at its end",
        |factory| factory.tampered(|body| [&body[..], b"\n"].concat()),
    ),
    // ---- too much, or not all of it
    refused(
        RejectionKind::BodyTooLarge,
        "a terabyte declared",
        |factory| {
            let mut request = guessed(factory);
            declare(&mut request, 1_000_000_000_000);
            request
        },
    ),
    refused(
        RejectionKind::BodyTooLarge,
        "a body over the limit that does not tell its length",
        |factory| streamed(guessed(factory), factory.frames(factory.too_much())),
    ),
    Case {
        authentic: true,
        ..refused(
            RejectionKind::BodyTooLarge,
            "signed, and over the limit by one byte",
            |factory| factory.signed(body_of(factory.max_body_size + 1)),
        )
    },
    refused(
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
    accepted("authentic, with white space around the event", |factory| {
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
    // Owners of endpoints can configure headers, and overwrite this one.
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
];

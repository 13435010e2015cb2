use axum_core::body::Body;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, header};

use super::draft::{Draft, body, body_of, declare, event, guessed, streamed};
use crate::{
    rejection::RejectionKind, secret::Secret, signature::SIGNATURE_HEADER, testing::Envelope,
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
    pub(super) make: fn(&Draft<'_>) -> Request<Body>,
}

const fn refused(
    kind: RejectionKind,
    name: &'static str,
    make: fn(&Draft<'_>) -> Request<Body>,
) -> Case {
    Case {
        name,
        refusal: Some(kind),
        unread: false,
        authentic: false,
        make,
    }
}

const fn accepted(name: &'static str, make: fn(&Draft<'_>) -> Request<Body>) -> Case {
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
    refused(RejectionKind::MissingSignature, "no signature", |draft| {
        draft.unsigned()
    }),
    refused(
        RejectionKind::MissingSignature,
        "the signature in another header",
        |draft| {
            let mut request = draft.signed(body());
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
        |draft| {
            let mut request = draft.unsigned();
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
            |draft| {
                let body = draft.frames(vec![body().into()]);
                let mut request = draft.unsigned().map(|_| Body::new(body));
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
        |draft| {
            let mut request = draft.signed(body());
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
        |draft| draft.resigned(|_| Vec::new()),
    ),
    refused(
        RejectionKind::MalformedSignature,
        "a signature without its last digit",
        |draft| draft.resigned(|signature| signature[..63].into()),
    ),
    refused(
        RejectionKind::MalformedSignature,
        "a signature with a prefix",
        |draft| draft.resigned(|signature| format!("sha256={signature}").into()),
    ),
    refused(
        RejectionKind::MalformedSignature,
        "a list of signatures",
        |draft| draft.resigned(|signature| format!("{signature}, {signature}").into()),
    ),
    refused(
        RejectionKind::MalformedSignature,
        "a signature in base64",
        |draft| {
            draft.resigned(|signature| {
                let mut bytes = [0; 32];
                base16ct::lower::decode(signature, &mut bytes).expect("64 digits");
                BASE64_STANDARD.encode(bytes).into()
            })
        },
    ),
    refused(
        RejectionKind::MalformedSignature,
        "a signature that is not text",
        |draft| draft.resigned(|_| vec![0xff; 64]),
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
        |draft| draft.signed_with(&Secret::new("whsec_of_nobody"), body()),
    ),
    refused(
        RejectionKind::WrongSignature,
        "the signature of no bytes",
        |draft| draft.resigned(|_| draft.secret.sign(b"").to_string().into()),
    ),
    refused(
        RejectionKind::WrongSignature,
        "the signature of another event",
        |draft| draft.resigned(|_| draft.secret.sign(&body()).to_string().into()),
    ),
    refused(
        RejectionKind::WrongSignature,
        "a body with one byte changed",
        |draft| {
            draft.tampered(|mut body| {
                let middle = body.len() / 2;
                body[middle] ^= 1;
                body
            })
        },
    ),
    refused(
        RejectionKind::WrongSignature,
        "a body without its last byte",
        |draft| {
            draft.tampered(|mut body| {
                body.pop();
                body
            })
        },
    ),
    refused(
        RejectionKind::WrongSignature,
        "a body with a line break at its end",
        |draft| draft.tampered(|body| [&body[..], b"\n"].concat()),
    ),
    // ---- too much, or not all of it
    refused(
        RejectionKind::BodyTooLarge,
        "a terabyte declared",
        |draft| {
            let mut request = guessed(draft);
            declare(&mut request, 1_000_000_000_000);
            request
        },
    ),
    refused(
        RejectionKind::BodyTooLarge,
        "a body over the limit that does not tell its length",
        |draft| streamed(guessed(draft), draft.frames(draft.too_much())),
    ),
    Case {
        authentic: true,
        ..refused(
            RejectionKind::BodyTooLarge,
            "signed, and over the limit by one byte",
            |draft| draft.signed(body_of(draft.max_body_size + 1)),
        )
    },
    refused(
        RejectionKind::BodyBroken,
        "signed, and a body that breaks off",
        |draft| {
            let body = Bytes::from(body());
            let half = body.slice(..body.len() / 2);
            streamed(draft.signed(body), draft.frames(vec![half]).breaks())
        },
    ),
    // ---- authentic
    accepted("authentic, from the dispatcher", |draft| {
        draft.signed(body())
    }),
    accepted("authentic, from the portal", |draft| {
        draft.signed(Envelope::Portal.to_bytes(&event(Envelope::Portal)))
    }),
    accepted("authentic, with white space around the event", |draft| {
        draft.signed([b"\r\n ", &body()[..], b"\t\n"].concat())
    }),
    accepted("authentic, of a type that is new", |draft| {
        let mut event = event(Envelope::Dispatcher);
        event["type"] = "video.remixed".into();
        draft.signed(Envelope::Dispatcher.to_bytes(&event))
    }),
    accepted("authentic, from the test button", |draft| {
        let mut event = event(Envelope::Dispatcher);
        event["resource_type"] = "test".into();
        event["resource_id"] = "test-resource".into();
        event["data"] = serde_json::json!({"test": true, "message": "This is a test"});
        draft.signed(Envelope::Dispatcher.to_bytes(&event))
    }),
    // Owners of endpoints can configure headers, and overwrite this one.
    accepted("authentic, with a content type of its own", |draft| {
        let mut request = draft.signed(body());
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        request
    }),
    accepted(
        "authentic, byte by byte and of no declared length",
        |draft| {
            let body = Bytes::from(body());
            let bytes = (0..body.len()).map(|at| body.slice(at..=at)).collect();
            streamed(draft.signed(body), draft.frames(bytes))
        },
    ),
    accepted("authentic, and as large as allowed", |draft| {
        draft.signed(body_of(draft.max_body_size))
    }),
];

//! A request to the layer, and the layer's settings.

use std::{ops::Deref, time::Duration};

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, header, request};
use soundhash_webhook::{SIGNATURE_HEADER, Secret, Secrets, Signature};

use crate::Step;

const KEYS: [&str; Secrets::MAX] = ["whsec_test", "whsec_old", "whsec_older", "whsec_oldest"];

/// If the input before the body is a one followed by zeros, the request is correctly signed, and
/// its complete body is sent in one frame.
#[derive(Arbitrary, Debug)]
pub struct Case<'a> {
    pub signatures: [Option<Sent>; 2],
    pub signer: u8,
    pub reply: Reply,
    /// The number of valid secrets in addition to the first one.
    pub secrets: u8,
    pub look_up: bool,
    pub body_timeout: bool,
    pub max_body_size: Option<u16>,
    pub max_buffered: Option<u16>,
    pub declared: Option<Declared<'a>>,
    pub header: Option<(&'a [u8], &'a [u8])>,
    pub hints: (bool, u64),
    pub end: End,
    /// Whether a redirect has turned the request into a GET.
    pub get: bool,
    pub cuts: Vec<Cut>,
    pub body: Repeated,
}

/// A few bytes that are repeated, so that a small input can produce a large body.
#[derive(Debug)]
pub struct Repeated(Vec<u8>);

impl<'a> Arbitrary<'a> for Repeated {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let copies = input.int_in_range(1..=8)?;
        let bytes: &[u8] = input.arbitrary()?;
        Ok(Self(bytes.repeat(copies)))
    }

    fn arbitrary_take_rest(mut input: Unstructured<'a>) -> arbitrary::Result<Self> {
        let copies = input.int_in_range(1..=8)?;
        Ok(Self(input.take_rest().repeat(copies)))
    }
}

impl Deref for Repeated {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The value of a signature header.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Sent {
    Right,
    UpperCase,
    /// The correct signature with one digit changed.
    Flipped(u8),
    OfLessOfTheBody(u8),
    Digits([u8; 32]),
    Prefixed,
    /// Only the first digits of the correct signature.
    Cut(u8),
    Any([u8; 8]),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Reply {
    Secrets,
    NoSuchEndpoint,
    Error,
}

#[derive(Arbitrary, Debug)]
pub enum Declared<'a> {
    Right,
    Length(u64),
    Text(&'a [u8]),
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
pub enum End {
    Complete,
    Broken,
    Stalled,
}

/// The length of a frame, and the step that follows the frame.
#[derive(Arbitrary, Debug)]
pub struct Cut {
    len: u16,
    then: Then,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Then {
    Nothing,
    Yield,
    Trailers,
}

impl Case<'_> {
    /// Returns the valid secrets, of which there are one to four.
    pub fn valid(&self) -> impl Iterator<Item = &'static str> {
        KEYS.into_iter()
            .take(1 + usize::from(self.secrets) % Secrets::MAX)
    }

    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(if self.body_timeout { 50 } else { 10_000 })
    }

    /// Returns the index of the secret that signs the request, possibly one that is not valid.
    #[must_use]
    pub fn signer(&self) -> usize {
        usize::from(self.signer) % KEYS.len()
    }

    #[must_use]
    pub fn sign(&self) -> Signature {
        Secret::new(KEYS[self.signer()]).sign(&self.body)
    }

    #[must_use]
    pub fn head(&self) -> request::Parts {
        let (mut head, ()) = Request::new(()).into_parts();
        if !self.get {
            head.method = Method::POST;
        }
        let mut add = |name: HeaderName, value: &[u8]| {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                head.headers.append(name, value);
            }
        };
        for sent in self.signatures.iter().flatten() {
            add(SIGNATURE_HEADER, &self.value(*sent));
        }
        match &self.declared {
            None => {}
            Some(Declared::Right) => {
                add(
                    header::CONTENT_LENGTH,
                    self.body.len().to_string().as_bytes(),
                );
            }
            Some(Declared::Length(len)) => {
                add(header::CONTENT_LENGTH, len.to_string().as_bytes());
            }
            Some(Declared::Text(text)) => add(header::CONTENT_LENGTH, text),
        }
        if let Some((name, value)) = self.header
            && let Ok(name) = HeaderName::from_bytes(name)
        {
            add(name, value);
        }
        head
    }

    fn value(&self, sent: Sent) -> Vec<u8> {
        let right = self.sign().to_string();
        match sent {
            Sent::Right => right.into(),
            Sent::UpperCase => right.to_uppercase().into(),
            Sent::Flipped(at) => {
                let mut digits = right.into_bytes();
                let digit = &mut digits[usize::from(at) % 64];
                *digit = if *digit == b'0' { b'1' } else { b'0' };
                digits
            }
            Sent::OfLessOfTheBody(less) => {
                let len = self.body.len().saturating_sub(less.into());
                let secret = Secret::new(KEYS[self.signer()]);
                secret.sign(&self.body[..len]).to_string().into()
            }
            Sent::Digits(tag) => tag
                .iter()
                .flat_map(|byte| format!("{byte:02x}").into_bytes())
                .collect(),
            Sent::Prefixed => format!("sha256={right}").into(),
            Sent::Cut(len) => right[..usize::from(len) % 64].into(),
            Sent::Any(bytes) => bytes.into(),
        }
    }

    /// Returns the steps of the body, which is split where the fuzzer chooses. The last frame
    /// contains the remainder.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let (mut rest, mut steps) = (Bytes::copy_from_slice(&self.body), Vec::new());
        for cut in &self.cuts {
            let frame = rest.split_to(usize::from(cut.len).min(rest.len()));
            steps.push(Step::Data(frame));
            match cut.then {
                Then::Nothing => {}
                Then::Yield => steps.push(Step::Yield),
                Then::Trailers => steps.push(Step::Trailers),
            }
        }
        steps.push(Step::Data(rest));
        match self.end {
            End::Complete => {}
            End::Broken => steps.push(Step::Error),
            End::Stalled => steps.push(Step::Stall),
        }
        steps
    }

    /// Returns the maximum body length.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.max_body_size.map_or(1024 * 1024, usize::from)
    }

    /// Returns the amount of memory that unfinished bodies may occupy together.
    #[must_use]
    pub fn room(&self) -> usize {
        self.max_buffered.map_or(64 << 20, usize::from)
    }
}

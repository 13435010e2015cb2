//! A model that computes the layer's expected response without using the layer.

use http::{HeaderMap, header};
use soundhash_webhook::{RejectionKind, SIGNATURE_HEADER};

use crate::{
    Step,
    case::{Case, Reply},
};

/// The number of frames that the layer reads before it yields to other tasks.
const FRAMES_PER_POLL: usize = 128;

/// The expected result of a request: the secret that signed it, or the reason why it is rejected.
pub type Verdict = Result<usize, RejectionKind>;

impl Case<'_> {
    /// Returns the reason why the body is not read, or `None` if it is read.
    #[must_use]
    pub fn rejected_unread(&self, headers: &HeaderMap) -> Option<RejectionKind> {
        let sent: Vec<_> = headers.get_all(SIGNATURE_HEADER).iter().collect();
        match sent[..] {
            [] => return Some(RejectionKind::MissingSignature),
            [value] if value.len() == 64 && value.as_bytes().iter().all(u8::is_ascii_hexdigit) => {}
            [_] => return Some(RejectionKind::MalformedSignature),
            _ => return Some(RejectionKind::SeveralSignatures),
        }
        let is_long = declared(headers).is_some_and(|len| len > self.limit() as u128);
        is_long.then_some(RejectionKind::BodyTooLarge)
    }

    /// Returns the result that the layer must produce for the request.
    ///
    /// # Errors
    ///
    /// Returns an error if the request must be rejected.
    pub fn expected(&self, headers: &HeaderMap) -> Verdict {
        if let Some(kind) = self.rejected_unread(headers) {
            return Err(kind);
        }
        if let Some(kind) = self.rejected_on_the_way() {
            return Err(kind);
        }
        match self.reply {
            Reply::Secrets => {}
            Reply::NoSuchEndpoint => return Err(RejectionKind::UnknownEndpoint),
            Reply::Error => return Err(RejectionKind::SecretsUnavailable),
        }
        let sent = headers[SIGNATURE_HEADER].as_bytes().to_ascii_lowercase();
        let authentic = sent == self.sign().to_string().as_bytes();
        match authentic && self.signer() < self.valid().count() {
            true => Ok(self.signer()),
            false if self.body.is_empty() || self.get => Err(RejectionKind::Redirected),
            false => Err(RejectionKind::WrongSignature),
        }
    }

    /// Returns the reason why the body is not received completely, or why it does not fit into the
    /// buffer during the secret lookup. Returns `None` if the body is received and fits.
    fn rejected_on_the_way(&self) -> Option<RejectionKind> {
        // The number of bytes that have arrived so far, and how many had arrived when the layer
        // last yielded or waited.
        let (mut held, mut kept) = (0, 0);
        let mut frames = 0;
        for step in self.steps() {
            match &step {
                Step::Data(frame) => held += frame.len(),
                Step::Error => return Some(RejectionKind::BodyBroken),
                Step::Trailers | Step::Yield | Step::Stall => {}
            }
            if held > self.limit() {
                return Some(RejectionKind::BodyTooLarge);
            }
            frames += 1;
            if frames == FRAMES_PER_POLL || matches!(step, Step::Yield | Step::Stall) {
                if held > self.room() {
                    return Some(RejectionKind::BufferFull);
                }
                (kept, frames) = (held, 0);
            }
            if matches!(step, Step::Stall) {
                return Some(RejectionKind::BodyTimeout);
            }
        }
        // If a lookup fails immediately, the rest of the body is not read.
        let is_joined = kept > 0 && !matches!(self.reply, Reply::Error);
        let is_kept = is_joined || self.look_up;
        (is_kept && held > self.room()).then_some(RejectionKind::BufferFull)
    }
}

/// Returns the length declared in the head. Once it exceeds 64 bits, further digits are ignored.
fn declared(headers: &HeaderMap) -> Option<u128> {
    let text = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    let mut digits = text.strip_prefix('+').unwrap_or(text).chars();
    let first = digits.next()?.to_digit(10)?;
    digits.try_fold(first.into(), |len: u128, digit| {
        if len > u64::MAX.into() {
            return Some(len);
        }
        Some(len * 10 + u128::from(digit.to_digit(10)?))
    })
}

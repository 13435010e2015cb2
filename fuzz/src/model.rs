//! The answer that the layer must give, computed independently of the layer.

use std::time::Duration;

use http::{HeaderMap, header};
use soundhash_webhook::{RejectionKind, SIGNATURE_HEADER};

use crate::{
    Step,
    case::{Answer, Case},
};

/// The expected result of a request: the secret that signed it, or the reason why it is rejected.
pub type Verdict = Result<usize, RejectionKind>;

impl Case<'_> {
    /// Returns the reason why the body is not read, or `None` if it is read.
    #[must_use]
    pub fn refused_unread(&self, headers: &HeaderMap) -> Option<RejectionKind> {
        let sent: Vec<_> = headers.get_all(SIGNATURE_HEADER).iter().collect();
        match sent[..] {
            [] => return Some(RejectionKind::MissingSignature),
            [value] if value.len() == 64 && value.as_bytes().iter().all(u8::is_ascii_hexdigit) => {}
            [_] => return Some(RejectionKind::MalformedSignature),
            _ => return Some(RejectionKind::SeveralSignatures),
        }
        if declared(headers).is_some_and(|len| len > self.limit() as u128) {
            return Some(RejectionKind::BodyTooLarge);
        }
        matches!(self.answer, Answer::Error).then_some(RejectionKind::SecretsUnavailable)
    }

    /// Returns the expected result.
    ///
    /// # Errors
    ///
    /// Returns an error if the request must be rejected.
    pub fn expected(&self, headers: &HeaderMap) -> Verdict {
        if let Some(kind) = self.refused_unread(headers) {
            return Err(kind);
        }
        if let Some(kind) = self.refused_on_the_way() {
            return Err(kind);
        }
        if matches!(self.answer, Answer::NoSuchEndpoint) {
            return Err(RejectionKind::UnknownEndpoint);
        }
        let sent = headers[SIGNATURE_HEADER].as_bytes().to_ascii_lowercase();
        let authentic = sent == self.sign().to_string().as_bytes();
        match authentic && self.signer() < self.valid().count() {
            true => Ok(self.signer()),
            false => Err(RejectionKind::WrongSignature),
        }
    }

    /// Returns the reason why the body is not received to its end, or `None` if it is.
    fn refused_on_the_way(&self) -> Option<RejectionKind> {
        let room = self.room();
        let (mut held, mut waiting, mut crowded) = (0, 0, false);
        for step in self.steps() {
            match &step {
                Step::Data(frame, _) => held += frame.len(),
                Step::Trailers => {}
                Step::Error => return Some(RejectionKind::BodyBroken),
                Step::Yield | Step::Stall => {
                    // Bytes that are still arriving may occupy as much again.
                    if held <= room {
                        (waiting, crowded) = (held, false);
                    } else if held - waiting <= room {
                        crowded = true;
                    } else {
                        return Some(RejectionKind::BufferFull);
                    }
                }
            }
            if held > self.limit() {
                return Some(RejectionKind::BodyTooLarge);
            }
            if matches!(step, Step::Stall) {
                // A body without room has a tenth of a second to arrive.
                let in_time = self.timeout() > Duration::from_millis(100);
                return Some(match crowded && in_time {
                    true => RejectionKind::BufferFull,
                    false => RejectionKind::BodyTimeout,
                });
            }
        }
        None
    }
}

/// Returns the length that the head declares. Digits after those that exceed an integer do not
/// matter.
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

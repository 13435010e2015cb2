//! What the layer has to answer, worked out in another way than by the layer.

use std::time::Duration;

use http::{HeaderMap, header};
use soundhash_webhook::{RejectionKind, SIGNATURE_HEADER};

use crate::{
    Step,
    case::{Answer, Case},
};

/// What must come of a request: which secret signed it, or why it is refused.
pub type Verdict = Result<usize, RejectionKind>;

impl Case<'_> {
    /// Why no byte of the body is asked for, if that is so.
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

    /// What must come of it.
    ///
    /// # Errors
    ///
    /// If it must be refused.
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

    /// Why the body is not received to its end, if that is so.
    fn refused_on_the_way(&self) -> Option<RejectionKind> {
        let room = self.room();
        let (mut held, mut waiting, mut crowded) = (0, 0, false);
        for step in self.steps() {
            match &step {
                Step::Data(frame, _) => held += frame.len(),
                Step::Trailers => {}
                Step::Error => return Some(RejectionKind::BodyBroken),
                Step::Yield | Step::Stall => {
                    // There is room for as much again in what is still arriving.
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
                // A tenth of a second is the time to arrive without room.
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

/// The length that the head claims. Once that is more than an integer holds, what follows does
/// not matter.
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

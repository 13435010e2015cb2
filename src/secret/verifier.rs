use hmac::Mac;
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::key::{HmacSha256, tag};
use crate::signature::Signature;

/// A body being hashed under every valid secret while it arrives.
pub(crate) struct Verifier {
    pub(super) current: HmacSha256,
    /// Does not allocate while there is only one secret.
    pub(super) previous: Vec<HmacSha256>,
}

impl Verifier {
    #[inline]
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.current.update(bytes);
        for mac in &mut self.previous {
            mac.update(bytes);
        }
    }

    /// Which secret, 0 being the current one, signed what was hashed.
    ///
    /// Every tag is computed and compared, and the index is selected without a branch, so
    /// that nothing about which secret or which byte leaks.
    #[inline]
    pub(crate) fn verify(self, signature: &Signature) -> Option<usize> {
        let mut found = tag(self.current).ct_eq(signature);
        let mut index = 0;
        for (mac, i) in self.previous.into_iter().zip(1u8..) {
            let equal = tag(mac).ct_eq(signature);
            index.conditional_assign(&i, equal & !found);
            found |= equal;
        }
        bool::from(found).then_some(index.into())
    }
}

use std::mem;

use bytes::{BufMut, Bytes, BytesMut};

/// Frames below this size are copied together. A frame is a slice of the buffer that the
/// server read into, usually 8 KiB, and keeping the slice keeps all of that: a body sent
/// byte by byte would hold thousands of times its own length.
const SMALL: usize = 4 * 1024;

/// How many bytes of small frames are copied into one allocation.
const SEGMENT: usize = 16 * 1024;

/// The frames of a body, kept until it is complete.
///
/// A body of one frame is handed on as it is. Of several, each byte is copied once, into
/// the whole body; small frames are gathered first, and that is all if they fit into one
/// segment. What is allocated follows from what has arrived, never from a length that was
/// merely declared.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    /// Kept apart so that the usual body, which is one frame, needs no list.
    first: Bytes,
    rest: Vec<Bytes>,
    small: BytesMut,
    len: usize,
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn push(&mut self, frame: Bytes) {
        let before = self.len;
        self.len += frame.len();
        if before == 0 {
            self.first = frame;
        } else {
            self.let_go();
            self.add(frame);
        }
    }

    /// The first frame was not the whole body: if it is small, lets go of the buffer that it
    /// is a slice of.
    pub(super) fn let_go(&mut self) {
        if self.first.len() < SMALL {
            let first = mem::take(&mut self.first);
            self.add(first);
        }
    }

    fn add(&mut self, frame: Bytes) {
        if frame.len() >= SMALL {
            self.seal();
            self.rest.push(frame);
            return;
        }
        if self.small.len() + frame.len() > SEGMENT {
            self.seal();
        }
        self.small.put(frame);
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.rest.push(self.small.split().freeze());
        }
    }

    #[inline]
    pub(super) fn into_bytes(mut self) -> Bytes {
        self.seal();
        if self.rest.is_empty() {
            return self.first;
        }
        if self.first.is_empty() && self.rest.len() == 1 {
            return self.rest.remove(0);
        }
        let mut whole = BytesMut::with_capacity(self.len);
        whole.put(self.first);
        for frame in self.rest {
            whole.put(frame);
        }
        whole.freeze()
    }
}

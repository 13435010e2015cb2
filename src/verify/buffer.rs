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
/// the whole body; small frames are gathered first. What is allocated follows from what
/// has arrived, never from a length that was merely declared.
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

    pub(super) fn push(&mut self, frame: Bytes) {
        let before = self.len;
        self.len += frame.len();
        if before == 0 {
            self.first = frame;
        } else if frame.len() < SMALL {
            self.gather(&frame);
        } else {
            self.seal();
            self.rest.push(frame);
        }
    }

    fn gather(&mut self, frame: &Bytes) {
        if self.small.len() + frame.len() > SEGMENT {
            self.seal();
        }
        self.small.put_slice(frame);
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.rest.push(self.small.split().freeze());
        }
    }

    pub(super) fn into_bytes(mut self) -> Bytes {
        self.seal();
        if self.rest.is_empty() {
            return self.first;
        }
        let mut whole = BytesMut::with_capacity(self.len);
        whole.put(self.first);
        for frame in self.rest {
            whole.put(frame);
        }
        whole.freeze()
    }
}

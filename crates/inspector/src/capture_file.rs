//! Writes a record as a file that a test can read.

use crate::{Record, headers};

impl Record {
    /// Returns the request as text, as in HTTP/1.1: its head, an empty line and its body.
    ///
    /// [`SignedRequest::from_capture`](soundhash_webhook::testing::SignedRequest::from_capture)
    /// reads the file and signs the request again. The file has the request's signature, but not
    /// the headers that the page hides. Returns `None` if the record is incomplete.
    #[must_use]
    pub fn to_capture(&self) -> Option<Vec<u8>> {
        self.capture(false).ok()
    }

    pub(crate) fn capture(&self, sensitive: bool) -> Result<Vec<u8>, &'static str> {
        let body = self.whole_body()?;
        if !self.request.head.whole {
            return Err("The request's head is longer than the inspector keeps.");
        }
        let mut file = format!("{} {} HTTP/1.1\r\n", self.method(), self.path()).into_bytes();
        for (name, value) in self.request.head.headers() {
            // The file contains the body without its transfer framing, so these headers would be
            // wrong.
            let framing = matches!(name, "content-length" | "transfer-encoding" | "expect");
            let shown = sensitive || headers::is_signature(name) || headers::is_harmless(name);
            if shown && !framing {
                file.extend_from_slice(title_case(name).as_bytes());
                file.extend_from_slice(b": ");
                file.extend_from_slice(value);
                file.extend_from_slice(b"\r\n");
            }
        }
        file.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        file.extend_from_slice(body);
        Ok(file)
    }
}

fn title_case(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let mut chars = word.chars();
        let first = chars.next().into_iter().flat_map(char::to_uppercase);
        first.chain(chars).collect::<String>()
    });
    words.collect::<Vec<_>>().join("-")
}

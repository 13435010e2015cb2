//! Command input: JSON in an argument, and files up to a maximum size.

use std::{
    fs,
    io::{self, Read},
    str::FromStr,
};

use serde::de::IgnoredAny;

/// The placeholder for the data, which [`Data::fill`] replaces.
pub(crate) const PLACEHOLDER: &str = "@data of the command line@";

/// The value of `--data`: JSON, `@` and a file name, or `@-` for standard input.
///
/// The JSON is kept as text, because parsed numbers can lose digits.
#[derive(Clone, Debug)]
pub(crate) struct Data(String);

impl Data {
    /// Replaces the placeholder in `json`.
    pub(crate) fn fill(&self, json: &str) -> String {
        json.replacen(&format!("\"{PLACEHOLDER}\""), &self.0, 1)
    }
}

impl FromStr for Data {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = match text.strip_prefix('@') {
            Some("-") => read_limited(io::stdin(), MAX_DATA),
            Some(path) => fs::File::open(path).and_then(|file| read_limited(file, MAX_DATA)),
            None => Ok(text.to_owned().into()),
        };
        let data = read.map_err(|error| error.to_string())?;
        let data = String::from_utf8(data).map_err(|error| format!("not UTF-8: {error}"))?;
        if data.starts_with('\u{feff}') {
            return Err(
                "starts with a byte order mark (U+FEFF), which JSON does not allow: save \
                        the file as UTF-8 without it"
                    .to_owned(),
            );
        }
        match serde_json::from_str::<IgnoredAny>(&data) {
            Ok(_) => Ok(Self(data.trim().to_owned())),
            Err(error) => Err(format!(
                "not JSON: {error}; to read a file, write @FILE, and for standard input @-"
            )),
        }
    }
}

/// The maximum length of the data. No receiver accepts more.
pub(crate) const MAX_DATA: u64 = 64 << 20;

/// Reads to the end of the input, or returns an error if it is longer than `most` bytes, as
/// `/dev/zero` is.
pub(crate) fn read_limited(from: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = from.take(most + 1).read_to_end(&mut bytes)?;
    if length as u64 > most {
        return Err(io::Error::other(format!(
            "more than {} MiB, which is not a delivery",
            most >> 20
        )));
    }
    Ok(bytes)
}

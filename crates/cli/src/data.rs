//! JSON in an argument, or in a file that the argument names.

use std::{fs, str::FromStr};

use serde_json::Value;

/// The value of `--data`: JSON, or `@` and the name of a file that contains JSON.
#[derive(Clone, Debug)]
pub(crate) struct Data(pub(crate) Value);

impl FromStr for Data {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let value = match text.strip_prefix('@') {
            Some(path) => {
                let file = fs::read(path).map_err(|error| error.to_string())?;
                serde_json::from_slice(&file)
            }
            None => serde_json::from_str(text),
        };
        value
            .map(Self)
            .map_err(|error| format!("not JSON: {error}; to read a file, write @FILE"))
    }
}

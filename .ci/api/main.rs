//! Prints the public API of a crate. The argument is the crate's documentation as JSON.

use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let file = env::args_os()
        .nth(1)
        .ok_or("usage: soundhash-webhook-api FILE")?;
    // Nearly every type has the implementations that these leave out.
    let api = public_api::Builder::from_rustdoc_json(file)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()?;
    print!("{api}");
    Ok(())
}

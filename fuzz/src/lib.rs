//! Shared by the fuzz targets: structured input, generated from the fuzzer's bytes.

mod case;
mod document;
mod model;
mod script;

pub use self::{
    case::{Reply, Case, Cut, Declared, End, Repeated, Sent, Then},
    document::Document,
    model::Verdict,
    script::{Script, Step},
};

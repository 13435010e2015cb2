//! Shared by the fuzz targets: structured input, generated from the fuzzer's bytes.

mod case;
mod document;
mod model;
mod script;

pub use self::{
    case::{Case, Cut, Declared, End, Repeated, Reply, Sent, Then},
    document::Document,
    model::Verdict,
    script::{Script, Step},
};

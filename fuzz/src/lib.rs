//! Structured inputs that are generated from the fuzzer's bytes and shared by the fuzz targets.

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

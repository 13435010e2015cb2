//! Which of the usual mistakes explains a signature that does not match.
//!
//! `header`, `keys` and `bodies` each know the mistakes that are made with one of the three;
//! `search` tries them against each other, the fewest mistakes first.

mod bodies;
mod diagnosis;
mod header;
mod keys;
mod layout;
mod search;

pub use self::{
    diagnosis::{Diagnosis, DiagnosisKind},
    search::diagnose,
};

//! What a person sees and does, in Chromium.

mod driver;
mod look;

//! What a person sees and does, in Chromium.

mod attacks;
mod driver;
mod list;
mod load;
mod look;
mod one_delivery;

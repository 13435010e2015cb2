//! The page in Chromium, as a user sees it.

mod attacks;
mod connection;
mod driver;
mod list;
mod look;
mod one_delivery;

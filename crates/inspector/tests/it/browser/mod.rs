//! Tests the page in Chromium, as users see it.

mod attacks;
mod connection;
mod driver;
mod list;
mod look;
mod one_delivery;

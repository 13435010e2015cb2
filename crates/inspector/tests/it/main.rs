//! Tests of the inspector: over sockets, and in a real browser.

mod browser;
mod support;

//! Tests the inspector over sockets and in a real browser.

mod browser;
mod capture;
mod events;
mod example;
mod guard;
mod masking;
mod replay;
mod search;
mod subscription;
mod support;
mod verdicts;

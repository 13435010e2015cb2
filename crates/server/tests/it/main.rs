//! Tests of the server with real bytes.

mod age;
mod files;
mod heads;
mod places;
mod shutdown;
mod support;

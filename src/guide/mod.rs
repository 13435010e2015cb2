//! How to receive webhooks, test the receiver, and run it in production.
//!
#![doc = include_str!("links.txt")]
#![doc = include_str!("../../docs/guide/README.md")]

// The files in `docs/guide` define their links as repository paths, which would be broken on
// docs.rs. Markdown uses the first definition of a link, so `links.txt` is included first.

macro_rules! guides {
    ($($name:ident)*) => {
        $(
            #[doc = include_str!("links.txt")]
            #[doc = include_str!(concat!("../../docs/guide/", stringify!($name), ".md"))]
            pub mod $name {}
        )*
    };
}

guides! {
    going_live
    handlers
    migrating
    missing_events
    past_one_machine
    placement
    quick_start
    run_again
    schema_changes
    security
    testing_your_handler
    troubleshooting
}

// The code in this guide needs a metrics exporter, so `examples/metrics` tests it.
#[cfg(not(doctest))]
guides! { telemetry }

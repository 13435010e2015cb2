//! Tests `RedisStore` and the `fleet` example on servers that are paused, killed and failed over.

mod fleet;
mod settings;
mod store;

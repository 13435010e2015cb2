//! `RedisStore` and the example `fleet` on servers that are paused, killed and failed over.

mod fleet;
mod settings;
mod store;

//! `RedisStore` and the example `fleet`, on real servers that are paused, killed, restarted and failed
//! over.

mod fleet;
mod settings;
mod store;

//! A stranger at the door of the `receiver`, over real sockets: what he can send, and what he
//! cannot keep it from doing. Each test ends with a look at the receiver, which has to serve
//! honest deliveries as before, to have printed nothing else, and not to have panicked.

mod http1;
mod http2;
mod senders;
mod siege;
mod wire;

//! The signals that ask a process to stop.

use std::io;

/// Returns a future that resolves on the first SIGINT or SIGTERM. A second signal makes the process
/// exit immediately, even if all of its threads are busy or blocked.
///
/// The signals are caught as soon as this function is called. Call it first in `main`, and use the
/// future to cancel anything that may block, such as connecting to a database.
///
/// # Errors
///
/// Returns an error if the signals cannot be caught.
///
/// # Panics
///
/// Panics if called outside of a Tokio runtime.
#[cfg(unix)]
pub fn shutdown_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use std::sync::{Arc, atomic::AtomicBool};

    use signal_hook::{
        consts::{SIGINT, SIGTERM},
        flag,
    };
    use tokio::signal::unix::{SignalKind, signal};

    let had_signal = Arc::new(AtomicBool::new(false));
    // The order of the two loops matters: the first signal must find the flag unset before it sets
    // the flag.
    for number in [SIGINT, SIGTERM] {
        let second = had_signal.clone();
        // The kernel ignores the default actions of the first process in a container.
        if std::process::id() == 1 {
            flag::register_conditional_shutdown(number, 128 + number, second)?;
        } else {
            flag::register_conditional_default(number, second)?;
        }
    }
    for number in [SIGINT, SIGTERM] {
        flag::register(number, had_signal.clone())?;
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Returns a future that resolves on the first Ctrl-C.
///
/// # Errors
///
/// Returns an error if Ctrl-C cannot be caught.
#[cfg(not(unix))]
pub fn shutdown_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}

//! CPU-heavy work beside async work: it must not hold up the workers that drive streams and sockets.
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinSet;

/// Runs `work` on a thread for blocking work, and passes on its panic.
///
/// When the future is dropped, work that has not begun never begins; work that has begun ends unobserved.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // dropped with the future, a set aborts its tasks
    let mut task = JoinSet::new();
    task.spawn_blocking(work);
    match task.join_next().await {
        Some(Ok(value)) => value,
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // cancelled: the runtime shuts down, and nobody waits for this any more
        _ => std::future::pending().await,
    }
}

/// Runs `work` here, over borrowed data, while the runtime moves this worker's other tasks elsewhere, if it can.
pub(crate) fn compute<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

//! Work beside the task that waits for it: CPU-heavy work must not hold up the workers that drive streams and sockets,
//! and what others wait for must go on while its caller is not polled.
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinSet;

/// Runs `work` on a thread for blocking work, and passes on its panic.
///
/// When the future is dropped, work that has not begun never begins; work that has begun ends unobserved.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let mut task = JoinSet::new();
    task.spawn_blocking(work);
    joined(task).await
}

/// Runs `work` as a task of its own, which goes on while this future is not polled, and passes on its panic.
///
/// When the future is dropped, so is the work.
pub(crate) async fn spawned<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let mut task = JoinSet::new();
    task.spawn(work);
    joined(task).await
}

/// The value of the one task of a set: dropped with the future, a set aborts its tasks.
async fn joined<T: 'static>(mut task: JoinSet<T>) -> T {
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

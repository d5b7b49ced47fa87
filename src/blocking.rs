//! CPU-heavy work beside async work: it must not hold up the workers that drive streams and sockets.
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinSet;

/// Runs `work` on a thread for blocking work, and passes on its panic.
///
/// When the future is dropped, work that has not begun never begins; work that has begun ends unobserved.
#[expect(
    clippy::expect_used,
    reason = "the set holds the one task, which is not cancelled while it is awaited"
)]
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // dropped with the future, a set aborts its tasks
    let mut task = JoinSet::new();
    task.spawn_blocking(work);
    match task.join_next().await.expect("one task") {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Runs `work` here, over borrowed data, while the runtime moves this worker's other tasks elsewhere, if it can.
pub(crate) fn compute<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

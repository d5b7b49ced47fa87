//! Work on pixels: on a fixed set of threads, one for each core, whatever the queries, partitions and slices in flight.
//!
//! A photo takes megabytes, which live for milliseconds. On ever the same few threads the allocator hands out the
//! memory of the image before; on whatever thread is free each gets fresh pages, which the system fills with zeros
//! (a third of the time of decoding), and every thread keeps some. So many images as there are cores are there at a time.
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rayon_core::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::{Semaphore, oneshot};

use crate::blocking::blocking;

/// None where the system gives no threads.
static THREADS: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
    let named = |index| format!("pixels-{index}");
    ThreadPoolBuilder::new().num_threads(threads()).thread_name(named).build().ok()
});

/// How many pieces of work are under way, and how many of them wait in [`pause`].
static RUNNING: AtomicUsize = AtomicUsize::new(0);
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// How many threads there are for pixels.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// For what is at the threads of one query at a time: enough to keep them busy, few enough to let other queries in.
pub(crate) fn permits() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(2 * threads()))
}

/// Runs `work` on one of the threads for pixels, in the order of arrival, and passes on its panic.
///
/// When the future is dropped, work that has not begun never begins; work that has begun ends unobserved.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let work = || {
        let _running = Counted::new(&RUNNING);
        work()
    };
    let Some(threads) = &*THREADS else { return blocking(work).await };
    let (sender, receiver) = oneshot::channel();
    threads.spawn_fifo(move || {
        if !sender.is_closed() {
            // an error is that of a receiver dropped meanwhile
            let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
        }
    });
    match receiver.await {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => resume_unwind(panic),
        // not while this waits
        Err(_) => std::future::pending().await,
    }
}

/// Called by work on pixels that waits for what other such work holds: pauses, or returns false if there is none that
/// could give it back, because all of it waits too.
pub(crate) fn pause(duration: Duration) -> bool {
    let _waiting = Counted::new(&WAITING);
    let others = RUNNING.load(Ordering::SeqCst) > WAITING.load(Ordering::SeqCst);
    if others {
        std::thread::sleep(duration);
    }
    others
}

/// Counts one until it is dropped.
struct Counted(&'static AtomicUsize);

impl Counted {
    fn new(count: &'static AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::future::join_all;

    use super::*;

    #[test]
    fn as_many_at_a_time_as_there_are_cores_on_any_runtime() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let works = (0..8 * threads()).map(|index| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            run(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
                now.fetch_sub(1, Ordering::SeqCst);
                index
            })
        });
        // neither a runtime of one thread nor none at all is held up
        assert_eq!(futures::executor::block_on(join_all(works)), (0..8 * threads()).collect::<Vec<_>>());
        assert!(most.load(Ordering::SeqCst) <= threads());
    }

    #[test]
    fn what_nobody_waits_for_never_begins() {
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let blockers: Vec<_> = (0..threads())
            .map(|_| {
                let held = Arc::clone(&held);
                runtime.spawn(run(move || held.lock().unwrap().recv()))
            })
            .collect();
        while RUNNING.load(Ordering::SeqCst) < threads() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (begun, begins) = mpsc::channel::<()>();
        let abandoned = runtime.spawn(run(move || begun.send(())));
        std::thread::sleep(Duration::from_millis(20));
        abandoned.abort();
        drop(runtime.block_on(abandoned));
        for _ in 0..threads() {
            release.send(()).unwrap();
        }
        for blocker in blockers {
            runtime.block_on(blocker).unwrap().unwrap();
        }
        // its sender was dropped with it
        assert!(begins.recv().is_err());
    }

    #[test]
    fn a_panic_reaches_who_waits() {
        let work = AssertUnwindSafe(|| futures::executor::block_on(run(|| panic!("of the work"))));
        assert_eq!(catch_unwind(work).unwrap_err().downcast_ref(), Some(&"of the work"));
    }
}

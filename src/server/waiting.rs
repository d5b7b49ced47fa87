//! How many wait for something.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A place in a queue, given back when who waits goes away too.
pub(super) struct Waiting<'a> {
    waiting: &'a AtomicUsize,
    /// How many there were already.
    pub(super) before: usize,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(waiting: &'a AtomicUsize) -> Self {
        Self { waiting, before: waiting.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

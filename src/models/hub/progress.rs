//! The models that this process fetches now, for whoever shows it.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

static PULLS: Mutex<Vec<Weak<Progress>>> = Mutex::new(Vec::new());

/// How far a model is fetched.
#[derive(Debug)]
pub struct Progress {
    model: String,
    bytes: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Shown by [`pulls`] until it is dropped.
    pub(super) fn begin(model: String) -> Arc<Self> {
        let begun = Arc::new(Self { model, bytes: AtomicU64::new(0), total: AtomicU64::new(0) });
        let mut pulls = PULLS.lock().unwrap_or_else(PoisonError::into_inner);
        pulls.retain(|pull| pull.strong_count() > 0);
        pulls.push(Arc::downgrade(&begun));
        begun
    }

    pub(super) fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What was read counts no more.
    pub(super) fn take_back(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The name of the model.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Bytes that are here.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of all files; 0 until they are known.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

/// The models that this process fetches now.
#[must_use]
pub fn pulls() -> Vec<Arc<Progress>> {
    let pulls = PULLS.lock().unwrap_or_else(PoisonError::into_inner);
    pulls.iter().filter_map(Weak::upgrade).collect()
}

//! The models of the process: weights are loaded once, however many sessions and queries use them.
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::error::Result;

/// How many models are kept that no query uses: those that were used last.
const KEPT: usize = 8;

/// A model that is read from files.
pub(super) trait Opened {
    /// Whether its files are those that it was opened with.
    fn is_current(&self) -> bool;
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct OpenedModels<K, M>(Mutex<Models<K, M>>);

#[derive(Debug)]
struct Models<K, M> {
    by_key: HashMap<K, Weak<M>>,
    /// The last one used is last.
    kept: VecDeque<Arc<M>>,
}

impl<K: Eq + Hash, M: Opened> OpenedModels<K, M> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Models { by_key: HashMap::new(), kept: VecDeque::new() }))
    }

    /// The model of a key; opened where it is not here, or where its files are not those that it was opened with: queries
    /// that use the one before keep it.
    pub(super) fn get(&self, key: K, open: impl FnOnce() -> Result<M>) -> Result<Arc<M>> {
        let mut models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = models.by_key.get(&key).and_then(Weak::upgrade);
        if let Some(known) = &known {
            models.kept.retain(|kept| !Arc::ptr_eq(kept, known));
        }
        let model = match known.filter(|known| known.is_current()) {
            Some(known) => known,
            None => {
                let model = Arc::new(open()?);
                models.by_key.retain(|_, model| model.strong_count() > 0);
                models.by_key.insert(key, Arc::downgrade(&model));
                model
            }
        };
        models.kept.push_back(Arc::clone(&model));
        if models.kept.len() > KEPT {
            models.kept.pop_front();
        }
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[derive(Debug)]
    struct Numbered(usize, AtomicBool);

    impl Opened for Numbered {
        fn is_current(&self) -> bool {
            self.1.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn models_are_shared_while_they_are_used_or_were_lately() {
        let (models, opened) = (OpenedModels::new(), AtomicUsize::new(0));
        let get = |key: usize| {
            let open = || Ok(Numbered(opened.fetch_add(1, Ordering::SeqCst), AtomicBool::new(true)));
            models.get(key, open).unwrap()
        };
        let used = get(0);
        let unused = Arc::downgrade(&get(1));
        for key in 2..KEPT {
            get(key);
        }
        assert_eq!(get(0).0, 0);
        assert!(unused.upgrade().is_some());
        get(KEPT);
        assert!(unused.upgrade().is_none(), "let go");
        for key in 0..3 * KEPT {
            get(100 + key);
        }
        assert!(Arc::ptr_eq(&get(0), &used), "a query has it");
        assert!(models.0.lock().unwrap().by_key.len() <= KEPT + 2);

        used.1.store(false, Ordering::SeqCst);
        let anew = get(0);
        assert!(!Arc::ptr_eq(&anew, &used));
        assert!(Arc::ptr_eq(&anew, &get(0)));
        assert_eq!(Arc::strong_count(&used), 1, "nobody else keeps it");
    }
}

//! The models of the process: weights are loaded once, however many sessions and queries use them.
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::error::Result;

/// How many models are kept that no query uses: those that were used last.
const KEPT: usize = 8;
/// Of how many queries it is known which model they use.
const QUERIES: usize = 1 << 16;

/// A model that is read from files.
pub(super) trait Opened {
    /// What its files were when it was opened.
    type Files: std::fmt::Debug + PartialEq;

    fn files(&self) -> &Arc<Self::Files>;

    /// Whether they are still the same.
    fn are_unchanged(files: &Self::Files) -> bool;
}

/// Which of the models that were at one place in turn this is. A query uses one of them, whichever it meets first.
#[derive(Debug, Clone, Default)]
pub(super) struct Generation {
    number: usize,
    /// Those that queries use, by their numbers.
    of_queries: Arc<Mutex<BTreeMap<u64, usize>>>,
}

impl Generation {
    /// Whether the query uses no other one.
    pub(super) fn admits(&self, query: u64) -> bool {
        let mut of_queries = self.of_queries.lock().unwrap_or_else(PoisonError::into_inner);
        let used = *of_queries.entry(query).or_insert(self.number);
        if of_queries.len() > QUERIES {
            of_queries.pop_first();
        }
        used == self.number
    }

    fn next(&self) -> Self {
        Self { number: self.number + 1, of_queries: Arc::clone(&self.of_queries) }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct OpenedModels<K, M: Opened>(Mutex<Models<K, M>>);

#[derive(Debug)]
struct Models<K, M: Opened> {
    by_key: HashMap<K, Entry<M>>,
    /// The last one used is last.
    kept: VecDeque<Arc<M>>,
}

#[derive(Debug)]
struct Entry<M: Opened> {
    model: Weak<M>,
    files: Arc<M::Files>,
    generation: Generation,
}

impl<K: Eq + Hash, M: Opened> OpenedModels<K, M> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Models { by_key: HashMap::new(), kept: VecDeque::new() }))
    }

    /// The model of a key; opened where it is not here, or where its files are not those that it was opened with: queries
    /// that use the one before keep it.
    pub(super) fn get(&self, key: K, open: impl FnOnce() -> Result<M>) -> Result<(Arc<M>, Generation)> {
        let mut models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Models { by_key, kept } = &mut *models;
        let known = by_key.get(&key);
        let opened = known.and_then(|known| known.model.upgrade());
        if let Some(opened) = &opened {
            kept.retain(|kept| !Arc::ptr_eq(kept, opened));
        }
        let model = match opened.filter(|model| M::are_unchanged(model.files())) {
            Some(opened) => opened,
            None => Arc::new(open()?),
        };
        let generation = match known {
            None => Generation::default(),
            Some(known) if known.files == *model.files() => known.generation.clone(),
            Some(known) => known.generation.next(),
        };
        let (of_model, files) = (Arc::downgrade(&model), Arc::clone(model.files()));
        by_key.insert(key, Entry { model: of_model, files, generation: generation.clone() });
        kept.push_back(Arc::clone(&model));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        Ok((model, generation))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// What is in the files now.
    static CONTENT: AtomicUsize = AtomicUsize::new(0);

    #[derive(Debug)]
    struct Numbered(usize, Arc<usize>);

    impl Opened for Numbered {
        type Files = usize;

        fn files(&self) -> &Arc<usize> {
            &self.1
        }

        fn are_unchanged(files: &usize) -> bool {
            *files == CONTENT.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn models_are_shared_while_they_are_used_or_were_lately_and_their_files_stay() {
        let (models, opened) = (OpenedModels::new(), AtomicUsize::new(0));
        let get = |key: usize| {
            let content = Arc::new(CONTENT.load(Ordering::SeqCst));
            models.get(key, || Ok(Numbered(opened.fetch_add(1, Ordering::SeqCst), content))).unwrap()
        };
        let (used, generation) = get(0);
        let unused = Arc::downgrade(&get(1).0);
        for key in 2..KEPT {
            get(key);
        }
        assert_eq!(get(0).0.0, 0);
        assert!(unused.upgrade().is_some());
        get(KEPT);
        assert!(unused.upgrade().is_none(), "let go");
        for key in 0..3 * KEPT {
            get(100 + key);
        }
        assert!(Arc::ptr_eq(&get(0).0, &used), "a query has it");
        assert!(generation.admits(5) && get(0).1.admits(5) && get(1).1.admits(5));

        CONTENT.store(1, Ordering::SeqCst);
        let (anew, other) = get(0);
        assert!(!Arc::ptr_eq(&anew, &used));
        assert!(Arc::ptr_eq(&anew, &get(0).0));
        assert_eq!(Arc::strong_count(&used), 1, "nobody else keeps it");
        assert!(!other.admits(5) && generation.admits(5), "a query that has begun with another one");
        assert!(other.admits(6) && !generation.admits(6));
        // let go and opened again it is the same
        let gone = Arc::downgrade(&anew);
        drop(anew);
        (0..KEPT).for_each(|key| drop(get(200 + key)));
        assert!(gone.upgrade().is_none());
        assert!(get(0).1.admits(6) && !get(0).1.admits(5));
    }
}

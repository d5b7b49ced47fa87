//! What the calls of a query have returned, so that equal inputs are computed once.
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, ArrayRef};
use datafusion::common::{DataFusionError, HashMap, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

use super::keys::Key;

/// What an invocation of a function returns. Everybody who waits for it drives it, so it ends with the last of them.
pub(super) type Answer = Shared<BoxFuture<'static, Result<ArrayRef, Arc<DataFusionError>>>>;

/// What one input costs beside its value: its key in the table and in the list of its invocation.
const KEY_BYTES: usize = 3 * size_of::<Key>() + size_of::<Place>();

/// The results of a query's calls, of all its partitions: those that are being computed, and of those that are there
/// the smallest and latest, up to a number of bytes. So files that are read do not push out the embeddings that were
/// made of them, of which thousands take no more than one file.
#[derive(Debug)]
pub(super) struct Results {
    max_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    places: HashMap<Key, Place>,
    invocations: HashMap<u64, Invocation>,
    /// Those that are done, in the order in which they are let go: the largest for an input first, as powers of two,
    /// and of these the oldest.
    kept: BTreeSet<(Reverse<u32>, u64)>,
    next: u64,
    bytes: usize,
    /// The part of the memory pool that `bytes` take.
    reservation: MemoryReservation,
}

/// Where the result of an input is.
#[derive(Debug, Clone, Copy)]
struct Place {
    invocation: u64,
    row: u32,
}

/// One invocation of a function, over new inputs.
#[derive(Debug)]
struct Invocation {
    keys: Vec<Key>,
    bytes: usize,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    /// Not held here: when nobody waits for it any more it is dropped.
    Running(WeakShared<BoxFuture<'static, Result<ArrayRef, Arc<DataFusionError>>>>),
    Done(ArrayRef),
}

/// Where the results of some inputs come from.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) answers: Vec<Answer>,
    /// For each input the answer and the row in it.
    pub(super) places: Vec<(usize, usize)>,
    /// How many inputs nobody had asked for.
    pub(super) new: usize,
}

impl Results {
    pub(super) fn new(max_bytes: usize, reservation: MemoryReservation) -> Self {
        let state = State {
            places: HashMap::new(),
            invocations: HashMap::new(),
            kept: BTreeSet::new(),
            next: 0,
            bytes: 0,
            reservation,
        };
        Self { max_bytes, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the results of the inputs with these keys. `invoke` gets the rows of those that are new, each key once,
    /// and makes the future that computes them.
    pub(super) fn claim<F>(self: &Arc<Self>, keys: &[Key], invoke: impl FnOnce(Vec<u32>) -> F) -> Claim
    where
        F: Future<Output = Result<ArrayRef>> + Send + 'static,
    {
        let mut state = self.state();
        let own = state.next;
        let mut answers = vec![];
        let mut known: HashMap<u64, Option<usize>> = HashMap::new();
        let mut places = Vec::with_capacity(keys.len());
        let mut new_rows: Vec<u32> = vec![];
        for (row, key) in keys.iter().enumerate() {
            let place = state.places.get(key).copied();
            let answer = place.and_then(|place| {
                if place.invocation == own {
                    return Some(usize::MAX);
                }
                *known.entry(place.invocation).or_insert_with(|| {
                    answers.push(state.invocations.get(&place.invocation)?.answer()?);
                    Some(answers.len() - 1)
                })
            });
            match (answer, place) {
                (Some(answer), Some(place)) => places.push((answer, place.row as usize)),
                _ => {
                    #[expect(clippy::cast_possible_truncation, reason = "rows of one slice")]
                    let position = new_rows.len() as u32;
                    state.places.insert(*key, Place { invocation: own, row: position });
                    places.push((usize::MAX, new_rows.len()));
                    #[expect(clippy::cast_possible_truncation, reason = "rows of one slice")]
                    new_rows.push(row as u32);
                }
            }
        }
        let new = new_rows.len();
        if new > 0 {
            state.next += 1;
            let of_rows = new_rows.iter().map(|row| keys[*row as usize]).collect();
            let (results, computed) = (Arc::clone(self), invoke(new_rows));
            let answer = async move {
                let outcome = computed.await.map_err(Arc::new);
                results.finish(own, outcome.as_ref().ok());
                outcome
            };
            let answer = answer.boxed().shared();
            if let Some(weak) = answer.downgrade() {
                let invocation = Invocation { keys: of_rows, bytes: 0, outcome: Outcome::Running(weak) };
                state.invocations.insert(own, invocation);
            }
            for (place, _) in &mut places {
                *place = (*place).min(answers.len());
            }
            answers.push(answer);
        }
        Claim { answers, places, new }
    }

    /// Forgets the results that are there.
    pub(super) fn forget_all(&self) {
        let mut state = self.state();
        while let Some((_, first)) = state.kept.pop_first() {
            state.forget(first);
        }
    }

    /// Keeps the values of an invocation, in place of larger or older ones; forgets it where it failed or is too large.
    fn finish(&self, id: u64, values: Option<&ArrayRef>) {
        let mut guard = self.state();
        let state = &mut *guard;
        let Some(invocation) = state.invocations.get_mut(&id) else { return };
        let bytes = values.map_or(0, Array::get_array_memory_size)
            + invocation.keys.len() * KEY_BYTES
            + size_of::<Invocation>();
        match values {
            Some(values) if bytes <= self.max_bytes && state.reservation.try_grow(bytes).is_ok() => {
                invocation.outcome = Outcome::Done(Arc::clone(values));
                invocation.bytes = bytes;
                state.bytes += bytes;
                let per_input = bytes.div_ceil(invocation.keys.len().max(1));
                state.kept.insert((Reverse(per_input.ilog2()), id));
            }
            _ => state.forget(id),
        }
        while state.bytes > self.max_bytes
            && let Some((_, first)) = state.kept.pop_first()
        {
            state.forget(first);
        }
    }
}

impl State {
    fn forget(&mut self, id: u64) {
        let Some(invocation) = self.invocations.remove(&id) else { return };
        for key in &invocation.keys {
            if self.places.get(key).is_some_and(|place| place.invocation == id) {
                self.places.remove(key);
            }
        }
        self.bytes -= invocation.bytes;
        self.reservation.shrink(invocation.bytes);
    }
}

impl Invocation {
    /// None if it was dropped before it was done.
    fn answer(&self) -> Option<Answer> {
        match &self.outcome {
            Outcome::Running(answer) => answer.upgrade(),
            Outcome::Done(values) => Some(futures::future::ready(Ok(Arc::clone(values))).boxed().shared()),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::UInt8Array;
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool};

    use super::*;

    fn results(max_bytes: usize) -> Arc<Results> {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(usize::MAX));
        Arc::new(Results::new(max_bytes, MemoryConsumer::new("test").register(&pool)))
    }

    /// Asks for one input whose result has that many bytes; whether it was new.
    fn ask(results: &Arc<Results>, key: Key, bytes: usize) -> bool {
        let claim = results
            .claim(&[key], |_| async move { Ok(Arc::new(UInt8Array::from(vec![0; bytes])) as ArrayRef) });
        for answer in claim.answers {
            futures::executor::block_on(answer).unwrap();
        }
        claim.new == 1
    }

    #[test]
    fn the_oldest_results_are_let_go_first() {
        let results = results(10_000);
        for key in 0..4 {
            assert!(ask(&results, key, 3000));
        }
        assert!(!ask(&results, 3, 3000));
        assert!(ask(&results, 0, 3000));
    }

    #[test]
    fn large_results_do_not_push_out_small_ones() {
        let results = results(10_000);
        assert!(ask(&results, 0, 10));
        for file in 1..10 {
            assert!(ask(&results, file, 6000));
        }
        assert!(!ask(&results, 0, 10));
    }
}

//! What waits for a model: the inputs of all calls, and the choice of the next request batch among them.
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::error::{Result, data_err};

/// One input of a model, tokenised or preprocessed.
///
/// Its order is by length first: neighbours in it make good batches. Equal inputs have equal vectors.
pub(super) trait Input: Ord + Send + Sync {
    /// What the input costs a run, in any unit: the share of a call is counted in it. Longer inputs cost more.
    fn size(&self) -> u64;

    /// Whether `other`, which is not longer, may join a batch of `count` inputs of which this is the longest.
    fn admits(&self, other: &Self, count: usize) -> bool;
}

/// Names a call as long as it waits.
pub(super) type CallId = u64;

/// Where a vector goes: an input of a call, by its index.
#[derive(Debug, Clone, Copy)]
struct Place {
    call: CallId,
    index: usize,
}

/// Inputs of one run, each with the places that wait for its vector.
#[derive(Debug)]
pub(super) struct Batch<I> {
    inputs: Vec<(Arc<I>, Vec<Place>)>,
}

impl<I> Batch<I> {
    pub(super) fn inputs(&self) -> Vec<&I> {
        self.inputs.iter().map(|(input, _)| input.as_ref()).collect()
    }
}

/// A call that waits for vectors.
#[derive(Debug)]
struct Call<I> {
    /// Its inputs from short to long; those at the end that no longer wait are dropped when it is its turn.
    inputs: Vec<Arc<I>>,
    /// What its inputs have cost so far.
    served: u64,
    /// How many vectors are missing.
    missing: usize,
    dimensions: usize,
    vectors: Vec<f32>,
    done: oneshot::Sender<Result<Vec<f32>>>,
}

/// The inputs that wait for one model.
///
/// Batches are cut from the inputs of all calls together, so that small calls share a run and little is padded. Whose
/// turn it is is decided by what each call has been given so far, so that a large call does not hold up a small one.
#[derive(Debug)]
pub(super) struct Queue<I> {
    last_call: CallId,
    /// What no run has taken yet. Equal inputs are one.
    pending: BTreeMap<Arc<I>, Vec<Place>>,
    calls: HashMap<CallId, Call<I>>,
}

impl<I: Input> Queue<I> {
    pub(super) fn new() -> Self {
        Self { last_call: 0, pending: BTreeMap::new(), calls: HashMap::new() }
    }

    /// Adds a call; its vectors, of `dimensions` numbers each, are sent in the order of `inputs`, or its first error.
    pub(super) fn push(
        &mut self,
        inputs: Vec<I>,
        dimensions: usize,
    ) -> (CallId, oneshot::Receiver<Result<Vec<f32>>>) {
        self.last_call += 1;
        let id = self.last_call;
        let (done, vectors) = oneshot::channel();
        let missing = inputs.len();
        if missing == 0 {
            // the receiver is at hand: nothing is lost
            let _ = done.send(Ok(Vec::new()));
            return (id, vectors);
        }
        let mut waiting = Vec::with_capacity(missing);
        for (index, input) in inputs.into_iter().enumerate() {
            let place = Place { call: id, index };
            match self.pending.entry(Arc::new(input)) {
                Entry::Occupied(mut same) => {
                    waiting.push(Arc::clone(same.key()));
                    same.get_mut().push(place);
                }
                Entry::Vacant(vacant) => {
                    waiting.push(Arc::clone(vacant.key()));
                    vacant.insert(vec![place]);
                }
            }
        }
        waiting.sort();
        // a new call comes after none of those that wait, and gets nothing for the time before it came
        let served = self.calls.values().map(|call| call.served).min().unwrap_or(0);
        let call = Call {
            inputs: waiting,
            served,
            missing,
            dimensions,
            vectors: vec![0.0; missing * dimensions],
            done,
        };
        self.calls.insert(id, call);
        (id, vectors)
    }

    /// Takes the next batch: the longest input of the call that has been given least, and what fits beside it of all
    /// calls. `None` where nothing waits.
    pub(super) fn take(&mut self) -> Option<Batch<I>> {
        for call in self.calls.values_mut() {
            while call.inputs.pop_if(|input| !self.pending.contains_key(input)).is_some() {}
        }
        let calls = self.calls.iter().filter_map(|(id, call)| Some((call.served, id, call.inputs.last()?)));
        let (_, _, longest) = calls.min_by_key(|(served, id, _)| (*served, **id))?;
        let longer = self.pending.range((Bound::Excluded(Arc::clone(longest)), Bound::Unbounded));
        let as_long = longer.take_while(|(input, _)| input.size() == longest.size());
        let shorter = self.pending.range(..Arc::clone(longest)).rev();
        let mut chosen = vec![Arc::clone(longest)];
        for (input, _) in as_long.chain(shorter) {
            if !longest.admits(input, chosen.len()) {
                break;
            }
            chosen.push(Arc::clone(input));
        }
        let inputs = chosen.into_iter().filter_map(|input| self.pending.remove_entry(&input));
        let batch = Batch { inputs: inputs.collect() };
        for (input, places) in &batch.inputs {
            for place in places {
                if let Some(call) = self.calls.get_mut(&place.call) {
                    call.served += input.size();
                }
            }
        }
        Some(batch)
    }

    /// Puts a batch back that was not run.
    pub(super) fn put_back(&mut self, batch: Batch<I>) {
        for (input, places) in batch.inputs {
            for place in places {
                let Some(call) = self.calls.get_mut(&place.call) else { continue };
                call.served = call.served.saturating_sub(input.size());
                let at = call.inputs.partition_point(|other| other <= &input);
                call.inputs.insert(at, Arc::clone(&input));
                self.pending.entry(Arc::clone(&input)).or_default().push(place);
            }
        }
    }

    /// Hands out the results of a batch: one for all of its inputs, or one for each in their order. The vectors of a
    /// result lie one behind the other; an error fails every call that waits for one of them.
    pub(super) fn deliver(&mut self, batch: &Batch<I>, results: &[Result<Vec<f32>>]) {
        let rows = batch.inputs.len() / results.len().max(1);
        for (row, (_, places)) in batch.inputs.iter().enumerate() {
            for place in places {
                if let Some(result) = results.get(row / rows.max(1)) {
                    self.deliver_to(*place, row % rows.max(1), rows, result);
                }
            }
        }
    }

    fn deliver_to(&mut self, place: Place, row: usize, rows: usize, vectors: &Result<Vec<f32>>) {
        let Some(call) = self.calls.get_mut(&place.call) else { return };
        let size = call.dimensions;
        let result = match vectors {
            Ok(vectors) if vectors.len() == rows * size => {
                call.vectors[place.index * size..][..size].copy_from_slice(&vectors[row * size..][..size]);
                call.missing -= 1;
                if call.missing > 0 {
                    return;
                }
                Ok(std::mem::take(&mut call.vectors))
            }
            Ok(vectors) => {
                data_err!("the model returned {} numbers, expected {rows} vectors of {size}", vectors.len())
            }
            Err(error) => Err(error.clone()),
        };
        if let Some(call) = self.remove(place.call) {
            // a call that nobody waits for any more
            let _ = call.done.send(result);
        }
    }

    /// Whether the call has inputs that no run has taken.
    pub(super) fn is_pending(&self, call: CallId) -> bool {
        let Some(call) = self.calls.get(&call) else { return false };
        call.inputs.iter().rev().any(|input| self.pending.contains_key(input))
    }

    /// Whether the call still waits for vectors.
    pub(super) fn is_waiting(&self, call: CallId) -> bool {
        self.calls.contains_key(&call)
    }

    /// Ends a call: those of its inputs that no other call waits for are not run any more.
    pub(super) fn cancel(&mut self, call: CallId) {
        self.remove(call);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.pending.is_empty()
    }

    fn remove(&mut self, id: CallId) -> Option<Call<I>> {
        let call = self.calls.remove(&id)?;
        for input in &call.inputs {
            if let Entry::Occupied(mut places) = self.pending.entry(Arc::clone(input)) {
                places.get_mut().retain(|place| place.call != id);
                if places.get().is_empty() {
                    places.remove();
                }
            }
        }
        Some(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    /// A text of so many tokens; the number after it tells texts of one length apart. 10 padded tokens are a run.
    impl Input for (usize, u32) {
        fn size(&self) -> u64 {
            self.0 as u64
        }

        fn admits(&self, _: &Self, count: usize) -> bool {
            (count + 1) * self.0 <= 10
        }
    }

    type Texts = Queue<(usize, u32)>;

    fn lengths(batch: &Batch<(usize, u32)>) -> Vec<usize> {
        batch.inputs().iter().map(|input| input.0).collect()
    }

    /// Runs all that waits; the vector of a text is its length. Returns the lengths of each run.
    fn drain(queue: &mut Texts) -> Vec<Vec<usize>> {
        let mut runs = Vec::new();
        while let Some(batch) = queue.take() {
            let vectors =
                batch.inputs().iter().map(|input| f32::from(u8::try_from(input.0).unwrap())).collect();
            runs.push(lengths(&batch));
            queue.deliver(&batch, &[Ok(vectors)]);
        }
        runs
    }

    #[test]
    fn batches_hold_texts_of_similar_length_within_the_budget_and_results_keep_their_order() {
        let mut queue = Texts::new();
        let (_, mut vectors) = queue.push(vec![(2, 0), (20, 0), (3, 0), (2, 1), (5, 0), (3, 1), (5, 1)], 1);
        assert_eq!(drain(&mut queue), [vec![20], vec![5, 5], vec![3, 3, 2], vec![2]]);
        assert_eq!(vectors.try_recv().unwrap().unwrap(), [2.0, 20.0, 3.0, 2.0, 5.0, 3.0, 5.0]);
        assert!(queue.is_empty());
    }

    #[test]
    fn small_calls_share_a_run_and_equal_texts_are_run_once() {
        let mut queue = Texts::new();
        let (_, mut first) = queue.push(vec![(3, 0)], 1);
        let (_, mut second) = queue.push(vec![(3, 1), (2, 0), (3, 0)], 1);
        assert_eq!(drain(&mut queue), [vec![3, 3, 2]]);
        assert_eq!(first.try_recv().unwrap().unwrap(), [3.0]);
        assert_eq!(second.try_recv().unwrap().unwrap(), [3.0, 2.0, 3.0]);
    }

    #[test]
    fn a_large_call_does_not_hold_up_a_small_one() {
        let mut queue = Texts::new();
        let (_, _large) = queue.push((0..100).map(|text| (10, text)).collect(), 1);
        for _ in 0..50 {
            queue.take().unwrap();
        }
        let (_, mut small) = queue.push((0..2).map(|text| (8, text)).collect(), 1);
        for _ in 0..4 {
            let batch = queue.take().unwrap();
            let vectors = vec![0.0; batch.inputs().len()];
            queue.deliver(&batch, &[Ok(vectors)]);
        }
        assert!(small.try_recv().is_ok());
    }

    #[test]
    fn two_calls_get_halves() {
        let mut queue = Texts::new();
        let (one, _one) = queue.push((0..100).map(|text| (10, text)).collect(), 1);
        let (two, _two) = queue.push((0..100).map(|text| (5, text)).collect(), 1);
        for _ in 0..20 {
            queue.take().unwrap();
        }
        assert_eq!(queue.calls[&one].served.abs_diff(queue.calls[&two].served), 0);
    }

    #[test]
    fn what_only_a_cancelled_call_waited_for_is_not_run() {
        let mut queue = Texts::new();
        let (cancelled, _) = queue.push(vec![(1, 0), (2, 0), (3, 0)], 1);
        let (_, mut kept) = queue.push(vec![(2, 0)], 1);
        queue.cancel(cancelled);
        assert!(!queue.is_waiting(cancelled) && !queue.is_pending(cancelled));
        assert_eq!(drain(&mut queue), [vec![2]]);
        assert_eq!(kept.try_recv().unwrap().unwrap(), [2.0]);
    }

    #[test]
    fn a_batch_that_was_put_back_is_run_for_those_who_still_wait() {
        let mut queue = Texts::new();
        let (cancelled, _) = queue.push(vec![(1, 0), (3, 0)], 1);
        let (id, mut kept) = queue.push(vec![(3, 0), (2, 0)], 1);
        let batch = queue.take().unwrap();
        assert_eq!(lengths(&batch), [3, 2, 1]);
        assert!(!queue.is_pending(id));
        queue.cancel(cancelled);
        queue.put_back(batch);
        assert!(queue.is_pending(id));
        assert_eq!(drain(&mut queue), [vec![3, 2]]);
        assert_eq!(kept.try_recv().unwrap().unwrap(), [3.0, 2.0]);
    }

    #[test]
    fn an_error_fails_the_calls_of_its_batch_and_no_other() {
        let mut queue = Texts::new();
        let (_, mut failed) = queue.push(vec![(10, 0), (1, 0)], 1);
        let (_, mut other) = queue.push(vec![(2, 0)], 1);
        let batch = queue.take().unwrap();
        queue.deliver(&batch, &[Err(Error::Data("broken".to_owned()))]);
        assert_eq!(drain(&mut queue), [vec![2]]);
        assert_eq!(failed.try_recv().unwrap().unwrap_err().to_string(), "broken");
        assert_eq!(other.try_recv().unwrap().unwrap(), [2.0]);
    }
}

//! Runs a model for every call of the process: calls of all partitions and queries share request batches and cores.
//!
//! There are no threads of its own: the work is done on the blocking threads of the runtimes that wait for it, and it
//! is given up with them. A run keeps to one core and has a session of its own, so that runs need not wait for each
//! other inside ONNX Runtime, and no thread spins beside those of `DataFusion`.
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OnceCell};
use tokio::task::JoinSet;

use super::queue::{Batch, CallId, Input, Queue};
use crate::blocking::blocking;
use crate::error::{Error, Result, data_err};

/// A model that is run for batches of inputs.
pub(super) trait Model: Send + Sync + 'static {
    /// What it is run for.
    type Input: Input + 'static;
    /// What a run needs for itself.
    type Session: Send + 'static;

    /// The numbers of a vector.
    fn dimensions(&self) -> usize;

    /// Another session; takes long.
    fn open(&self) -> Result<Self::Session>;

    /// The most runs at a time, once there is a session.
    fn most_runs(&self) -> usize {
        usize::MAX
    }

    /// The vectors of some inputs, one behind the other. The inputs go from long to short.
    fn run(&self, session: &mut Self::Session, inputs: &[&Self::Input]) -> Result<Vec<f32>>;
}

/// See the [module](self).
pub(super) struct Scheduler<M: Model> {
    shared: Arc<Shared<M>>,
    first_session: OnceCell<()>,
}

struct Shared<M: Model> {
    model: M,
    state: Mutex<State<M>>,
    /// Told whenever a run ends and leaves its session behind.
    released: Notify,
}

struct State<M: Model> {
    queue: Queue<M::Input>,
    /// Sessions that nobody uses at the moment.
    idle: Vec<M::Session>,
    /// How many runs there are at the moment.
    running: usize,
}

impl<M: Model> fmt::Debug for Scheduler<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").finish_non_exhaustive()
    }
}

impl<M: Model> Scheduler<M> {
    pub(super) fn new(model: M) -> Self {
        let state = State { queue: Queue::new(), idle: Vec::new(), running: 0 };
        let shared = Shared { model, state: Mutex::new(state), released: Notify::new() };
        Self { shared: Arc::new(shared), first_session: OnceCell::new() }
    }

    pub(super) fn model(&self) -> &M {
        &self.shared.model
    }

    /// Opens the first session, unless that was done; meanwhile the first inputs can be prepared.
    pub(super) async fn prepare(&self) -> Result<()> {
        let open = || {
            let shared = Arc::clone(&self.shared);
            blocking(move || {
                let session = shared.model.open()?;
                shared.state().idle.push(session);
                Ok(())
            })
        };
        self.first_session.get_or_try_init(open).await.copied()
    }

    /// The vectors of some inputs, one behind the other in their order, made with at most `threads` runs at a time.
    ///
    /// When the future is dropped, no further run is begun for its inputs; one that has begun ends unobserved.
    pub(super) async fn embed(&self, inputs: Vec<M::Input>, threads: usize) -> Result<Vec<f32>> {
        let (id, vectors) = self.shared.state().queue.push(inputs, self.shared.model.dimensions());
        let _call = Waiting { shared: &self.shared, id };
        let mut vectors = pin!(vectors);
        // dropped with the future, a set aborts what has not begun
        let mut runs = JoinSet::new();
        loop {
            // listening begins before the state is looked at: no release can be missed in between
            let mut released = pin!(self.shared.released.notified());
            released.as_mut().enable();
            while let Some(run) = self.shared.begin(id, threads) {
                runs.spawn_blocking(move || run.work());
            }
            tokio::select! {
                biased;
                vectors = &mut vectors => return vectors.unwrap_or_else(|_| given_up()),
                () = released => {}
            }
        }
    }
}

impl<M: Model> Shared<M> {
    fn state(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run for a call whose inputs wait, if fewer than `threads` are under way.
    fn begin(self: &Arc<Self>, call: CallId, threads: usize) -> Option<Run<M>> {
        let most = threads.min(self.model.most_runs()).max(1);
        let mut state = self.state();
        if state.running >= most || !state.queue.is_pending(call) {
            return None;
        }
        let first = state.queue.take()?;
        state.running += 1;
        Some(Run {
            shared: Arc::clone(self),
            call,
            session: state.idle.pop(),
            first: Some(first),
            current: None,
        })
    }

    /// The results of a batch. Where several inputs fail together, each is tried alone: an input that cannot be
    /// embedded costs no other its vector, least of all one of another query.
    fn run(&self, session: &mut M::Session, batch: &Batch<M::Input>) -> Vec<Result<Vec<f32>>> {
        let inputs = batch.inputs();
        match self.model.run(session, &inputs) {
            Err(Error::Data(_)) if inputs.len() > 1 => {
                inputs.iter().map(|input| self.model.run(session, &[input])).collect()
            }
            result => vec![result],
        }
    }
}

fn given_up() -> Result<Vec<f32>> {
    data_err!("the model's run ended without a result")
}

/// A call as long as somebody waits for it.
struct Waiting<'a, M: Model> {
    shared: &'a Shared<M>,
    id: CallId,
}

impl<M: Model> Drop for Waiting<'_, M> {
    fn drop(&mut self) {
        self.shared.state().queue.cancel(self.id);
    }
}

/// Batch after batch on one thread, as long as the call for which it was begun waits.
struct Run<M: Model> {
    shared: Arc<Shared<M>>,
    call: CallId,
    session: Option<M::Session>,
    /// What is run first.
    first: Option<Batch<M::Input>>,
    /// What is being run.
    current: Option<Batch<M::Input>>,
}

impl<M: Model> Run<M> {
    fn work(mut self) {
        self.current = self.first.take();
        let opened = match self.session.take() {
            Some(session) => Ok(session),
            None => self.shared.model.open(),
        };
        let mut session = match opened {
            Ok(session) => session,
            Err(error) => return self.deliver(&[Err(error)]),
        };
        while let Some(batch) = &self.current {
            let results = self.shared.run(&mut session, batch);
            self.deliver(&results);
            let mut state = self.shared.state();
            // what is left belongs to others, who run it themselves: this thread is the runtime's of the call
            self.current = match state.queue.is_waiting(self.call) {
                true => state.queue.take(),
                false => None,
            };
        }
        self.session = Some(session);
    }

    fn deliver(&mut self, results: &[Result<Vec<f32>>]) {
        if let Some(batch) = self.current.take() {
            self.shared.state().queue.deliver(&batch, results);
        }
    }
}

impl<M: Model> Drop for Run<M> {
    fn drop(&mut self) {
        // a run that was never begun, as its query was cancelled or its runtime shut down; and one that panicked
        let (first, current) = (self.first.take(), self.current.take());
        let mut state = self.shared.state();
        if let Some(batch) = first {
            state.queue.put_back(batch);
        }
        if let Some(batch) = current {
            state.queue.deliver(&batch, &[given_up()]);
        }
        state.idle.extend(self.session.take());
        state.running -= 1;
        drop(state);
        self.shared.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// A number whose vector is itself; each run takes 5 ms.
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Number(u8);

    const POISON: u8 = 100;
    const PANIC: u8 = 101;

    impl Input for Number {
        fn size(&self) -> u64 {
            1
        }

        fn admits(&self, _: &Self, count: usize) -> bool {
            count < 4
        }
    }

    #[derive(Debug, Default)]
    struct Numbers {
        opened: AtomicUsize,
        runs: AtomicUsize,
        running: AtomicUsize,
        most_running: AtomicUsize,
    }

    impl Model for Numbers {
        type Input = Number;
        type Session = ();

        fn dimensions(&self) -> usize {
            1
        }

        fn open(&self) -> Result<()> {
            self.opened.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }

        fn run(&self, (): &mut (), inputs: &[&Number]) -> Result<Vec<f32>> {
            self.runs.fetch_add(1, Ordering::SeqCst);
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_running.fetch_max(running, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
            self.running.fetch_sub(1, Ordering::SeqCst);
            assert!(inputs.iter().all(|input| input.0 != PANIC), "a broken model");
            match inputs.iter().any(|input| input.0 == POISON) {
                true => data_err!("poison"),
                false => Ok(inputs.iter().map(|input| f32::from(input.0)).collect()),
            }
        }
    }

    impl Scheduler<Numbers> {
        fn count(&self, counter: impl FnOnce(&Numbers) -> &AtomicUsize) -> usize {
            counter(self.model()).load(Ordering::SeqCst)
        }

        /// Waits until a number of runs was begun.
        async fn begun(&self, runs: usize) {
            while self.count(|model| &model.runs) < runs {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }

        /// Begins a call and drops it before it is done.
        async fn drop_call(&self) {
            tokio::select! {
                _ = self.embed(numbers(0..=99), 2) => panic!("it takes 25 runs"),
                () = self.begun(3) => {}
            }
        }

        /// Whether nothing is left. A run gives its session back after its results.
        async fn ends(&self) -> bool {
            for _ in 0..1000 {
                if self.shared.state().running == 0 {
                    return self.shared.state().queue.is_empty();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            false
        }
    }

    fn numbers(numbers: impl IntoIterator<Item = u8>) -> Vec<Number> {
        numbers.into_iter().map(Number).collect()
    }

    fn vectors(numbers: impl IntoIterator<Item = u8>) -> Vec<f32> {
        numbers.into_iter().map(f32::from).collect()
    }

    #[tokio::test]
    async fn calls_get_their_vectors_with_few_runs_and_as_many_threads_as_they_may() {
        let scheduler = Scheduler::new(Numbers::default());
        let (one, two) =
            tokio::join!(scheduler.embed(numbers(0..40), 3), scheduler.embed(numbers((20..60).rev()), 3));
        assert_eq!(one.unwrap(), vectors(0..40));
        assert_eq!(two.unwrap(), vectors((20..60).rev()));
        assert!(scheduler.count(|model| &model.runs) < 25, "{:?}", scheduler.model());
        assert_eq!(scheduler.count(|model| &model.most_running), 3);
        assert!(scheduler.count(|model| &model.opened) <= 3);
        assert!(scheduler.ends().await);
    }

    #[tokio::test]
    async fn one_text_opens_one_session() {
        let scheduler = Scheduler::new(Numbers::default());
        scheduler.prepare().await.unwrap();
        scheduler.prepare().await.unwrap();
        assert_eq!(scheduler.embed(numbers([7]), 8).await.unwrap(), [7.0]);
        assert!(scheduler.embed(numbers([]), 8).await.unwrap().is_empty());
        assert_eq!(scheduler.count(|model| &model.opened), 1);
    }

    #[tokio::test]
    async fn a_dropped_call_makes_no_further_run() {
        let scheduler = Scheduler::new(Numbers::default());
        scheduler.drop_call().await;
        let begun = scheduler.count(|model| &model.runs);
        // each of two threads may be at a run that it has just taken
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(scheduler.count(|model| &model.runs) <= begun + 2);
        assert!(scheduler.ends().await);
    }

    #[tokio::test]
    async fn an_input_that_fails_fails_its_own_call_only() {
        let scheduler = Scheduler::new(Numbers::default());
        let (poisoned, other) =
            tokio::join!(scheduler.embed(numbers([1, POISON]), 1), scheduler.embed(numbers([1, 99]), 1));
        assert_eq!(poisoned.unwrap_err().to_string(), "poison");
        assert_eq!(other.unwrap(), [1.0, 99.0]);
        assert!(scheduler.ends().await);
    }

    #[tokio::test]
    async fn a_run_that_panics_is_an_error_of_its_calls() {
        let scheduler = Scheduler::new(Numbers::default());
        let (one, two) =
            tokio::join!(scheduler.embed(numbers([PANIC]), 1), scheduler.embed(numbers([PANIC]), 1));
        assert!(one.is_err() && two.is_err());
        assert_eq!(scheduler.embed(numbers([1]), 1).await.unwrap(), [1.0]);
        assert!(scheduler.ends().await);
    }

    /// A runtime that ends takes its own calls with it, and no other.
    #[tokio::test]
    async fn runtimes_come_and_go() {
        let scheduler = Arc::new(Scheduler::new(Numbers::default()));
        let other = Arc::clone(&scheduler);
        let ended = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(other.drop_call());
        });
        assert_eq!(scheduler.embed(numbers(0..=99), 2).await.unwrap(), vectors(0..=99));
        ended.join().unwrap();
        assert!(scheduler.ends().await);
    }
}

//! Ctrl-C: the first one cancels what runs, a second one ends the process.

use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, mem, thread};

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::{INTERRUPTED, pager};

/// What Ctrl-C means at the moment.
#[derive(Debug)]
enum State {
    /// nothing runs
    Idle,
    /// something runs, and is told
    Running(oneshot::Sender<()>),
    /// what runs was told, and may not be able to hear it
    Cancelling,
}

/// Listens on a thread of its own: the threads of queries may be busy for minutes without looking at anything else.
#[derive(Debug)]
pub struct Interrupts(Arc<Mutex<State>>);

impl Interrupts {
    /// Listens from now on. Where nothing runs, Ctrl-C ends the process unless it is `interactive`.
    pub fn listen(interactive: bool) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let state = Arc::new(Mutex::new(State::Idle));
        let shared = Arc::clone(&state);
        thread::Builder::new().name("ctrl-c".to_owned()).spawn(move || {
            runtime.block_on(async {
                while tokio::signal::ctrl_c().await.is_ok() {
                    // the pager has the terminal, and Ctrl-C a meaning there
                    let ends = !pager::is_running();
                    let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    match mem::replace(&mut *state, State::Cancelling) {
                        // who listens may be gone by now
                        State::Running(told) => drop(told.send(())),
                        State::Idle if interactive => *state = State::Idle,
                        State::Idle | State::Cancelling if ends => process::exit(INTERRUPTED.into()),
                        State::Idle | State::Cancelling => {}
                    }
                }
            });
        })?;
        Ok(Self(state))
    }

    /// Waits for `work`; `None` after Ctrl-C. A second Ctrl-C before this returns ends the process with 130.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let (told, interrupted) = oneshot::channel();
        self.set(State::Running(told));
        let _idle = Idle(self);
        tokio::select! {
            biased;
            Ok(()) = interrupted => None,
            result = work => Some(result),
        }
    }

    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// Dropped after what was cancelled.
struct Idle<'a>(&'a Interrupts);

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.set(State::Idle);
    }
}

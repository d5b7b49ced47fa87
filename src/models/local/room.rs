//! Room for runs that take much memory for a while: attention of a long text takes the square of its length.
use std::sync::{Condvar, Mutex, PoisonError};

/// Bytes of such runs of the process together.
const BYTES: usize = 1 << 30;

static ROOM: Room = Room::new(BYTES);

/// So many runs at a time as there is room for, and always one. Who comes first runs first.
#[derive(Debug)]
struct Room {
    bytes: usize,
    /// Held by the one that waits for room.
    line: Mutex<()>,
    taken: Mutex<usize>,
    left: Condvar,
}

/// Room for one run.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    room: &'a Room,
    bytes: usize,
}

/// Waits for room for a run that takes this many bytes, which is given back when the result is dropped. Blocks.
pub(super) fn wait_for(bytes: usize) -> Taken<'static> {
    ROOM.wait_for(bytes)
}

impl Room {
    const fn new(bytes: usize) -> Self {
        Self { bytes, line: Mutex::new(()), taken: Mutex::new(0), left: Condvar::new() }
    }

    fn wait_for(&self, bytes: usize) -> Taken<'_> {
        let bytes = bytes.min(self.bytes);
        let _first = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |taken: &mut usize| *taken + bytes > self.bytes;
        let mut taken = self.left.wait_while(taken, is_full).unwrap_or_else(PoisonError::into_inner);
        *taken += bytes;
        Taken { room: self, bytes }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.room.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.room.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn runs_share_the_room_and_those_that_are_larger_are_alone() {
        let (room, running, most) = (Room::new(10), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for bytes in [3, 10, 5, 99, 5, 5, 4, 1, 20, 10] {
                let (room, running, most) = (&room, &running, &most);
                scope.spawn(move || {
                    let taken = room.wait_for(bytes);
                    let now = running.fetch_add(bytes.min(10), Ordering::SeqCst) + bytes.min(10);
                    most.fetch_max(now, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(2));
                    running.fetch_sub(bytes.min(10), Ordering::SeqCst);
                    drop(taken);
                });
            }
        });
        assert_eq!(most.into_inner(), 10);
        assert_eq!(*room.taken.lock().unwrap(), 0);
    }
}

//! What the server keeps for a client between two calls, known to it by a handle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tonic::Status;

use super::auth::User;

/// A handle: random, so that nobody guesses that of another.
pub(super) type Handle = [u8; 16];

/// A bounded number of things for each user, each kept until it has not been used for a while.
#[derive(Debug)]
pub(super) struct Handles<T> {
    /// What it is, for errors.
    what: &'static str,
    entries: Mutex<HashMap<Handle, Entry<T>>>,
    max_of_user: usize,
    lifetime: Duration,
}

#[derive(Debug)]
struct Entry<T> {
    value: Arc<T>,
    owner: User,
    used: Instant,
}

impl<T> Handles<T> {
    pub(super) fn new(what: &'static str, max_of_user: usize, lifetime: Duration) -> Self {
        Self { what, entries: Mutex::default(), max_of_user, lifetime }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Handle, Entry<T>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries().len()
    }

    /// Forgets what was not used for too long.
    pub(super) fn expire(&self) {
        self.entries().retain(|_, entry| entry.used.elapsed() < self.lifetime);
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *self.entries());
        drop(all);
    }

    /// Keeps `value` for its owner; an error where he has too many already.
    pub(super) fn insert(&self, owner: &User, value: T) -> Result<Handle, Status> {
        let handle = random().map_err(|error| Status::internal(error.to_string()))?;
        let mut entries = self.entries();
        if entries.values().filter(|entry| entry.owner == *owner).count() >= self.max_of_user {
            return Err(Status::resource_exhausted(format!(
                "there are {} {} of this user already (max_handles): close some, or wait until they expire",
                self.max_of_user, self.what
            )));
        }
        entries.insert(handle, Entry { value: Arc::new(value), owner: owner.clone(), used: Instant::now() });
        Ok(handle)
    }

    /// What `handle` is for, which counts as its use.
    pub(super) fn get(&self, owner: &User, handle: &Bytes) -> Result<Arc<T>, Status> {
        let mut entries = self.entries();
        let entry = parse(handle).and_then(|handle| entries.get_mut(&handle));
        let entry = entry.filter(|entry| entry.owner == *owner && entry.used.elapsed() < self.lifetime);
        let entry = entry.ok_or_else(|| self.unknown())?;
        entry.used = Instant::now();
        Ok(Arc::clone(&entry.value))
    }

    /// What `handle` was for: it is not good for another time.
    pub(super) fn take(&self, owner: &User, handle: &Bytes) -> Result<Arc<T>, Status> {
        let value = self.get(owner, handle)?;
        if let Some(handle) = parse(handle) {
            self.entries().remove(&handle).ok_or_else(|| self.unknown())?;
        }
        Ok(value)
    }

    fn unknown(&self) -> Status {
        Status::not_found(format!(
            "there is no such handle among the {}: it was used, closed, or not used for {} s",
            self.what,
            self.lifetime.as_secs()
        ))
    }
}

pub(super) fn parse(handle: &Bytes) -> Option<Handle> {
    handle.as_ref().try_into().ok()
}

/// Bytes as text.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| DIGITS[usize::from(digit)]).collect()
}

/// Bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_for_their_owners_and_for_a_while() {
        let handles = Handles::new("tests", 2, Duration::from_millis(50));
        let (ada, bob) = (User::named("ada"), User::named("bob"));
        let first = Bytes::copy_from_slice(&handles.insert(&ada, 1).unwrap());
        handles.insert(&ada, 2).unwrap();
        assert_eq!(handles.insert(&ada, 3).unwrap_err().code(), tonic::Code::ResourceExhausted);
        handles.insert(&bob, 4).unwrap();
        assert_eq!(*handles.get(&ada, &first).unwrap(), 1);
        for (user, handle) in [(&bob, first.clone()), (&ada, Bytes::from_static(b"no handle"))] {
            assert_eq!(handles.take(user, &handle).unwrap_err().code(), tonic::Code::NotFound);
        }
        assert_eq!(*handles.take(&ada, &first).unwrap(), 1);
        assert!(handles.take(&ada, &first).is_err());
        let last = Bytes::copy_from_slice(&handles.insert(&ada, 5).unwrap());
        std::thread::sleep(Duration::from_millis(60));
        assert!(handles.get(&ada, &last).is_err());
        handles.expire();
        assert_eq!(handles.len(), 0);
    }
}

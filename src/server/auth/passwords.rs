//! Passwords are checked by Argon2, which takes tens of milliseconds and megabytes on purpose.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::available_parallelism;

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tonic::Status;

use crate::server::handles::{hexadecimal, random};
use crate::server::waiting::Waiting;

/// The hash of a password for the file of users: Argon2id with OWASP's least parameters (19 MiB, two passes), in the PHC
/// string format.
pub fn hash_password(password: &str) -> Result<String, String> {
    let salt = random::<16>().map_err(|error| error.to_string())?;
    let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    Ok(hash.map_err(|error| error.to_string())?.to_string())
}

/// Who may wait for a check: more are refused, so that nobody keeps the machine busy with wrong passwords.
const MAX_WAITING: usize = 64;

/// Checks a few passwords at a time, beside the threads of the network.
#[derive(Debug)]
pub(super) struct Passwords {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// The hash of a password that nobody knows, for where there is no other to take the time.
    nobody: Option<Arc<str>>,
}

impl Passwords {
    pub(super) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let nobody = random::<16>().ok().and_then(|bytes| hash_password(&hexadecimal(&bytes)).ok());
        Self {
            turns: Arc::new(Semaphore::new(cores.div_ceil(2))),
            waiting: AtomicUsize::new(0),
            nobody: nobody.map(Into::into),
        }
    }

    /// Whether `password` has the hash; without one, that it has not, after the same time.
    pub(super) async fn verify(&self, password: String, hash: Option<Arc<str>>) -> Result<bool, Status> {
        let waiting = Waiting::new(&self.waiting);
        if waiting.before >= MAX_WAITING {
            return Err(Status::resource_exhausted("too many logins at the same time: try again later"));
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|closed| Status::unavailable(closed.to_string()))?;
        let hash = hash.or_else(|| self.nobody.clone());
        let checked = spawn_blocking(move || {
            let _turn = turn;
            let hash = hash.as_deref().and_then(|hash| PasswordHash::new(hash).ok());
            hash.is_some_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
        });
        checked.await.map_err(|error| Status::internal(error.to_string()))
    }
}

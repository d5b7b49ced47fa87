//! The bearer tokens of logins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tonic::Status;

use super::file::Entries;
use super::{User, digest};
use crate::server::handles::random;

/// The most good tokens of a user; the oldest goes for another.
const MAX_OF_USER: usize = 1000;

/// Tokens by their digests, so that none is in memory.
#[derive(Debug)]
pub(super) struct Tokens {
    issued: Mutex<HashMap<[u8; 32], Issued>>,
    lifetime: Duration,
}

#[derive(Debug)]
struct Issued {
    user: User,
    /// The hash of the password that was given for it.
    password: Arc<str>,
    at: Instant,
}

impl Tokens {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self { issued: Mutex::default(), lifetime }
    }

    fn issued(&self) -> MutexGuard<'_, HashMap<[u8; 32], Issued>> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// 256 random bits.
    #[expect(clippy::unused_self, reason = "the tokens of this server")]
    pub(super) fn random(&self) -> Result<String, Status> {
        let bytes = random::<32>().map_err(|error| Status::internal(error.to_string()))?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// A new token of a user whose password has this hash.
    pub(super) fn issue(&self, user: User, password: Arc<str>) -> Result<String, Status> {
        let token = self.random()?;
        let mut issued = self.issued();
        let of_user = || issued.iter().filter(|(_, token)| token.user == user);
        if of_user().count() >= MAX_OF_USER
            && let Some(oldest) = of_user().min_by_key(|(_, token)| token.at).map(|(digest, _)| *digest)
        {
            issued.remove(&oldest);
        }
        issued.insert(digest(&token), Issued { user, password, at: Instant::now() });
        Ok(token)
    }

    /// Whose token it is, while it is good and the user's password is still the same.
    pub(super) fn user(&self, digest: &[u8; 32], entries: &Entries) -> Option<User> {
        let issued = self.issued();
        let token = issued.get(digest).filter(|token| token.at.elapsed() < self.lifetime)?;
        let password = entries.password(token.user.name())?;
        (password == token.password).then(|| token.user.clone())
    }

    /// Forgets those that are no good.
    pub(super) fn expire(&self) {
        self.issued().retain(|_, token| token.at.elapsed() < self.lifetime);
    }
}

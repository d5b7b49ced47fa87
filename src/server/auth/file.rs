//! The file of users and tokens.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use argon2::{Algorithm, Params, PasswordHash, Version as ArgonVersion};
use datafusion::common::{Result, plan_datafusion_err, plan_err};
use serde::Deserialize;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::User;

/// The file, and what was read from it.
#[derive(Debug)]
pub(super) struct AuthFile {
    path: PathBuf,
    entries: RwLock<Arc<Entries>>,
    read: Mutex<Option<Version>>,
}

/// What tells that a file has changed: when, and its length; or why it cannot be looked at.
type Version = std::result::Result<(SystemTime, u64), ErrorKind>;

/// The users and tokens of a file.
#[derive(Debug, Default)]
pub(super) struct Entries {
    passwords: BTreeMap<String, Arc<str>>,
    tokens: Vec<(User, [u8; 32])>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Content {
    users: BTreeMap<String, String>,
    tokens: BTreeMap<String, String>,
}

impl AuthFile {
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let file = Self { path, entries: RwLock::default(), read: Mutex::default() };
        file.reload(true)?;
        Ok(file)
    }

    pub(super) fn entries(&self) -> Arc<Entries> {
        Arc::clone(&self.entries.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it was read again.
    pub(super) fn reload(&self, always: bool) -> Result<bool> {
        let in_file = |error: &dyn std::fmt::Display| {
            plan_datafusion_err!("cannot read the file of users {}: {error}", self.path.display())
        };
        let version = fs::metadata(&self.path).and_then(|data| Ok((data.modified()?, data.len())));
        let version = Some(version.map_err(|error| error.kind()));
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if !always && *read == version {
            return Ok(false);
        }
        // an error is told once, not until the file is repaired
        *read = version;
        let text = fs::read_to_string(&self.path).map_err(|error| in_file(&error))?;
        let entries = Entries::parse(&text).map_err(|error| in_file(&error.message()))?;
        *self.entries.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(entries);
        Ok(true)
    }
}

impl Entries {
    fn parse(text: &str) -> Result<Self> {
        let table = crate::session::parse_toml(text)?;
        let content: Content = table.try_into().map_err(|error: toml::de::Error| {
            plan_datafusion_err!("{}: there are the tables users and tokens", error.message())
        })?;
        let mut entries = Self::default();
        for (name, hash) in content.users {
            if name.contains(':') {
                return plan_err!("users.\"{name}\": a user name has no colon");
            }
            if !is_argon2(&hash) {
                return plan_err!(
                    "users.{name} must be a hash like $argon2id$..., which `semsql hash-password` makes"
                );
            }
            entries.passwords.insert(name, hash.into());
        }
        for (name, digest) in content.tokens {
            let Some(digest) = parse_hexadecimal(&digest) else {
                return plan_err!(
                    "tokens.{name} must be 64 hexadecimal digits, the SHA-256 of the token: printf %s \"$TOKEN\" | sha256sum"
                );
            };
            entries.tokens.push((User::named(&name), digest));
        }
        Ok(entries)
    }

    /// The hash of a user's password.
    pub(super) fn password(&self, name: &str) -> Option<Arc<str>> {
        self.passwords.get(name).cloned()
    }

    /// The hash of some user's password.
    pub(super) fn any_password(&self) -> Option<Arc<str>> {
        self.passwords.values().next().cloned()
    }

    /// Whose static token it is, in a time that does not depend on which one it is.
    pub(super) fn token(&self, digest: &[u8; 32]) -> Option<User> {
        let mut found = u64::MAX;
        for (index, (_, known)) in (0..).zip(&self.tokens) {
            let equal: Choice = known.ct_eq(digest);
            found.conditional_assign(&index, equal);
        }
        self.tokens.get(usize::try_from(found).ok()?).map(|(user, _)| user.clone())
    }
}

/// Whether a password can have this hash.
fn is_argon2(hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        let version = hash.version.unwrap_or(ArgonVersion::default().into());
        let is_known = Algorithm::try_from(hash.algorithm).is_ok() && ArgonVersion::try_from(version).is_ok();
        is_known && Params::try_from(&hash).is_ok() && hash.salt.is_some() && hash.hash.is_some()
    })
}

fn parse_hexadecimal(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_entry_and_not_its_value() {
        for (text, expected) in [
            ("[users]\nada = 'SECRET'", "users.ada must be a hash like $argon2id$"),
            ("[users]\n'a:b' = 'SECRET'", "has no colon"),
            // another scheme, no scheme at all, a cost that there is not, no hash
            ("[users]\nada = '$scrypt$ln=16,r=8,p=1$c2FsdHNhbHQ$U0VDUkVUU0VDUkVU'", "must be a hash like"),
            (
                "[users]\nada = '$argon2id$v=19$m=1,t=0,p=1$c2FsdHNhbHQ$U0VDUkVUU0VDUkVU'",
                "must be a hash like",
            ),
            ("[users]\nada = '$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ'", "must be a hash like"),
            ("[tokens]\nbob = 'SECRET'", "tokens.bob must be 64 hexadecimal digits"),
            ("[user]\nada = 'SECRET'", "there are the tables users and tokens"),
            ("[users]\nada = SECRET", "line 2"),
        ] {
            let error = Entries::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("SECRET"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_gone_is_told_once_and_its_users_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.toml");
        let hash = crate::server::auth::hash_password("x").unwrap();
        let text = format!("[users]\nada = '{hash}'");
        fs::write(&path, &text).unwrap();
        let file = AuthFile::open(path.clone()).unwrap();
        assert!(!file.reload(false).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(file.reload(false).unwrap_err().to_string().contains("cannot read the file of users"));
        assert!(!file.reload(false).unwrap());
        assert!(file.reload(true).is_err());
        assert!(file.entries().password("ada").is_some());
        fs::write(&path, "").unwrap();
        assert!(file.reload(false).unwrap());
        assert!(file.entries().password("ada").is_none());
    }

    #[test]
    fn tokens_are_found_by_their_digest() {
        let digest = |token: &str| super::super::digest(token);
        let hexadecimal = crate::server::handles::hexadecimal(&digest("b"));
        let other = "0".repeat(64);
        let entries = Entries::parse(&format!("[tokens]\na = '{other}'\nb = '{hexadecimal}'")).unwrap();
        assert_eq!(entries.token(&digest("b")), Some(User::named("b")));
        assert_eq!(entries.token(&digest("a")), None);
    }
}

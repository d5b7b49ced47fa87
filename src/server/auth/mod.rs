//! Who may query: users with passwords, static tokens, certificates.
//!
//! The file of users is TOML. It holds hashes, never a password or a token:
//!
//! ```toml
//! [users]   # made by `semsql hash-password`
//! ada = "$argon2id$v=19$m=19456,t=2,p=1$..."
//!
//! [tokens]  # SHA-256 in hexadecimal, as of `printf %s "$TOKEN" | sha256sum`
//! dashboard = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
//! ```
//!
//! A user logs in by the handshake of Flight, with HTTP basic authentication, and is given a bearer token, which is good
//! for `token_seconds`. A static token is a bearer token that is always good. The file is read again when it changes, and
//! on SIGHUP: who is not in it any more, or has another password, is let in no more from then on, whatever tokens he has.

mod file;
mod passwords;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use datafusion::common::Result;
use sha2::{Digest, Sha256};
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};

use self::file::AuthFile;
use self::passwords::Passwords;
use self::tokens::Tokens;
use super::config::ServerConfig;
use super::handles::hexadecimal;

pub use self::passwords::hash_password;

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct User(Arc<str>);

impl User {
    pub(super) fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// The name in the file of users; or of the certificate, by its fingerprint; or `anonymous`.
    pub(super) fn name(&self) -> &str {
        &self.0
    }
}

/// Checks who sends requests.
#[derive(Debug)]
pub(super) struct Auth {
    /// None: who can connect may query.
    file: Option<AuthFile>,
    passwords: Passwords,
    tokens: Tokens,
}

/// Arrow's client in Go, which is that of ADBC, sends credentials without padding.
const BASIC: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The path of the only call that needs no bearer token.
const HANDSHAKE: &str = "/arrow.flight.protocol.FlightService/Handshake";

impl Auth {
    pub(super) fn new(config: &ServerConfig) -> Result<Self> {
        let file = config.auth_file.clone().map(AuthFile::open).transpose()?;
        let tokens = Tokens::new(Duration::from_secs(config.token_seconds));
        Ok(Self { file, passwords: Passwords::new(), tokens })
    }

    /// Reads the file of users again if it has changed, or `always`. What cannot be read is an error, and changes nothing.
    pub(super) fn reload(&self, always: bool) -> Result<bool> {
        self.tokens.expire();
        self.file.as_ref().map_or(Ok(false), |file| file.reload(always))
    }

    /// Whom a bearer token is of.
    fn bearer(&self, file: &AuthFile, token: &str) -> Option<User> {
        let digest = digest(token);
        let entries = file.entries();
        entries.token(&digest).or_else(|| self.tokens.user(&digest, &entries))
    }

    /// Answers the handshake: a bearer token for the name and the password of basic authentication.
    pub(super) async fn log_in(&self, metadata: &MetadataMap) -> Result<(User, String), Status> {
        let Some(file) = &self.file else {
            // clients that log in where they need not are not turned away
            let token = self.tokens.random()?;
            return Ok((User::named("anonymous"), token));
        };
        let given = metadata.get("authorization").and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| strip_scheme(value, "basic"));
        let given = given.and_then(|text| BASIC.decode(text).ok());
        let given = given.and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((name, password)) = given.as_deref().and_then(|text| text.split_once(':')) else {
            return Err(Status::unauthenticated(
                "log in with a user name and a password (basic authentication)",
            ));
        };
        let entries = file.entries();
        let hash = entries.password(name);
        // a name that nobody has takes as long as a wrong password
        let any = hash.clone().or_else(|| entries.any_password());
        let correct = self.passwords.verify(password.to_owned(), any).await?;
        match hash {
            Some(hash) if correct => {
                let user = User::named(name);
                let token = self.tokens.issue(user.clone(), hash)?;
                Ok((user, token))
            }
            _ => Err(Status::unauthenticated("the user name or the password is wrong")),
        }
    }
}

/// Lets in requests with a good bearer token, and says in them whose they are.
pub(super) async fn check(State(auth): State<Arc<Auth>>, mut request: Request, next: Next) -> Response {
    let user = match &auth.file {
        None => Ok(certificate(&request).unwrap_or_else(|| User::named("anonymous"))),
        Some(_) if request.uri().path() == HANDSHAKE => Ok(User::named("anonymous")),
        Some(file) => {
            let value = request.headers().get("authorization").and_then(|value| value.to_str().ok());
            match value.and_then(|value| strip_scheme(value, "bearer")) {
                None => Err("log in first: this call needs a bearer token"),
                Some(token) => {
                    auth.bearer(file, token).ok_or("the bearer token is wrong or has expired: log in again")
                }
            }
        }
    };
    match user {
        Ok(user) => {
            request.extensions_mut().insert(user);
            next.run(request).await
        }
        Err(message) => Status::unauthenticated(message).into_http::<axum::body::Body>().into_response(),
    }
}

/// The certificate of the client by its fingerprint, as `openssl x509 -fingerprint -sha256` prints it, shortened.
fn certificate(request: &Request) -> Option<User> {
    let info = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>()?;
    let certificates = info.peer_certs()?;
    let digest = Sha256::digest(certificates.first()?);
    let digest = hexadecimal(digest.get(..8)?);
    Some(User::named(&format!("certificate:{digest}")))
}

/// What follows the name of a scheme, in which case does not matter.
fn strip_scheme<'a>(value: &'a str, scheme: &str) -> Option<&'a str> {
    let (found, rest) = value.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// Tokens are compared by this: that it takes longer for one that begins alike tells nothing of the token.
fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

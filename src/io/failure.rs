//! What a failure of an object store means to the person who asked for the file.
use std::error::Error as StdError;

use object_store::Error as StoreError;

use super::cloud::credentials;
use super::http::Failure;
use crate::error::Error;

/// `what` is what could not be done to the file `shown`: `cannot read`.
pub(super) fn explain(what: &str, shown: &str, error: &StoreError) -> Error {
    if let StoreError::Generic { store: HTTP, source } = error {
        // it says all this itself
        return Error::Data(source.to_string());
    }
    let reason = reason(error);
    let cure = match shown.split_once("://") {
        Some((scheme @ ("s3" | "gs" | "az"), _)) if ![NO_FILE, NO_BUCKET].contains(&reason.as_str()) => {
            format!("; {}", credentials(scheme))
        }
        _ => String::new(),
    };
    Error::Data(format!("{what} '{shown}': {reason}{cure}"))
}

/// A failure of which nobody knew the file, in one sentence without the body of an answer.
pub(crate) fn sentence(error: &StoreError) -> String {
    match error {
        // these say it themselves: stores over http(s), and what they cannot do
        StoreError::Generic { store: HTTP | "LocalFileSystem", source }
        | StoreError::NotSupported { source } => source.to_string(),
        StoreError::PermissionDenied { source, .. } if source.is::<Error>() => source.to_string(),
        StoreError::NotFound { path, .. }
        | StoreError::AlreadyExists { path, .. }
        | StoreError::PermissionDenied { path, .. }
        | StoreError::Unauthenticated { path, .. } => format!("cannot use '{path}': {}", reason(error)),
        StoreError::Generic { store, .. } => format!("{store}: {}", reason(error)),
        _ => reason(error),
    }
}

const NO_FILE: &str = "there is no such file";
const NO_BUCKET: &str = "there is no such bucket or container";

/// The name under which stores over http(s) report.
pub(super) const HTTP: &str = "HTTP";

/// The error and what led to it, the first cause last.
pub(super) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// The reason in one line, without the body of an answer.
pub(super) fn reason(error: &StoreError) -> String {
    let cause = causes(error).last().map(ToString::to_string).unwrap_or_default();
    if ["NoSuchBucket", "ContainerNotFound", "bucket does not exist"].iter().any(|code| cause.contains(code))
    {
        return NO_BUCKET.to_owned();
    }
    match error {
        StoreError::NotFound { source, .. } => match source.downcast_ref::<Failure>() {
            Some(failure) => failure.reason.clone(),
            None => NO_FILE.to_owned(),
        },
        StoreError::AlreadyExists { .. } => "there is a file of this name already".to_owned(),
        StoreError::Unauthenticated { .. } => "its credentials are missing or wrong".to_owned(),
        StoreError::PermissionDenied { source, .. } => match source.downcast_ref::<Error>() {
            Some(refused) => refused.to_string(),
            None => "its credentials do not allow it".to_owned(),
        },
        _ => {
            // bodies of answers are XML or JSON
            let line = cause.lines().next().unwrap_or_default();
            let line = line.split(['<', '{']).next().unwrap_or_default();
            line.trim_end_matches([' ', ':']).chars().take(200).collect()
        }
    }
}

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
    let scheme = shown.split_once("://").map(|(scheme, _)| scheme);
    let about_access = !matches!(error, StoreError::NotFound { .. } | StoreError::AlreadyExists { .. });
    let cure = match scheme {
        Some(scheme @ ("s3" | "gs" | "az")) if about_access => format!("; {}", credentials(scheme)),
        _ => String::new(),
    };
    Error::Data(format!("{what} '{shown}': {}{cure}", reason(error)))
}

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
    match error {
        StoreError::NotFound { source, .. } => {
            if let Some(failure) = source.downcast_ref::<Failure>() {
                return failure.reason.clone();
            }
            let text = source.to_string();
            match ["NoSuchBucket", "ContainerNotFound", "bucket does not exist"]
                .iter()
                .any(|code| text.contains(code))
            {
                true => "there is no such bucket or container".to_owned(),
                false => "there is no such file".to_owned(),
            }
        }
        StoreError::AlreadyExists { .. } => "there is a file of this name already".to_owned(),
        StoreError::Unauthenticated { .. } => "its credentials are missing or wrong".to_owned(),
        StoreError::PermissionDenied { source, .. } => match source.downcast_ref::<Error>() {
            Some(refused) => refused.to_string(),
            None => "its credentials do not allow it".to_owned(),
        },
        error => {
            let text = causes(error).last().map(ToString::to_string).unwrap_or_default();
            // bodies of answers are XML or JSON
            let line = text.lines().next().unwrap_or_default();
            let line = line.split(['<', '{']).next().unwrap_or_default();
            line.trim_end_matches([' ', ':']).chars().take(200).collect()
        }
    }
}

//! What a client is told when a statement fails.

use std::error::Error;
use std::io::{self, ErrorKind};

use datafusion::common::DataFusionError;
use tonic::{Code, Status};

use crate::statement::errors::describe;

/// The error as a status: a sentence with its place in `sql`, and a code that says whose fault it is.
pub(super) fn status(error: &DataFusionError, sql: &str) -> Status {
    if let DataFusionError::External(external) = error.find_root()
        && let Some(status) = external.downcast_ref::<Status>()
    {
        return status.clone();
    }
    let (message, place) = describe(error, sql);
    let place =
        place.map_or_else(String::new, |place| format!("line {}, column {}: ", place.line, place.column));
    Status::new(code(error), format!("{place}{message}"))
}

/// Whose fault an error is.
fn code(error: &DataFusionError) -> Code {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => Code::ResourceExhausted,
        DataFusionError::NotImplemented(_) => Code::Unimplemented,
        DataFusionError::Internal(_) | DataFusionError::ExecutionJoin(_) => Code::Internal,
        root => {
            let root: &(dyn Error + 'static) = root;
            let sources = std::iter::successors(Some(root), |error| (**error).source());
            // the innermost knows best
            sources.filter_map(code_of_source).last().unwrap_or(Code::InvalidArgument)
        }
    }
}

/// What failed beneath a statement: a model's server, a store, a file. To try again helps against what is unavailable.
fn code_of_source(source: &(dyn Error + 'static)) -> Option<Code> {
    if let Some(error) = source.downcast_ref::<object_store::Error>() {
        return Some(match error {
            object_store::Error::Generic { .. } | object_store::Error::JoinError { .. } => Code::Unavailable,
            object_store::Error::NotFound { .. } => Code::NotFound,
            object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. } => {
                Code::Unimplemented
            }
            // not the rights of the client, but of the server
            _ => Code::FailedPrecondition,
        });
    }
    if let Some(error) = source.downcast_ref::<io::Error>() {
        return match error.kind() {
            ErrorKind::NotFound => Some(Code::NotFound),
            ErrorKind::PermissionDenied => Some(Code::FailedPrecondition),
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof => {
                Some(Code::InvalidArgument)
            }
            // it wraps what is known better
            ErrorKind::Other if error.get_ref().is_some() => None,
            _ => Some(Code::Unavailable),
        };
    }
    match source.downcast_ref::<crate::Error>()? {
        crate::Error::Unavailable(_) => Some(Code::Unavailable),
        _ => None,
    }
}

/// An error of a message of the client, or of one for it.
pub(super) fn malformed(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("the message cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_says_whose_fault_it_is() {
        let store = |error| DataFusionError::ObjectStore(Box::new(error));
        let source = |kind| Box::new(io::Error::new(kind, "x")) as Box<dyn Error + Send + Sync>;
        let path = || "x".to_owned();
        for (error, expected) in [
            (DataFusionError::from(crate::Error::Query(path())), Code::InvalidArgument),
            (crate::Error::Data(path()).into(), Code::InvalidArgument),
            (crate::Error::Unavailable(path()).into(), Code::Unavailable),
            (DataFusionError::ResourcesExhausted(path()).context("y"), Code::ResourceExhausted),
            (io::Error::from(ErrorKind::NotFound).into(), Code::NotFound),
            (io::Error::from(ErrorKind::PermissionDenied).into(), Code::FailedPrecondition),
            (io::Error::from(ErrorKind::TimedOut).into(), Code::Unavailable),
            (io::Error::other("a wrong file").into(), Code::InvalidArgument),
            (
                store(object_store::Error::NotFound { path: path(), source: source(ErrorKind::NotFound) }),
                Code::NotFound,
            ),
            (
                store(object_store::Error::Generic {
                    store: "local",
                    source: source(ErrorKind::PermissionDenied),
                }),
                Code::FailedPrecondition,
            ),
            (store(object_store::Error::Generic { store: "S3", source: "500".into() }), Code::Unavailable),
            (
                store(object_store::Error::Unauthenticated { path: path(), source: "401".into() }),
                Code::FailedPrecondition,
            ),
            (DataFusionError::External(Box::new(Status::deadline_exceeded("x"))), Code::DeadlineExceeded),
        ] {
            assert_eq!(status(&error, "SELECT 1").code(), expected, "{error}");
        }
    }
}

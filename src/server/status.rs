//! What a client is told when a statement fails.

use datafusion::common::DataFusionError;
use tonic::{Code, Status};

use crate::cli::errors::describe;

/// The error as a status: a sentence with its place in `sql`, and a code that says whose fault it is.
pub(super) fn status(error: &DataFusionError, sql: &str) -> Status {
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
        DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) => Code::Unavailable,
        _ => Code::InvalidArgument,
    }
}

/// An error of a message of the client, or of one for it.
pub(super) fn malformed(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("the message cannot be read: {error}"))
}

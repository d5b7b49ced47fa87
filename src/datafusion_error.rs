//! What `DataFusion` is told of our errors: whose fault it is.
use datafusion::common::DataFusionError;

use crate::error::Error;

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        match error {
            Error::Query(message) => Self::Plan(message),
            Error::Data(message) => Self::Execution(message),
            error @ (Error::Unavailable(_) | Error::NotHere { .. }) => Self::External(Box::new(error)),
        }
    }
}

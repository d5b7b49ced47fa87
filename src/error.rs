//! The error of the rooms that do not know `DataFusion`: models, images, vectors, files.
use std::fmt;

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A message for the person who wrote the query, and whose fault it is.
///
/// Messages are lower case, give the value found and the value expected, and end with the cure. They carry neither
/// secrets nor raw response bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The query or the configuration is wrong, for every row: an unknown model, a file that is not there.
    Query(String),
    /// One input is wrong: a corrupt image, a file that cannot be read. `on_error => 'null'` makes it NULL.
    Data(String),
    /// What the query needs is on another machine, which cannot be reached, has too much to do or fails: the same query
    /// may succeed later.
    Unavailable(String),
    /// The query names a model that is not on this machine, and may be fetched: [`session::sql`](crate::session::sql)
    /// does so.
    NotHere {
        /// As [`models::local::pull`](crate::models::local::pull) takes it.
        model: String,
        /// What is said where nobody fetches it.
        message: String,
    },
}

impl Error {
    /// The same error with the name of the SQL function in front.
    #[must_use]
    pub fn in_function(self, function: &str) -> Self {
        match self {
            Self::Query(message) => Self::Query(format!("{function}: {message}")),
            Self::Data(message) => Self::Data(format!("{function}: {message}")),
            Self::Unavailable(message) => Self::Unavailable(format!("{function}: {message}")),
            Self::NotHere { model, message } => {
                Self::NotHere { model, message: format!("{function}: {message}") }
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(message)
            | Self::Data(message)
            | Self::Unavailable(message)
            | Self::NotHere { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

/// `Err(Error::Query(format!(..)))`
macro_rules! query_err {
    ($($arg:tt)*) => { Err($crate::error::Error::Query(format!($($arg)*))) };
}

/// `Err(Error::Data(format!(..)))`
macro_rules! data_err {
    ($($arg:tt)*) => { Err($crate::error::Error::Data(format!($($arg)*))) };
}

pub(crate) use {data_err, query_err};

//! Places in statements.

use datafusion::sql::sqlparser::tokenizer::Location;

/// A place in a text: lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// lines count from 1
    pub line: u64,
    /// so do columns, in characters
    pub column: u64,
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self { line: location.line, column: location.column }
    }
}

impl Position {
    /// Where a place that was counted within the statement that starts here stands in the script.
    #[cfg(feature = "shell")]
    #[must_use]
    pub fn offset_by(self, inner: Self) -> Self {
        match inner.line {
            0 | 1 => Self { line: self.line, column: self.column + inner.column.saturating_sub(1) },
            line => Self { line: self.line + line - 1, column: inner.column },
        }
    }
}

//! Runs a script: one statement after the other, until one fails.

use std::io::Write;
use std::time::Instant;

use datafusion::common::{DataFusionError, Result};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, dialect_from_str};

use super::arguments::Format;
use super::errors::Report;
use super::models::watch;
use super::print::{Output, Printed, print};
use super::statements::{Statement, split};
use crate::session;
use crate::types::display::grouped;

/// A session and the way its results are printed.
pub struct Shell {
    /// where statements run
    pub ctx: SessionContext,
    /// where results go
    pub out: Output,
    /// how they print
    pub format: Format,
    /// at most so many rows of each
    pub row_limit: Option<usize>,
    /// nothing but results
    pub quiet: bool,
    /// somebody watches: say how long a statement took, and that one without a result is done
    pub interactive: bool,
}

/// Why a script ended before its end.
#[derive(Debug)]
pub enum Stop {
    /// a statement failed
    Failed(Report),
    /// the reader of standard output went away
    Closed,
    /// Ctrl-C
    Interrupted,
}

impl Shell {
    /// Runs the statements of a script, which is read whole before the first of them runs.
    pub async fn run(&mut self, script: &str) -> Result<(), Stop> {
        let statements = split(script, self.dialect().as_ref())
            .map_err(|e| Stop::Failed(Report::at(script, e.location.into(), e.message)))?;
        for statement in statements {
            if let Err(error) = self.run_statement(&statement).await {
                if self.out.is_closed() {
                    return Err(Stop::Closed);
                }
                // what was printed before the failure belongs before its message
                let _ = self.out.flush();
                return Err(Stop::Failed(Report::new(&statement, &error)));
            }
        }
        Ok(())
    }

    /// The dialect of the session, which `SET datafusion.sql_parser.dialect` changes.
    pub fn dialect(&self) -> Box<dyn Dialect> {
        let name = self.ctx.state().config_options().sql_parser.dialect.to_string();
        dialect_from_str(name).unwrap_or_else(|| Box::new(GenericDialect {}))
    }

    async fn run_statement(&mut self, statement: &Statement<'_>) -> Result<(), DataFusionError> {
        let started = Instant::now();
        // models that it names may be fetched
        let frame = watch(session::sql(&self.ctx, statement.text), self.quiet).await?;
        if frame.schema().fields().is_empty() {
            if self.interactive && !self.quiet {
                writeln!(self.out, "ok ({:.3} s)", started.elapsed().as_secs_f64())?;
            }
            return Ok(self.out.flush()?);
        }
        let stream = frame.execute_stream().await?;
        let printed = print(stream, self.format, self.row_limit, &mut self.out).await?;
        if self.format == Format::Table && !self.quiet {
            let elapsed = self.interactive.then(|| started.elapsed());
            let elapsed =
                elapsed.map_or_else(String::new, |elapsed| format!(", {:.3} s", elapsed.as_secs_f64()));
            writeln!(self.out, "({}{elapsed})", count(printed))?;
        }
        Ok(self.out.flush()?)
    }
}

/// `4 rows`, or `showing 40 of 1,234 rows`.
fn count(Printed { shown, total }: Printed) -> String {
    let rows = if total == 1 { "row" } else { "rows" };
    if shown < total {
        return format!("showing {} of {} {rows}", grouped(shown), grouped(total));
    }
    format!("{} {rows}", grouped(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_in_words() {
        assert_eq!(count(Printed { shown: 0, total: 0 }), "0 rows");
        assert_eq!(count(Printed { shown: 1, total: 1 }), "1 row");
        assert_eq!(count(Printed { shown: 40, total: 1234 }), "showing 40 of 1,234 rows");
    }
}

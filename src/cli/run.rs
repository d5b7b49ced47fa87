//! Runs a script: one statement after the other, until one fails.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use datafusion::common::{DataFusionError, Result};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, dialect_from_str};

use super::arguments::Format;
use super::commands::Problem;
use super::errors::Report;
use super::models::watch;
use super::output::Output;
use super::print::{Printed, print};
use super::progress::{Line, Progress};
use super::running::Started;
use super::settings::Settings;
use super::statements::{Statement, split};
use super::variables::Variables;
use super::{complain, html, running, table};
use crate::types::display::grouped;

/// A session and the way its results are shown.
pub struct Shell {
    /// where statements run
    pub ctx: SessionContext,
    /// where results go
    pub out: Output,
    /// how they are shown
    pub settings: Settings,
    /// what `:name` stands for
    pub variables: Variables,
    /// nothing but results
    pub quiet: bool,
    /// somebody types: say that a statement without a result is done, and use a pager
    pub interactive: bool,
    /// shows how far a query is, where somebody would see it
    pub progress: Option<Arc<Progress>>,
    /// where progress is shown
    pub line: Arc<Line>,
    /// how many files are being run, one by a command in the other
    pub depth: usize,
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
    /// `\q`
    Quit,
}

impl Shell {
    /// Runs the statements of a script, which is read whole before the first of them runs. Errors name it.
    pub async fn run(&mut self, name: &str, script: &str) -> Result<(), Stop> {
        let dialect = self.dialect();
        let statements = split(script, dialect.as_ref()).map_err(|e| {
            Stop::Failed(Report::at(script, e.location.into(), e.message).in_script(name, None))
        })?;
        let several = statements.len() > 1;
        for (number, statement) in (1..).zip(&statements) {
            let number = several.then_some(number);
            if statement.is_command() {
                match self.run_command(statement.text).await {
                    Ok(()) => {}
                    Err(Problem::Stop(stop)) => return Err(stop),
                    Err(problem) => {
                        let report = Report::of_command(statement.start, problem.to_string());
                        return Err(Stop::Failed(report.in_script(name, number)));
                    }
                }
                continue;
            }
            let sql = self.variables.put_into(statement.text, dialect.as_ref());
            // places in it are those of the text that runs, with the values of variables in it
            let statement = Statement { text: &sql, start: statement.start };
            if let Err(error) = Box::pin(self.run_statement(&statement)).await {
                if self.out.is_closed() {
                    return Err(Stop::Closed);
                }
                // what was printed before the failure belongs before its message
                let _ = self.out.flush();
                let report = Report::new(&statement, &error, &self.ctx);
                return Err(Stop::Failed(report.in_script(name, number)));
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
        let result = match self.progress.clone() {
            Some(progress) => Box::pin(progress.of(self.execute(statement))).await,
            None => self.execute(statement).await,
        };
        // who leaves the pager has seen enough
        if self.out.end_page()? { Ok(()) } else { result }
    }

    async fn execute(&mut self, statement: &Statement<'_>) -> Result<(), DataFusionError> {
        let started = Instant::now();
        // models that it names may be fetched
        let query = running::run(&self.ctx, statement.text);
        let Started { stream, is_explanation } = watch(query, self.quiet).await?;
        if stream.schema().fields().is_empty() {
            let time = self.time(started);
            if !self.quiet && (time.is_some() || self.interactive) {
                let time = time.map_or_else(String::new, |time| format!(" ({time})"));
                self.say(format_args!("ok{time}"))?;
            }
            return Ok(self.out.flush()?);
        }
        self.begin_page()?;
        let printed = match self.settings.format {
            Format::Table if is_explanation => table::print_explanation(stream, &mut self.out).await?,
            _ => print(stream, &self.settings, &mut self.out).await?,
        };
        let time = self.time(started).map_or_else(String::new, |time| format!(", {time}"));
        let count = format!("{}{time}", count(printed));
        match self.settings.format {
            _ if self.quiet => {}
            Format::Table => writeln!(self.out, "({count})")?,
            Format::Html => html::write_count(&count, &mut self.out)?,
            // what reads these formats wants no more than rows
            _ if self.settings.timing => complain(format_args!("({count})")),
            _ => {}
        }
        Ok(self.out.flush()?)
    }

    /// Sends what does not fit the terminal to a pager, until the end of the statement.
    pub fn begin_page(&mut self) -> io::Result<()> {
        // a pager shows no pictures
        if self.interactive && self.settings.pager && self.settings.pictures.is_none() {
            self.out.begin_page()?;
        }
        Ok(())
    }

    /// Tells the person at the terminal something that is no result.
    pub fn say(&mut self, text: impl std::fmt::Display) -> io::Result<()> {
        if self.out.is_terminal() {
            writeln!(self.out, "{text}")?;
            return self.out.flush();
        }
        complain(text);
        Ok(())
    }

    fn time(&self, started: Instant) -> Option<String> {
        self.settings.timing.then(|| format!("{:.3} s", started.elapsed().as_secs_f64()))
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

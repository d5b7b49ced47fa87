//! How far a long query is: one line on standard error, erased before results.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datafusion::common::Result;
use datafusion::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use tokio::time::{Instant, sleep};

use super::table::{cut, visible};
use crate::execution;
use crate::types::display::grouped;

/// Nothing is shown of a query that takes less.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the line changes: what is read of it is the last second anyway.
const INTERVAL: Duration = Duration::from_millis(250);

/// The time over which the rate is measured.
const WINDOW: Duration = Duration::from_secs(10);

/// The last line of the terminal, as long as nothing else is there.
#[derive(Debug)]
pub struct Line {
    is_shown: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// a query runs and has shown nothing
    Open,
    /// results are shown, or no query runs
    Ended,
}

impl Line {
    /// Shows nothing yet.
    pub fn new() -> Self {
        Self { is_shown: AtomicBool::new(false), state: Mutex::new(State::Ended) }
    }

    /// A query starts.
    pub fn begin(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Open;
    }

    /// Results are about to be shown, or the query ended: erases the line, and shows nothing more.
    pub fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State::Ended;
        if self.is_shown.swap(false, Ordering::Relaxed) {
            write(b"\r\x1b[K");
        }
    }

    fn draw(&self, text: &str) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == State::Open {
            self.is_shown.store(true, Ordering::Relaxed);
            // over the old text, in one piece: what is erased first would flicker
            write(format!("\r{text}\x1b[K").as_bytes());
        }
    }
}

fn write(bytes: &[u8]) {
    // where standard error is closed nobody watches
    let _ = io::stderr().write_all(bytes);
    let _ = io::stderr().flush();
}

/// The plan that was made last. It is a rule of the optimizer, after all others: `CREATE TABLE ... AS` and `COPY` make
/// their plans out of sight.
#[derive(Debug, Default)]
pub struct LastPlan(Mutex<Option<Arc<dyn ExecutionPlan>>>);

impl LastPlan {
    fn get(&self) -> Option<Arc<dyn ExecutionPlan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, plan: Option<Arc<dyn ExecutionPlan>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }
}

impl PhysicalOptimizerRule for LastPlan {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        self.set(Some(Arc::clone(&plan)));
        Ok(plan)
    }

    fn name(&self) -> &'static str {
        "semsql.last_plan"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Shows how far the queries of a session are.
#[derive(Debug)]
pub struct Progress {
    /// where
    pub line: Arc<Line>,
    /// of what
    pub plan: Arc<LastPlan>,
}

impl Progress {
    /// Whether somebody would see it.
    pub fn is_wanted(quiet: bool) -> bool {
        !quiet && io::stderr().is_terminal()
    }

    /// Waits for `query`, and shows how far it is if that takes long.
    pub async fn of<T>(&self, query: impl Future<Output = T>) -> T {
        let _end = End(self);
        self.line.begin();
        tokio::select! {
            biased;
            result = query => result,
            never = self.show() => match never {},
        }
    }

    async fn show(&self) -> Infallible {
        let started = Instant::now();
        let mut rate = Rate::default();
        sleep(PATIENCE).await;
        loop {
            let done = self.plan.get().map_or_else(Done::default, |plan| Done::of(&plan));
            let elapsed = started.elapsed();
            rate.add(elapsed, done.rows);
            let text = text(&done, elapsed, rate.per_second());
            let columns = crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns));
            self.line.draw(&cut(&text, columns.saturating_sub(1)));
            sleep(INTERVAL).await;
        }
    }
}

/// However the query ends, by Ctrl-C too.
struct End<'a>(&'a Progress);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.line.end();
        self.0.plan.set(None);
    }
}

/// What a plan has done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Done {
    what: String,
    rows: usize,
    total: Option<usize>,
    tokens: usize,
}

impl Done {
    /// Of the calls nearest to the result that have begun and are not through; without calls, of what is read.
    fn of(plan: &Arc<dyn ExecutionPlan>) -> Self {
        let operators = execution::progress(plan);
        let tokens = operators.iter().map(|operator| operator.tokens).sum();
        let busy = operators.iter().find(|operator| {
            let is_through = operator.total_rows.is_some_and(|total| operator.rows >= total);
            (operator.rows > 0 || operator.tokens > 0) && !is_through
        });
        match busy.or(operators.last()) {
            Some(operator) => {
                Self { what: short(&operator.calls), rows: operator.rows, total: operator.total_rows, tokens }
            }
            None => {
                let (rows, total) = read(plan);
                Self { what: "reading".to_owned(), rows, total, tokens }
            }
        }
    }
}

/// `embed_text(text@1) AS __async_fn_0 WITH ...` as `embed_text(text)`; of several calls the first.
fn short(calls: &str) -> String {
    let call = calls.split_once(" AS __async_fn").map_or(calls, |(call, _)| call);
    let mut parts = call.split('@');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// The rows that came out of the sources of a plan, and how many there are in all of them, where that is known.
fn read(plan: &Arc<dyn ExecutionPlan>) -> (usize, Option<usize>) {
    let children = plan.children();
    if children.is_empty() {
        let rows = plan.metrics().and_then(|metrics| metrics.output_rows()).unwrap_or_default();
        let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new());
        return (rows, statistics.ok().and_then(|statistics| statistics.num_rows.get_value().copied()));
    }
    children.into_iter().map(read).fold((0, Some(0)), |(rows, total), (more, of)| {
        (rows + more, total.zip(of).map(|(total, of)| total + of))
    })
}

/// Rows a second, of late.
#[derive(Debug)]
struct Rate(VecDeque<(Duration, usize)>);

impl Default for Rate {
    fn default() -> Self {
        Self(VecDeque::from([(Duration::ZERO, 0)]))
    }
}

impl Rate {
    fn add(&mut self, at: Duration, rows: usize) {
        // another operator is shown now, which has a count of its own
        if self.0.back().is_some_and(|(_, last)| *last > rows) {
            self.0.clear();
        }
        self.0.push_back((at, rows));
        while self.0.len() > 2 && self.0.get(1).is_some_and(|(then, _)| at.saturating_sub(*then) > WINDOW) {
            self.0.pop_front();
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "shown in three digits")]
    fn per_second(&self) -> f64 {
        match (self.0.front(), self.0.back()) {
            (Some((from, before)), Some((to, rows))) if to > from => {
                (rows - before) as f64 / to.saturating_sub(*from).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers of rows and seconds, not negative"
)]
fn text(done: &Done, elapsed: Duration, rate: f64) -> String {
    let mut text = cut(&visible(&done.what), 40).into_owned();
    // estimates may be exceeded
    let total = done.total.filter(|total| *total >= done.rows && *total > 0);
    // writing to a string cannot fail
    let _ = match total {
        Some(total) => {
            let percent = done.rows as f64 / total as f64 * 100.0;
            write!(text, ": {} of {} rows ({percent:.0} %)", grouped(done.rows), grouped(total))
        }
        None => write!(text, ": {} rows", grouped(done.rows)),
    };
    if rate >= 10.0 {
        let _ = write!(text, ", {} rows/s", grouped(rate as usize));
    } else if rate > 0.0 {
        let _ = write!(text, ", {rate:.1} rows/s");
    }
    if done.tokens > 0 {
        let _ = write!(text, ", {} tokens", grouped(done.tokens));
    }
    let _ = write!(text, ", {}", clock(elapsed));
    if let Some(total) = total.filter(|_| rate > 0.0) {
        let left = Duration::from_secs_f64(((total - done.rows) as f64 / rate).min(1e9));
        let _ = write!(text, ", {} left", clock(left));
    }
    text
}

/// `7 s`, `2:05 min`, `1:02:05 h`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02}:{:02} h", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_is_known() {
        let second = Duration::from_secs;
        let done = |rows, total, tokens| Done { what: "embed_text(text)".to_owned(), rows, total, tokens };
        assert_eq!(
            text(&done(1280, Some(12_000), 54_321), second(4), 320.0),
            "embed_text(text): 1,280 of 12,000 rows (11 %), 320 rows/s, 54,321 tokens, 4 s, 33 s left"
        );
        assert_eq!(
            text(&done(7, None, 0), second(125), 0.5),
            "embed_text(text): 7 rows, 0.5 rows/s, 2:05 min"
        );
        assert_eq!(text(&done(0, Some(5), 0), second(2), 0.0), "embed_text(text): 0 of 5 rows (0 %), 2 s");
        assert_eq!(
            text(&done(9, Some(5), 0), second(3700), 20.0),
            "embed_text(text): 9 rows, 20 rows/s, 1:01:40 h"
        );
    }

    #[test]
    fn calls_are_named_as_they_were_written() {
        assert_eq!(short("embed_text(body@12, m@0) AS __async_fn_0 WITH model"), "embed_text(body, m)");
        assert_eq!(short("download(path@0)"), "download(path)");
        assert_eq!(short("f(CAST(n@0 AS Utf8)) AS __async_fn_0"), "f(CAST(n AS Utf8))");
        let done = Done { what: "f('a\nb')".to_owned(), rows: 1, total: None, tokens: 0 };
        assert_eq!(text(&done, Duration::from_secs(1), 0.0), "f('a\\nb'): 1 rows, 1 s");
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut rate = Rate::default();
        for second in 1..=20 {
            rate.add(Duration::from_secs(second), 10 * usize::try_from(second).unwrap());
        }
        assert!((rate.per_second() - 10.0).abs() < 1e-9);
        for second in 21..=40 {
            rate.add(Duration::from_secs(second), 200 + 30 * usize::try_from(second - 20).unwrap());
        }
        assert!((rate.per_second() - 30.0).abs() < 1e-9);
        rate.add(Duration::from_secs(41), 5);
        assert!(rate.per_second().abs() < 1e-9, "another operator");
    }
}

//! Physical operators: how rows stream through async calls, and how the nearest of many pairs of vectors are found.
//!
//! [`AsyncCallsExec`] takes the place of DataFusion's `AsyncFuncExec`. Its input is cut into slices (`slices`), of which
//! a few are in flight at the same time (`stream`), each in a task of its own, and come out in order. In a slice, every
//! call (`running_call`) evaluates its arguments, looks up which inputs the query has seen (`results`, by `keys`), and
//! hands the others to the function.
//!
//! [`NearestJoinExec`] takes the place of a cross join.

mod async_calls;
mod call;
mod keys;
mod memory;
mod narrow;
mod nearest_join;
mod progress;
mod query;
mod results;
mod running_call;
mod size;
mod slices;
mod stream;
#[cfg(test)]
mod tests;
mod usage;

pub use async_calls::AsyncCallsExec;
pub use nearest_join::NearestJoinExec;
pub(crate) use nearest_join::{Distance, Of, WantedPairs};
pub use progress::{Progress, progress};
pub(crate) use query::{Bodies, Queries};
#[cfg(feature = "server")]
pub(crate) use size::size;
pub use usage::{PlanUsage, usage};

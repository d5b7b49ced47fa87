//! The physical operator that runs async calls: it streams, it calls once, and its memory is bounded.
//!
//! [`AsyncCallsExec`] takes the place of DataFusion's `AsyncFuncExec`. Its input is cut into slices
//! ([`slices`]), of which a few are in flight at the same time ([`stream`]), each in a task of its own, and come out in
//! order. In a slice, every call ([`running_call`]) evaluates its arguments, looks up which inputs the query has seen
//! ([`results`], by [`keys`]), and hands the others to the function.

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

pub use async_calls::AsyncCallsExec;
pub use nearest_join::NearestJoinExec;
pub(crate) use nearest_join::{Distance, dimensions};
pub use progress::{Progress, progress};
pub(crate) use query::Queries;

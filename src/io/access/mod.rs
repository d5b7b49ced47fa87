//! What a query may reach: hosts, local files, and whether it may write.
//!
//! Names are checked before they are looked up, and addresses before they are connected to.

mod address;
mod hosts;
mod paths;

pub(super) use address::is_public;
pub use hosts::AllowHosts;
pub(super) use hosts::{Reach, not_public};
pub use paths::AllowPaths;

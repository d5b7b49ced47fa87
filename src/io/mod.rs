//! Files and URLs.

pub(crate) mod download;
pub(crate) mod glob;

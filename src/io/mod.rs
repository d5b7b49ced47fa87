//! What comes from outside: files that a query names by path.

mod file_catalog;
pub mod file_tables;
mod paths;

//! The integration tests, in one binary: linking DataFusion takes long.

#[cfg(test)]
mod cli;

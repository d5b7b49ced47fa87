//! What happens to a statement between its text and its plan.

pub mod named_arguments;

//! What an error says, without what only DataFusion's authors need.

use arrow::error::ArrowError;
use datafusion::common::{Column, DataFusionError, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;

use super::names::nearest;
use crate::io::store_failure;

/// The text of an error without the name of its class.
pub fn message(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Plan(text)
        | DataFusionError::Execution(text)
        | DataFusionError::NotImplemented(text)
        | DataFusionError::Configuration(text) => without_noise(text),
        DataFusionError::Internal(text) => format!("internal error: {text}"),
        DataFusionError::ResourcesExhausted(text) => format!("resources exhausted: {text}"),
        DataFusionError::SQL(error, _) => match error.as_ref() {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => text.clone(),
            ParserError::RecursionLimitExceeded => {
                "the statement is nested too deeply (SET datafusion.sql_parser.recursion_limit allows more)"
                    .to_owned()
            }
        },
        DataFusionError::SchemaError(error, _) => match error.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => no_such_column(field, valid_fields),
            error => error.to_string(),
        },
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::CastError(text)
            | ArrowError::ComputeError(text)
            | ArrowError::CsvError(text)
            | ArrowError::InvalidArgumentError(text)
            | ArrowError::JsonError(text)
            | ArrowError::NotYetImplemented(text)
            | ArrowError::ParseError(text)
            | ArrowError::SchemaError(text) => text.clone(),
            ArrowError::DivideByZero => "division by zero".to_owned(),
            ArrowError::ExternalError(error) => error.to_string(),
            error => error.to_string(),
        },
        DataFusionError::ParquetError(error) => without_noise(&error.to_string()),
        DataFusionError::External(error) => error.to_string(),
        DataFusionError::IoError(error) => error.to_string(),
        DataFusionError::ObjectStore(error) => store_failure(error),
        error => error.message().into_owned(),
    }
}

/// DataFusion's messages without what only repeats, or guesses badly.
fn without_noise(text: &str) -> String {
    let text = text.split(" No function matches the given name").next().unwrap_or_default();
    ["datafusion.public.", "Parquet error: ", "Json error: ", "Csv error: "]
        .iter()
        .fold(text.to_owned(), |text, noise| text.replace(noise, ""))
}

/// Names the nearest column, else some of those that there are.
fn no_such_column(field: &Column, valid: &[Column]) -> String {
    const LISTED: usize = 12;
    let missing = format!("there is no column {}", field.quoted_flat_name());
    let names = valid.iter().map(Column::name);
    match nearest(field.name(), names).and_then(|name| valid.iter().find(|column| column.name() == name)) {
        None if valid.is_empty() => missing,
        Some(nearest) => format!("{missing}; did you mean {}?", nearest.quoted_flat_name()),
        None => {
            let names: Vec<String> = valid.iter().take(LISTED).map(Column::quoted_flat_name).collect();
            let more = if valid.len() > LISTED { ", …" } else { "" };
            format!("{missing}; there are {}{more}", names.join(", "))
        }
    }
}

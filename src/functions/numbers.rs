//! Whole numbers as arguments: constants or columns.
use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::ScalarFunctionArgs;

use super::arguments::Arguments;
use crate::error::{Result as DataResult, data_err};

/// An error at plan time unless the argument at `index` is made of whole numbers, or NULL.
pub(super) fn check_whole(
    function: &str,
    parameters: &[&str],
    arguments: &Arguments<'_>,
    index: usize,
) -> Result<()> {
    let data_type = arguments.field(index).data_type();
    if !data_type.is_integer() && !data_type.is_null() {
        return plan_err!("{function}: {} must be a whole number, found {data_type}", parameters[index]);
    }
    Ok(())
}

/// The number of each row.
pub(super) fn whole_numbers(args: &ScalarFunctionArgs, index: usize) -> Result<Vec<Option<i64>>> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let array = args.args[index].to_array(args.number_rows)?;
    let array = cast_with_options(&array, &DataType::Int64, &options)?;
    Ok(array.as_primitive::<Int64Type>().iter().collect())
}

/// The number of a row, from `least` to `most`.
pub(super) fn within(value: i64, parameter: &str, least: u32, most: u32) -> DataResult<u32> {
    match u32::try_from(value) {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        _ => data_err!("{parameter} must be from {least} to {most}, found {value}"),
    }
}

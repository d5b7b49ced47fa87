//! The operator over functions that behave in ways in which those of this crate do not.
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use async_trait::async_trait;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use datafusion::prelude::{SessionConfig, SessionContext};

#[derive(Debug, Clone, Copy)]
enum Returns {
    /// Its argument.
    Argument,
    /// 7, for all rows at once.
    Scalar,
    /// Nothing, whatever it is asked.
    NoRows,
    /// How many rows it has seen, at each row.
    RowsSeen,
}

#[derive(Debug)]
struct Odd {
    returns: Returns,
    ideal_rows: Option<usize>,
    signature: Signature,
    rows: Arc<AtomicUsize>,
}

impl PartialEq for Odd {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rows, &other.rows)
    }
}

impl Eq for Odd {}

impl Hash for Odd {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.rows).hash(state);
    }
}

impl ScalarUDFImpl for Odd {
    fn name(&self) -> &'static str {
        "odd"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("odd is async")
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Odd {
    fn ideal_batch_size(&self) -> Option<usize> {
        self.ideal_rows
    }

    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let seen = self.rows.fetch_add(args.number_rows, Ordering::Relaxed);
        Ok(match self.returns {
            Returns::Argument => args.args[0].clone(),
            Returns::Scalar => ColumnarValue::Scalar(ScalarValue::from(7_i64)),
            Returns::NoRows => ColumnarValue::Array(Arc::new(Int64Array::from(Vec::<i64>::new()))),
            Returns::RowsSeen => {
                let numbers = (seen..seen + args.number_rows).map(|row| i64::try_from(row).unwrap());
                ColumnarValue::Array(Arc::new(Int64Array::from_iter_values(numbers)))
            }
        })
    }
}

/// The numbers of `sql`, in which `odd` is a function that `returns` this, and how many rows it was given.
async fn run(
    sql: &str,
    returns: Returns,
    volatility: Volatility,
    ideal_rows: Option<usize>,
) -> Result<(Vec<i64>, usize)> {
    let ctx = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    crate::register_all(&ctx)?;
    let rows = Arc::new(AtomicUsize::new(0));
    let signature = Signature::variadic_any(volatility);
    let signature = if sql.contains("odd()") { Signature::nullary(volatility) } else { signature };
    let odd = Odd { returns, ideal_rows, signature, rows: Arc::clone(&rows) };
    ctx.register_udf(AsyncScalarUDF::new(Arc::new(odd)).into_scalar_udf());
    let batches = ctx.sql(sql).await?.collect().await?;
    let numbers = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    Ok((numbers, rows.load(Ordering::Relaxed)))
}

const NUMBERS: &str = "SELECT odd(i % 3) FROM generate_series(0, 5) AS t(i)";

#[tokio::test]
async fn equal_inputs_of_a_stable_function_are_computed_once() {
    let found = run(NUMBERS, Returns::Argument, Volatility::Stable, None).await.unwrap();
    assert_eq!(found, (vec![0, 1, 2, 0, 1, 2], 3));
}

#[tokio::test]
async fn every_row_of_a_volatile_function_is_computed() {
    let found = run(NUMBERS, Returns::RowsSeen, Volatility::Volatile, None).await.unwrap();
    assert_eq!(found, ((0..6).collect(), 6));
    let sql = "SELECT odd() FROM generate_series(0, 5) AS t(i)";
    let found = run(sql, Returns::RowsSeen, Volatility::Volatile, None).await.unwrap();
    assert_eq!(found, ((0..6).collect(), 6));
}

#[tokio::test]
async fn a_scalar_is_the_value_of_every_row() {
    let (numbers, _) = run(NUMBERS, Returns::Scalar, Volatility::Stable, None).await.unwrap();
    assert_eq!(numbers, [7; 6]);
}

#[tokio::test]
async fn a_wish_for_slices_of_no_rows_is_no_wish() {
    let (numbers, _) = run(NUMBERS, Returns::Argument, Volatility::Stable, Some(0)).await.unwrap();
    assert_eq!(numbers, [0, 1, 2, 0, 1, 2]);
}

#[tokio::test]
async fn too_few_values_are_an_error_that_names_the_function() {
    let error = run(NUMBERS, Returns::NoRows, Volatility::Stable, None).await.unwrap_err();
    let error = error.find_root().message().into_owned();
    assert_eq!(error, "odd: the function returned 0 values for 3 rows");
}

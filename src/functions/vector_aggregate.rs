//! What the aggregates of vectors have in common: all but their names and texts.
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, UInt64Type};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, not_impl_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Documentation, Signature, Volatility};

use super::vectors::{check_numbers, float_list, lists_of};
use crate::types::embedding::space_metadata;
use crate::types::vectors::Vectors;

/// `sum_vector` or `avg_vector`: the sum of vectors, item by item, or their mean.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct VectorAggregate {
    name: &'static str,
    mean: bool,
    documentation: Option<Documentation>,
    signature: Signature,
}

impl VectorAggregate {
    pub(super) fn new(name: &'static str, mean: bool, documentation: Option<&Documentation>) -> Self {
        let documentation = documentation.cloned();
        Self { name, mean, documentation, signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for VectorAggregate {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("{} is planned by return_field", self.name)
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        let Some(vector) = fields.first() else {
            return internal_err!("{} expects an argument", self.name);
        };
        check_numbers(self.name, vector)?;
        let field = Field::new(self.name, float_list(vector.data_type()), true);
        Ok(Arc::new(field.with_metadata(space_metadata(vector, false))))
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.documentation.as_ref()
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let sums = DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)));
        Ok(vec![
            Arc::new(Field::new(format_state_name(args.name, "sums"), sums, true)),
            Arc::new(Field::new(format_state_name(args.name, "count"), DataType::UInt64, false)),
        ])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return not_impl_err!(
                "{}: DISTINCT is not supported: take them from a SELECT DISTINCT",
                self.name
            );
        }
        Ok(Box::new(VectorSum {
            function: self.name,
            mean: self.mean,
            data_type: args.return_field.data_type().clone(),
            sums: None,
            count: 0,
            vector: Vec::new(),
        }))
    }
}

#[derive(Debug)]
struct VectorSum {
    function: &'static str,
    mean: bool,
    data_type: DataType,
    /// `None` before the first vector
    sums: Option<Vec<f64>>,
    count: u64,
    /// The vector that is added, kept for its memory
    vector: Vec<f64>,
}

impl VectorSum {
    /// Adds each vector of `lists` that is not NULL and has no NULL item; `count` is how many it stands for.
    fn add(&mut self, lists: &ArrayRef, count: impl Fn(usize) -> u64) -> Result<()> {
        let vectors = Vectors::new(lists)?;
        for row in 0..lists.len() {
            let Some(range) = vectors.range(row) else { continue };
            vectors.widened(range, &mut self.vector);
            match &mut self.sums {
                None => self.sums = Some(self.vector.clone()),
                Some(sums) if sums.len() == self.vector.len() => {
                    for (sum, item) in sums.iter_mut().zip(&self.vector) {
                        *sum += item;
                    }
                }
                Some(sums) => {
                    return exec_err!(
                        "{}: vectors of different dimensions, {} and {}: group them by their dimensions",
                        self.function,
                        sums.len(),
                        self.vector.len()
                    );
                }
            }
            self.count += count(row);
        }
        Ok(())
    }
}

impl Accumulator for VectorSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0], |_| 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let counts = states[1].as_primitive::<UInt64Type>();
        self.add(&states[0], |row| counts.value(row))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sums = match self.sums.take() {
            Some(sums) => {
                SingleRowListArrayBuilder::new(Arc::new(Float64Array::from(sums))).build_list_scalar()
            }
            None => ScalarValue::new_null_list(DataType::Float64, true, 1),
        };
        Ok(vec![sums, ScalarValue::UInt64(Some(self.count))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        #[expect(clippy::cast_precision_loss, reason = "no query has that many rows")]
        let divisor = if self.mean { self.count as f64 } else { 1.0 };
        let vector = self.sums.as_ref().map(|sums| sums.iter().map(|sum| sum / divisor).collect());
        ScalarValue::try_from_array(&lists_of(&self.data_type, &[vector])?, 0)
    }

    fn size(&self) -> usize {
        let items = self.vector.capacity() + self.sums.as_ref().map_or(0, Vec::capacity);
        size_of_val(self) + items * size_of::<f64>()
    }
}

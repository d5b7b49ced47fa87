//! What the functions that compare two vectors have in common: all but their names and texts.
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, UInt8Array};
use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int8Type, UInt8Type};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::async_udf::AsyncScalarUDFImpl;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::arguments::{Arguments, signature};
use super::blocking::run_blocking;
use super::vectors::{check_numbers, item_type};
use crate::types::embedding::space_name;
use crate::types::vectors::{Vectors, with_numbers};
use crate::vector::{Item, Metric, Query, hamming_distance, jaccard_distance};

const PARAMETERS: &[&str] = &["a", "b"];

/// What a function says of two vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Measure {
    /// Of numbers
    Of(Metric),
    /// Of the bits of bytes
    Hamming,
    Jaccard,
}

/// A function of two vectors that gives a Float64.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Distance {
    name: &'static str,
    aliases: Vec<String>,
    measure: Measure,
    documentation: Option<Documentation>,
    signature: Signature,
}

/// The metric that a function of ours computes for two vectors, if it does.
pub(crate) fn metric_of(function: &ScalarUDF) -> Option<Metric> {
    match function.inner().downcast_ref::<Distance>()?.measure {
        Measure::Of(metric) => Some(metric),
        Measure::Hamming | Measure::Jaccard => None,
    }
}

impl Distance {
    pub(super) fn new(name: &'static str, measure: Measure, documentation: Option<&Documentation>) -> Self {
        let documentation = documentation.cloned();
        Self { name, aliases: vec![], measure, documentation, signature: signature(PARAMETERS, 2) }
    }

    /// The same function under other names too.
    pub(super) fn with_aliases(self, aliases: &[&str]) -> Self {
        Self { aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(), ..self }
    }

    fn check(&self, a: &Field, b: &Field) -> Result<()> {
        let name = self.name;
        for vector in [a, b] {
            check_numbers(name, vector)?;
            let item = item_type(vector.data_type());
            let is_bytes = matches!(item, None | Some(DataType::Int8 | DataType::UInt8 | DataType::Null));
            if !is_bytes && !matches!(self.measure, Measure::Of(_)) {
                return plan_err!(
                    "{name} does not support type {}: it compares the bits of lists of int8 or uint8: \
                     use arrow_cast(x, 'List(UInt8)')",
                    vector.data_type()
                );
            }
        }
        if let (DataType::FixedSizeList(_, of_a), DataType::FixedSizeList(_, of_b)) =
            (a.data_type(), b.data_type())
            && of_a != of_b
        {
            return plan_err!(
                "{name}: vectors of different dimensions, {of_a} and {of_b}: embed both with the same model"
            );
        }
        if let (Some(of_a), Some(of_b)) = (space_name(a), space_name(b))
            && of_a != of_b
        {
            return plan_err!(
                "{name}: vectors of different spaces, '{of_a}' and '{of_b}': embed both with the same model"
            );
        }
        Ok(())
    }
}

impl ScalarUDFImpl for Distance {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("{} is planned by return_field_from_args", self.name)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.documentation.as_ref()
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = Arguments::planned(self.name, PARAMETERS, 2, &args)?;
        self.check(arguments.field(0), arguments.field(1))?;
        Ok(Arc::new(Field::new(self.name, DataType::Float64, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (a, b) = (Side::new(&args.args[0])?, Side::new(&args.args[1])?);
        let both_constant = a.constant && b.constant;
        let pairs =
            Pairs { function: self.name, a, b, rows: if both_constant { 1 } else { args.number_rows } };
        let values = match self.measure {
            Measure::Of(metric) => pairs.of_numbers(metric)?,
            #[expect(clippy::cast_precision_loss, reason = "no vector has that many bits")]
            Measure::Hamming => pairs.of_bytes(|a, b| hamming_distance(a, b) as f64)?,
            Measure::Jaccard => pairs.of_bytes(jaccard_distance)?,
        };
        let values = Float64Array::from(values);
        Ok(match both_constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?),
            false => ColumnarValue::Array(Arc::new(values)),
        })
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Distance {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        run_blocking(self, args).await
    }
}

/// One of the two arguments.
struct Side {
    vectors: Vectors,
    /// The only vector stands for every row: it is never a copy for each.
    constant: bool,
}

impl Side {
    fn new(value: &ColumnarValue) -> Result<Self> {
        let (lists, constant): (ArrayRef, bool) = match value {
            ColumnarValue::Scalar(scalar) => (scalar.to_array_of_size(1)?, true),
            ColumnarValue::Array(lists) => (Arc::clone(lists), false),
        };
        Ok(Self { vectors: Vectors::new(&lists)?, constant })
    }

    fn range(&self, row: usize) -> Option<Range<usize>> {
        self.vectors.range(if self.constant { 0 } else { row })
    }

    /// The items as bytes; the vectors of any other type, which is that of no item, are empty.
    fn bytes(&self) -> UInt8Array {
        let items = self.vectors.items();
        match items.data_type() {
            DataType::Int8 => {
                let bytes = items.as_primitive::<Int8Type>().values().inner().clone();
                UInt8Array::new(ScalarBuffer::from(bytes), None)
            }
            DataType::UInt8 => items.as_primitive::<UInt8Type>().clone(),
            _ => UInt8Array::from(Vec::<u8>::new()),
        }
    }
}

/// The arguments of a call.
struct Pairs {
    function: &'static str,
    a: Side,
    b: Side,
    rows: usize,
}

impl Pairs {
    /// Where the items of both vectors are, for each row in which neither is NULL; an error if there are more of one.
    fn for_each(&self, mut each: impl FnMut(usize, Range<usize>, Range<usize>)) -> Result<()> {
        for row in 0..self.rows {
            let (Some(a), Some(b)) = (self.a.range(row), self.b.range(row)) else { continue };
            if a.len() != b.len() {
                return exec_err!(
                    "{} requires both list inputs to have the same length, got {} and {}",
                    self.function,
                    a.len(),
                    b.len()
                );
            }
            each(row, a, b);
        }
        Ok(())
    }

    fn of_bytes(&self, distance: impl Fn(&[u8], &[u8]) -> f64) -> Result<Vec<Option<f64>>> {
        let (bytes_a, bytes_b) = (self.a.bytes(), self.b.bytes());
        let mut values = vec![None; self.rows];
        self.for_each(|row, a, b| {
            values[row] = Some(distance(&bytes_a.values()[a], &bytes_b.values()[b]));
        })?;
        Ok(values)
    }

    fn of_numbers(&self, metric: Metric) -> Result<Vec<Option<f64>>> {
        // which of the two is the query makes no difference to any bit
        let vectors = if self.a.constant { &self.b.vectors } else { &self.a.vectors };
        with_numbers!(vectors, numbers => self.of_rows(metric, vectors, numbers))
    }

    /// `numbers` are the items of `vectors`, which are those of the side that is not constant, if there is one.
    fn of_rows<T: Item>(&self, metric: Metric, vectors: &Vectors, numbers: &[T]) -> Result<Vec<Option<f64>>> {
        let swapped = self.a.constant;
        let other = if swapped { &self.a } else { &self.b };
        let mut values = vec![None; self.rows];
        let mut query = Query::new::<T>(metric, &[]);
        if other.constant {
            let Some(range) = other.range(0) else { return Ok(values) };
            other.vectors.set_query(&mut query, range);
            if vectors.dimensions() == Some(query.dimensions()) {
                query.values(numbers, &mut values);
                for (row, value) in values.iter_mut().enumerate() {
                    // what lies in the place of a NULL is no vector
                    *value = value.filter(|_| vectors.range(row).is_some());
                }
                return Ok(values);
            }
        }
        self.for_each(|row, a, b| {
            let (of_vectors, of_other) = if swapped { (b, a) } else { (a, b) };
            if !other.constant {
                other.vectors.set_query(&mut query, of_other);
            }
            values[row] = query.value(&numbers[of_vectors]);
        })?;
        Ok(values)
    }
}

//! Reading the arguments of a call, at plan time and at run time, with one set of messages.
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, Signature, TypeSignature, Volatility,
};

use super::FunctionContext;
use crate::config::{OnError, SemanticOptions, Settings};
use crate::error::Error;
use crate::models::ModelRequest;
use crate::types::embedding::{EmbeddingSpace, space_name};

/// A signature of `required` to all of `parameters`, which can also be given by name; any types. The functions check
/// their types themselves: `DataFusion`'s own checks copy what they should not, and refuse string views.
///
/// Stable: of a volatile call common subexpressions are computed twice, an immutable one is evaluated while planning.
pub(super) fn signature(parameters: &[&str], required: usize) -> Signature {
    let arities = (required..=parameters.len()).map(TypeSignature::Any);
    // no argument at all is accepted here and refused by the function, with a message of its own
    let arities = std::iter::once(TypeSignature::Nullary).chain(arities).collect();
    let unnamed = Signature::one_of(arities, Volatility::Stable);
    unnamed.clone().with_parameter_names(parameters.to_vec()).unwrap_or(unnamed)
}

/// The arguments of one call.
pub(super) struct Arguments<'a> {
    function: &'static str,
    parameters: &'static [&'static str],
    fields: &'a [FieldRef],
    constants: Vec<Option<&'a ScalarValue>>,
    running: bool,
}

impl<'a> Arguments<'a> {
    /// The arguments at plan time; an error unless there are `required` of them.
    pub(super) fn planned(
        function: &'static str,
        parameters: &'static [&'static str],
        required: usize,
        args: &ReturnFieldArgs<'a>,
    ) -> Result<Self> {
        if args.arg_fields.len() < required {
            // worded as DataFusion words it
            let more = if parameters.len() > required { "at least " } else { "" };
            return plan_err!(
                "{function} function requires {more}{required} argument{}, got {}: {function}({})",
                if required == 1 { "" } else { "s" },
                args.arg_fields.len(),
                parameters.join(", ")
            );
        }
        Ok(Self {
            function,
            parameters,
            fields: args.arg_fields,
            constants: args.scalar_arguments.to_vec(),
            running: false,
        })
    }

    /// The arguments at run time.
    pub(super) fn evaluated(
        function: &'static str,
        parameters: &'static [&'static str],
        args: &'a ScalarFunctionArgs,
    ) -> Self {
        let constants = args.args.iter().map(|value| match value {
            ColumnarValue::Scalar(scalar) => Some(scalar),
            ColumnarValue::Array(_) => None,
        });
        Self { function, parameters, fields: &args.arg_fields, constants: constants.collect(), running: true }
    }

    /// The field of the argument at `index`, which the caller has required.
    pub(super) fn field(&self, index: usize) -> &'a FieldRef {
        &self.fields[index]
    }

    /// The value of a constant; `None` where it is left out or NULL. `example` is a value that would be right.
    fn constant(&self, index: usize, example: &str) -> Result<Option<&'a ScalarValue>> {
        let (function, parameter) = (self.function, self.parameters[index]);
        match self.constants.get(index) {
            None => Ok(None),
            Some(Some(value)) => Ok((!value.is_null()).then_some(*value)),
            Some(None) => plan_err!(
                "{function}: {parameter} must be a constant like {example}, found an expression of type {}",
                self.fields[index].data_type()
            ),
        }
    }

    /// A constant string; `None` where it is left out or NULL.
    pub(super) fn string(&self, index: usize, example: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.constant(index, example)? else {
            return Ok(None);
        };
        match value.try_as_str() {
            Some(text) => Ok(text),
            None => plan_err!(
                "{}: {} must be a string like {example}, found {value} of type {}",
                self.function,
                self.parameters[index],
                value.data_type()
            ),
        }
    }

    /// A constant number from 1 to `largest`; `None` where it is left out or NULL.
    pub(super) fn positive(&self, index: usize, example: u32, largest: u32) -> Result<Option<u32>> {
        let Some(value) = self.constant(index, &example.to_string())? else {
            return Ok(None);
        };
        let number = match value.cast_to(&DataType::UInt32) {
            Ok(ScalarValue::UInt32(Some(number))) if value.data_type().is_integer() => number,
            _ => 0,
        };
        if number == 0 || number > largest {
            return plan_err!(
                "{}: {} must be a whole number from 1 to {largest} like {example}, found {value} of type {}",
                self.function,
                self.parameters[index],
                value.data_type()
            );
        }
        Ok(Some(number))
    }

    /// A constant true or false; `None` where it is left out or NULL.
    pub(super) fn boolean(&self, index: usize) -> Result<Option<bool>> {
        match self.constant(index, "true")? {
            None => Ok(None),
            Some(ScalarValue::Boolean(value)) => Ok(*value),
            Some(value) => plan_err!(
                "{}: {} must be true or false, found {value} of type {}",
                self.function,
                self.parameters[index],
                value.data_type()
            ),
        }
    }

    /// True if the argument at `index` is there and is a constant.
    pub(super) fn is_constant(&self, index: usize) -> bool {
        matches!(self.constants.get(index), Some(Some(_)))
    }

    /// A string that is parsed; `None` where it is left out or NULL.
    pub(super) fn parsed<T: std::str::FromStr<Err = Error>>(
        &self,
        index: usize,
        example: &str,
    ) -> Result<Option<T>> {
        let Some(text) = self.string(index, example)? else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|error: Error| self.error(error))
    }

    /// `on_error => 'raise' | 'null'`, else the option `semantic.on_error`.
    pub(super) fn on_error(&self, index: usize, settings: &Settings) -> Result<OnError> {
        Ok(self.parsed(index, "'null'")?.unwrap_or(settings.on_error))
    }

    /// An error unless the model's vectors have the type that was planned: an option can have changed since.
    pub(super) fn check_planned(&self, space: &EmbeddingSpace, planned: &FieldRef) -> Result<()> {
        let planned_space = space_name(planned).unwrap_or(space.name());
        if space.data_type() == *planned.data_type() && space.name() == planned_space {
            return Ok(());
        }
        exec_err!(
            "{}: the statement was planned for vectors of '{planned_space}' of type {}, the model's are of '{}' of type {}: \
             semantic.* options changed meanwhile; name the model in the call, or plan the statement again",
            self.function,
            planned.data_type(),
            space.name(),
            space.data_type()
        )
    }

    /// An error of a room that does not know the function's name.
    pub(super) fn error(&self, error: Error) -> DataFusionError {
        let error = match error {
            Error::Data(message) if self.parameters.contains(&"on_error") => {
                Error::Data(format!("{message}; on_error => 'null' makes such rows NULL"))
            }
            error => error,
        };
        let error = error.in_function(self.function);
        // what is found out while the query runs is no error of planning
        match error {
            Error::Query(message) if self.running => DataFusionError::Execution(message),
            error => error.into(),
        }
    }
}

/// The parameters that choose a model, behind the input of an embedding function.
pub(super) struct ModelArguments {
    /// Where the call names one.
    pub(super) provider: Option<String>,
    pub(super) request: ModelRequest,
}

impl ModelArguments {
    /// From `model, provider, dimensions` at 1 to 3 and `input_type` at `input_type`, if the function has it.
    pub(super) fn parse(
        arguments: &Arguments<'_>,
        settings: &Settings,
        default_model: &str,
        input_type: Option<usize>,
    ) -> Result<Self> {
        Ok(Self {
            provider: arguments.string(2, "'transformers'")?.map(ToOwned::to_owned),
            request: ModelRequest {
                model: arguments
                    .string(1, &format!("'{default_model}'"))?
                    .unwrap_or(default_model)
                    .to_owned(),
                dimensions: arguments.positive(3, 384, u32::from(u16::MAX))?.map(|number| number as usize),
                input_type: match input_type {
                    Some(index) => arguments.parsed(index, "'query'")?,
                    None => None,
                },
                local: settings.local.clone(),
                remote: settings.remote.clone(),
                files: Arc::clone(&settings.files),
            },
        })
    }
}

impl FunctionContext {
    /// The options of a running query: those it began with.
    pub(super) fn settings_of(&self, config: &ConfigOptions) -> Settings {
        match config.extensions.get::<SemanticOptions>() {
            Some(options) => options.settings().clone(),
            None => self.settings(),
        }
    }
}

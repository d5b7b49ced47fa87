//! A graph under construction: nodes in the order in which they were added, weights where their files have them.
use std::collections::HashSet;

use prost::Message;
use safetensors::Dtype;

use super::config::Config;
use super::onnx::{
    AttributeProto, DataType, DimensionProto, EXTERNAL, FLOAT_ATTRIBUTE, GraphProto, INT_ATTRIBUTE,
    INTS_ATTRIBUTE, ModelProto, NodeProto, OperatorSetIdProto, STRING_ATTRIBUTE, StringStringEntryProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use super::tensor_files::{Tensor, TensorFiles};
use crate::error::Result;

/// The operator set in which `Gelu` came, and the version of the format of its time.
const OPSET: i64 = 20;
const IR_VERSION: i64 = 9;

/// A value of the graph: the output of a node, an input, a constant or a weight.
#[derive(Debug, Clone)]
pub(super) struct Value(String);

/// A side of an input or output.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Is(usize),
    Any(&'static str),
}

/// What a node is told apart from its inputs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Attribute<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Float(f32),
    Text(&'a str),
}

/// Whether a layer adds a vector to its products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bias {
    Added,
    None,
}

impl From<bool> for Bias {
    fn from(added: bool) -> Self {
        if added { Self::Added } else { Self::None }
    }
}

/// See the [module](self).
///
/// Weights become initialisers that refer to the bytes of the safetensors files, in the file's own type: a `Cast` to
/// 32-bit floats and the `Transpose` of a linear layer are nodes, which ONNX Runtime computes once as it optimises.
#[derive(Debug)]
pub(super) struct GraphBuilder<'a> {
    pub(super) weights: &'a TensorFiles,
    graph: GraphProto,
    /// Names of initialisers.
    constants: HashSet<String>,
}

impl<'a> GraphBuilder<'a> {
    pub(super) fn new(weights: &'a TensorFiles) -> Self {
        let graph = GraphProto { name: "model".to_owned(), ..GraphProto::default() };
        Self { weights, graph, constants: HashSet::new() }
    }

    /// The ONNX file.
    pub(super) fn finish(self) -> Vec<u8> {
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "datafusion-semantic".to_owned(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        };
        model.encode_to_vec()
    }

    pub(super) fn input(&mut self, name: &str, kind: DataType, sides: &[Side]) -> Value {
        self.graph.input.push(value_info(name, kind, sides));
        Value(name.to_owned())
    }

    /// Names a value of the graph as its output.
    pub(super) fn output(&mut self, name: &str, value: &Value, sides: &[Side]) {
        self.graph.output.push(value_info(name, DataType::Float, sides));
        self.node("Identity", &[value], &[], name.to_owned());
    }

    /// Adds a node of ONNX's own operators.
    pub(super) fn op(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute)],
    ) -> Value {
        let output = format!("{operator}_{}", self.graph.node.len());
        self.node(operator, inputs, attributes, output)
    }

    fn node(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute)],
        output: String,
    ) -> Value {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|input| input.0.clone()).collect(),
            output: vec![output.clone()],
            name: output.clone(),
            op_type: operator.to_owned(),
            attribute: attributes.iter().map(|(name, value)| attribute(name, *value)).collect(),
        });
        Value(output)
    }

    /// Several outputs of equal size, along the last axis.
    pub(super) fn split<const N: usize>(&mut self, value: &Value) -> [Value; N] {
        let number = self.graph.node.len();
        let outputs = std::array::from_fn(|part| Value(format!("Split_{number}.{part}")));
        self.graph.node.push(NodeProto {
            input: vec![value.0.clone()],
            output: outputs.iter().map(|output: &Value| output.0.clone()).collect(),
            name: format!("Split_{number}"),
            op_type: "Split".to_owned(),
            attribute: vec![
                attribute("axis", Attribute::Int(-1)),
                attribute("num_outputs", Attribute::Int(i64::try_from(N).unwrap_or(i64::MAX))),
            ],
        });
        outputs
    }

    fn constant(&mut self, tensor: TensorProto) -> Value {
        let name = tensor.name.clone();
        if self.constants.insert(name.clone()) {
            self.graph.initializer.push(tensor);
        }
        Value(name)
    }

    /// A short vector of whole numbers.
    pub(super) fn integers(&mut self, numbers: &[i64]) -> Value {
        self.named_integers(&format!("integers{numbers:?}"), numbers.to_vec())
    }

    /// A vector of whole numbers under a name of its own.
    pub(super) fn named_integers(&mut self, name: &str, numbers: Vec<i64>) -> Value {
        self.constant(TensorProto {
            dims: vec![signed(numbers.len())],
            data_type: DataType::Int64 as i32,
            int64_data: numbers,
            name: name.to_owned(),
            ..TensorProto::default()
        })
    }

    /// A whole number, without sides.
    pub(super) fn integer(&mut self, number: i64) -> Value {
        self.constant(TensorProto {
            data_type: DataType::Int64 as i32,
            int64_data: vec![number],
            name: format!("integer {number}"),
            ..TensorProto::default()
        })
    }

    /// A number, without sides.
    pub(super) fn number(&mut self, number: f32) -> Value {
        self.constant(TensorProto {
            data_type: DataType::Float as i32,
            float_data: vec![number],
            name: format!("number {number}"),
            ..TensorProto::default()
        })
    }

    /// A vector of numbers under a name of its own.
    pub(super) fn numbers(&mut self, name: &str, numbers: Vec<f32>) -> Value {
        self.constant(TensorProto {
            dims: vec![signed(numbers.len())],
            data_type: DataType::Float as i32,
            float_data: numbers,
            name: name.to_owned(),
            ..TensorProto::default()
        })
    }

    /// A tensor of the files as 32-bit floats, of the shape that the configuration gives.
    pub(super) fn weight(&mut self, name: &str, shape: &[usize]) -> Result<Value> {
        let (value, kind) = self.floats(name, shape)?;
        Ok(self.as_floats(value, kind))
    }

    /// Rows of a tensor of the files, as [`weight`](Self::weight); indices of any shape. The table itself keeps its type:
    /// of 16-bit floats, ONNX Runtime would keep a copy twice as large.
    pub(super) fn weight_rows(&mut self, name: &str, shape: &[usize], indices: &Value) -> Result<Value> {
        let (table, kind) = self.floats(name, shape)?;
        let rows = self.rows(&table, indices);
        Ok(self.as_floats(rows, kind))
    }

    fn as_floats(&mut self, value: Value, kind: DataType) -> Value {
        if kind == DataType::Float { value } else { self.cast(&value, DataType::Float) }
    }

    /// A tensor of floats of any width.
    fn floats(&mut self, name: &str, shape: &[usize]) -> Result<(Value, DataType)> {
        let tensor = self.weights.shaped(name, shape)?;
        let kind = match tensor.dtype {
            Dtype::F32 => DataType::Float,
            Dtype::F16 => DataType::Float16,
            Dtype::BF16 => DataType::BFloat16,
            Dtype::F64 => DataType::Double,
            other => {
                return self.weights.unusable(&format!(
                    "tensor '{name}' is of type {other}, expected F32, F16, BF16 or F64"
                ));
            }
        };
        Ok((self.constant(external(name, tensor, kind)), kind))
    }

    /// A tensor of whole numbers.
    pub(super) fn integer_weight(&mut self, name: &str, shape: &[usize]) -> Result<Value> {
        let tensor = self.weights.shaped(name, shape)?;
        let kind = match tensor.dtype {
            Dtype::I32 => DataType::Int32,
            Dtype::I64 => DataType::Int64,
            other => {
                return self
                    .weights
                    .unusable(&format!("tensor '{name}' is of type {other}, expected I32 or I64"));
            }
        };
        Ok(self.constant(external(name, tensor, kind)))
    }

    pub(super) fn cast(&mut self, value: &Value, kind: DataType) -> Value {
        self.op("Cast", &[value], &[("to", Attribute::Int(kind as i64))])
    }

    pub(super) fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.op("Add", &[a, b], &[])
    }

    pub(super) fn multiply(&mut self, a: &Value, b: &Value) -> Value {
        self.op("Mul", &[a, b], &[])
    }

    pub(super) fn transpose(&mut self, value: &Value, order: &[i64]) -> Value {
        self.op("Transpose", &[value], &[("perm", Attribute::Ints(order))])
    }

    /// 0 keeps a side, -1 takes what is left.
    pub(super) fn reshape(&mut self, value: &Value, sides: &[i64]) -> Value {
        let sides = self.integers(sides);
        self.op("Reshape", &[value, &sides], &[])
    }

    pub(super) fn unsqueeze(&mut self, value: &Value, axes: &[i64]) -> Value {
        let axes = self.integers(axes);
        self.op("Unsqueeze", &[value, &axes], &[])
    }

    /// Rows of a table that is computed; indices of any shape.
    pub(super) fn rows(&mut self, table: &Value, indices: &Value) -> Value {
        self.op("Gather", &[table, indices], &[])
    }

    /// `x W^T + b`, with `W` of shape `[outputs, inputs]` in the tensor `name.weight`, `b` in `name.bias`.
    pub(super) fn linear(
        &mut self,
        x: &Value,
        name: &str,
        [inputs, outputs]: [usize; 2],
        bias: Bias,
    ) -> Result<Value> {
        let weight = self.weight(&format!("{name}.weight"), &[outputs, inputs])?;
        let weight = self.transpose(&weight, &[1, 0]);
        let product = self.op("MatMul", &[x, &weight], &[]);
        if bias == Bias::None {
            return Ok(product);
        }
        let bias = self.weight(&format!("{name}.bias"), &[outputs])?;
        Ok(self.add(&product, &bias))
    }

    /// Layer normalisation (Ba et al. 2016) over the last axis. The first models were converted from TensorFlow, whose
    /// names of its two tensors are `gamma` and `beta`.
    pub(super) fn layer_norm(
        &mut self,
        x: &Value,
        name: &str,
        size: usize,
        epsilon: f32,
        bias: Bias,
    ) -> Result<Value> {
        let is_old =
            !self.weights.has(&format!("{name}.weight")) && self.weights.has(&format!("{name}.gamma"));
        let [weight, of_bias] = if is_old { ["gamma", "beta"] } else { ["weight", "bias"] };
        let weight = self.weight(&format!("{name}.{weight}"), &[size])?;
        let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(epsilon))];
        if bias == Bias::None {
            return Ok(self.op("LayerNormalization", &[x, &weight], &attributes));
        }
        let bias = self.weight(&format!("{name}.{of_bias}"), &[size])?;
        Ok(self.op("LayerNormalization", &[x, &weight, &bias], &attributes))
    }

    /// Root mean square normalisation (Zhang and Sennrich 2019) over the last axis.
    pub(super) fn rms_norm(&mut self, x: &Value, name: &str, size: usize, epsilon: f32) -> Result<Value> {
        let weight = self.weight(&format!("{name}.weight"), &[size])?;
        let two = self.number(2.0);
        let squares = self.op("Pow", &[x, &two], &[]);
        let axes = self.integers(&[-1]);
        let mean = self.op("ReduceMean", &[&squares, &axes], &[("keepdims", Attribute::Int(1))]);
        let epsilon = self.number(epsilon);
        let mean = self.add(&mean, &epsilon);
        let root = self.op("Sqrt", &[&mean], &[]);
        let scaled = self.op("Div", &[x, &root], &[]);
        Ok(self.multiply(&scaled, &weight))
    }

    /// An activation function by the name that `config.json` gives it.
    pub(super) fn activation(&mut self, config: &Config, name: &str, x: &Value) -> Result<Value> {
        Ok(match name {
            "gelu" | "gelu_python" => self.op("Gelu", &[x], &[]),
            // the approximation with tanh, in the several forms in which it was written
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_python_tanh" => {
                self.op("Gelu", &[x], &[("approximate", Attribute::Text("tanh"))])
            }
            "quick_gelu" => {
                let factor = self.number(1.702);
                let scaled = self.multiply(x, &factor);
                let gate = self.op("Sigmoid", &[&scaled], &[]);
                self.multiply(x, &gate)
            }
            "silu" | "swish" => {
                let gate = self.op("Sigmoid", &[x], &[]);
                self.multiply(x, &gate)
            }
            "relu" => self.op("Relu", &[x], &[]),
            "tanh" => self.op("Tanh", &[x], &[]),
            other => return config.unsupported(&format!("activation '{other}' is not known")),
        })
    }
}

fn external(name: &str, tensor: &Tensor, kind: DataType) -> TensorProto {
    let entry = |key: &str, value: String| StringStringEntryProto { key: key.to_owned(), value };
    TensorProto {
        dims: tensor.shape.iter().map(|&side| signed(side)).collect(),
        data_type: kind as i32,
        name: name.to_owned(),
        external_data: vec![
            entry("location", tensor.file.clone()),
            entry("offset", tensor.offset.to_string()),
            entry("length", tensor.length.to_string()),
        ],
        data_location: Some(EXTERNAL),
        ..TensorProto::default()
    }
}

/// A size as ONNX writes it. Sizes are checked to be small where they are read.
pub(super) fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn attribute(name: &str, value: Attribute) -> AttributeProto {
    let mut proto = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
    match value {
        Attribute::Int(value) => (proto.i, proto.r#type) = (Some(value), INT_ATTRIBUTE),
        Attribute::Ints(values) => (proto.ints, proto.r#type) = (values.to_vec(), INTS_ATTRIBUTE),
        Attribute::Float(value) => (proto.f, proto.r#type) = (Some(value), FLOAT_ATTRIBUTE),
        Attribute::Text(value) => (proto.s, proto.r#type) = (Some(value.into()), STRING_ATTRIBUTE),
    }
    proto
}

fn value_info(name: &str, kind: DataType, sides: &[Side]) -> ValueInfoProto {
    let dim = |side: &Side| match *side {
        Side::Is(size) => DimensionProto { dim_value: Some(signed(size)), dim_param: None },
        Side::Any(name) => DimensionProto { dim_value: None, dim_param: Some(name.to_owned()) },
    };
    let shape = TensorShapeProto { dim: sides.iter().map(dim).collect() };
    let tensor_type = TensorTypeProto { elem_type: kind as i32, shape: Some(shape) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}

//! What sentence-transformers does to a text's vector behind the pooling: dense layers, normalisation.
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::config::Module;
use super::folder::ModelFolder;
use super::pooling::normalize;
use crate::error::{Error, Result, query_err};

/// A module behind the pooling.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Layer {
    Normalize,
    Dense(DenseLayer),
}

/// `activation(weight * vector + bias)`, whose weights are in a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DenseLayer {
    inputs: usize,
    outputs: usize,
    has_bias: bool,
    activation: Activation,
    weights: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activation {
    Identity,
    Tanh,
    Relu,
    Sigmoid,
}

/// `2_Dense/config.json`
#[derive(Debug, Deserialize)]
struct File {
    in_features: usize,
    out_features: usize,
    #[serde(default = "yes")]
    bias: bool,
    activation_function: Option<String>,
}

fn yes() -> bool {
    true
}

impl Layer {
    /// Those of a model whose pooled vectors have `dimensions` numbers, and how many they have behind them. Reads no
    /// weights.
    pub(super) fn read_all(
        folder: &ModelFolder,
        modules: &[Module],
        dimensions: usize,
    ) -> Result<(Vec<Self>, usize)> {
        let (mut layers, mut dimensions) = (vec![], dimensions);
        for module in modules {
            match module.class() {
                "Transformer" | "StaticEmbedding" if matches!(module.path.as_str(), "" | ".") => {}
                "Transformer" | "StaticEmbedding" => {
                    return query_err!(
                        "model '{}' keeps its transformer in the folder '{}': only one in the model's own folder can be run",
                        folder.name(),
                        module.path
                    );
                }
                "Pooling" | "Dropout" => {}
                "Normalize" => layers.push(Self::Normalize),
                "Dense" => {
                    let dense = DenseLayer::read(folder, module, dimensions)?;
                    dimensions = dense.outputs;
                    layers.push(Self::Dense(dense));
                }
                _ => {
                    return query_err!(
                        "model '{}' has a module of type {}: Transformer, Pooling, Dense, Dropout and Normalize can be run",
                        folder.name(),
                        module.kind
                    );
                }
            }
        }
        Ok((layers, dimensions))
    }

    pub(super) fn normalizes(&self) -> bool {
        *self == Self::Normalize
    }
}

impl DenseLayer {
    fn read(folder: &ModelFolder, module: &Module, inputs: usize) -> Result<Self> {
        let path = module.file(folder, "config.json")?;
        let Some(file) = folder.read_json::<File>(&path)? else {
            return query_err!("model '{}' has no file {path}", folder.name());
        };
        if file.in_features != inputs || !(1..=usize::from(u16::MAX)).contains(&file.out_features) {
            return query_err!(
                "{path} of model '{}' is of a layer from {} to {} numbers: the vectors before it have {inputs}",
                folder.name(),
                file.in_features,
                file.out_features
            );
        }
        let name = file.activation_function.as_deref().unwrap_or("Tanh");
        let activation = match name.rsplit('.').next() {
            Some("Identity") => Activation::Identity,
            Some("Tanh") => Activation::Tanh,
            Some("ReLU") => Activation::Relu,
            Some("Sigmoid") => Activation::Sigmoid,
            _ => {
                return query_err!(
                    "{path} of model '{}' has the activation {name}: known are Identity, Tanh, ReLU and Sigmoid",
                    folder.name()
                );
            }
        };
        let weights = module.file(folder, "model.safetensors")?;
        if !folder.has(&weights) {
            return query_err!(
                "model '{}' has no file {weights}; pickled weights (.bin) are not read",
                folder.name()
            );
        }
        let (outputs, has_bias) = (file.out_features, file.bias);
        Ok(Self { inputs, outputs, has_bias, activation, weights })
    }
}

/// A layer that can be run.
#[derive(Debug)]
pub(super) enum LoadedLayer {
    Normalize,
    Dense {
        layer: DenseLayer,
        /// Row by row: a row for each number of the result.
        weight: Vec<f32>,
        bias: Vec<f32>,
    },
}

impl LoadedLayer {
    /// Reads the weights of a layer.
    pub(super) fn load(folder: &ModelFolder, layer: &Layer) -> Result<Self> {
        let Layer::Dense(layer) = layer else { return Ok(Self::Normalize) };
        let bytes = folder.read(&layer.weights)?;
        let wrong = |reason: String| {
            Error::Query(format!("cannot use {} of model '{}': {reason}", layer.weights, folder.name()))
        };
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| wrong(error.to_string()))?;
        let read = |name: &str, shape: &[usize]| {
            let tensor = tensors.tensor(name).map_err(|_| wrong(format!("it has no tensor '{name}'")))?;
            if tensor.shape() != shape {
                return Err(wrong(format!("'{name}' has shape {:?}, expected {shape:?}", tensor.shape())));
            }
            floats(tensor.dtype(), tensor.data())
                .ok_or_else(|| wrong(format!("'{name}' is of type {:?}, expected floats", tensor.dtype())))
        };
        let weight = read("linear.weight", &[layer.outputs, layer.inputs])?;
        let bias = match layer.has_bias {
            true => read("linear.bias", &[layer.outputs])?,
            false => vec![0.0; layer.outputs],
        };
        Ok(Self::Dense { layer: layer.clone(), weight, bias })
    }

    /// The vector behind this layer.
    pub(super) fn apply(&self, mut vector: Vec<f32>) -> Vec<f32> {
        match self {
            Self::Normalize => {
                normalize(&mut vector);
                vector
            }
            Self::Dense { layer, weight, bias } => {
                let rows = weight.chunks_exact(layer.inputs).zip(bias);
                let sums = rows.map(|(row, bias)| {
                    row.iter().zip(&vector).map(|(weight, value)| weight * value).sum::<f32>() + bias
                });
                sums.map(|sum| layer.activation.of(sum)).collect()
            }
        }
    }
}

impl Activation {
    fn of(self, value: f32) -> f32 {
        match self {
            Self::Identity => value,
            Self::Tanh => value.tanh(),
            Self::Relu => value.max(0.0),
            Self::Sigmoid => 1.0 / (1.0 + (-value).exp()),
        }
    }
}

/// Little-endian numbers, whatever their width.
fn floats(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    let pairs = || data.as_chunks::<2>().0.iter().copied();
    match dtype {
        Dtype::F32 => Some(data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
        Dtype::F16 => Some(pairs().map(|bytes| half::f16::from_le_bytes(bytes).to_f32()).collect()),
        Dtype::BF16 => Some(pairs().map(|bytes| half::bf16::from_le_bytes(bytes).to_f32()).collect()),
        _ => None,
    }
}

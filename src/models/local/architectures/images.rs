//! The beginning of image encoders (Dosovitskiy et al. 2021): an image is cut into patches, each of which is a token.
use super::builder::{Attribute, Bias, GraphBuilder, Side, Value, signed};
use super::config::Config;
use super::onnx::DataType;
use crate::error::Result;

/// The images of a run and how they are cut.
pub(super) struct Images {
    pixels: Value,
    patch: usize,
    /// Patches of an image.
    pub(super) count: usize,
}

impl Images {
    /// Images of the size in `config`, in patches of the size in it, or else of the family's.
    pub(super) fn input(config: &Config, g: &mut GraphBuilder, default_patch: usize) -> Result<Self> {
        let side = config.side_or("image_size", 224)?;
        let patch = config.side_or("patch_size", default_patch)?;
        match config.size_or("num_channels", 3)? {
            3 => {}
            other => return config.unsupported(&format!("num_channels is {other}, not 3")),
        }
        if patch > side {
            return config.unsupported(&format!("patch_size {patch} is more than image_size {side}"));
        }
        let sides = [Side::Any("batch"), Side::Is(3), Side::Is(side), Side::Is(side)];
        let pixels = g.input("pixel_values", DataType::Float, &sides);
        Ok(Self { pixels, patch, count: (side / patch) * (side / patch) })
    }

    /// The patches' vectors, `[batch, patch, size]`, row after row.
    pub(super) fn patches(&self, g: &mut GraphBuilder, name: &str, size: usize, bias: Bias) -> Result<Value> {
        let weight = g.weight(&format!("{name}.weight"), &[size, 3, self.patch, self.patch])?;
        let sides = [signed(self.patch), signed(self.patch)];
        let attributes = [("kernel_shape", Attribute::Ints(&sides)), ("strides", Attribute::Ints(&sides))];
        let patches = if bias == Bias::Added {
            let bias = g.weight(&format!("{name}.bias"), &[size])?;
            g.op("Conv", &[&self.pixels, &weight, &bias], &attributes)
        } else {
            g.op("Conv", &[&self.pixels, &weight], &attributes)
        };
        let patches = g.reshape(&patches, &[0, signed(size), -1]);
        Ok(g.transpose(&patches, &[0, 2, 1]))
    }

    /// `tokens` with one before the first, of the vector `class`, of shape `[1, 1, size]`.
    pub(super) fn with_class(g: &mut GraphBuilder, class: &Value, tokens: &Value) -> Value {
        let shape = g.op("Shape", &[tokens], &[("end", Attribute::Int(1))]);
        let one = g.integers(&[1, 1]);
        let shape = g.op("Concat", &[&shape, &one], &[("axis", Attribute::Int(0))]);
        let class = g.op("Expand", &[class, &shape], &[]);
        g.op("Concat", &[&class, tokens], &[("axis", Attribute::Int(1))])
    }

    /// The vector of the first token: `[batch, size]`.
    pub(super) fn first(g: &mut GraphBuilder, tokens: &Value) -> Value {
        let zero = g.integer(0);
        g.op("Gather", &[tokens, &zero], &[("axis", Attribute::Int(1))])
    }

    pub(super) fn output(g: &mut GraphBuilder, name: &str, vectors: &Value, size: usize) {
        g.output(name, vectors, &[Side::Any("batch"), Side::Is(size)]);
    }
}

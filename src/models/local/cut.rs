//! Vectors of fewer dimensions than a model makes: the first of them, for models that are trained so that these say most
//! (Matryoshka representation learning, <https://arxiv.org/abs/2205.13147>).
use super::pooling::normalize;
use crate::error::{Result, query_err};
use crate::types::embedding::EmbeddingSpace;

/// The vectors of a call.
#[derive(Debug)]
pub(super) struct Cut {
    /// That of the model, with the dimensions of the call.
    pub(super) space: EmbeddingSpace,
    to: Option<usize>,
}

impl Cut {
    /// `lengths` are those that the model was trained for, where its files say so; else any that it has may be asked for.
    pub(super) fn new(
        model: &str,
        space: &EmbeddingSpace,
        lengths: Option<&[usize]>,
        wanted: Option<usize>,
    ) -> Result<Self> {
        let own = space.dimensions().unwrap_or_default();
        let to = match wanted {
            None => None,
            Some(wanted) if wanted == own => None,
            Some(wanted) if wanted > own => {
                return query_err!(
                    "model '{model}' has {own} dimensions, not {wanted}: leave dimensions out"
                );
            }
            Some(wanted) => Some(wanted),
        };
        if let (Some(to), Some(lengths)) = (to, lengths.filter(|lengths| !lengths.is_empty()))
            && !lengths.contains(&to)
        {
            return query_err!(
                "model '{model}' has no vectors of {to} dimensions: it has {}",
                lengths.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
            );
        }
        let space = match to {
            None => space.clone(),
            Some(to) => EmbeddingSpace::new(space.name(), to, true),
        };
        Ok(Self { space, to })
    }

    /// The first numbers of each vector of `dimensions`, with length 1; the vectors as they are where none are cut.
    pub(super) fn apply(&self, dimensions: usize, values: Vec<f32>) -> (usize, Vec<f32>) {
        let Some(to) = self.to else { return (dimensions, values) };
        let mut cut: Vec<f32> =
            values.chunks_exact(dimensions).flat_map(|vector| &vector[..to]).copied().collect();
        cut.chunks_exact_mut(to).for_each(normalize);
        (to, cut)
    }
}

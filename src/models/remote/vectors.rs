//! Vectors in the JSON of an answer: as base64 of little-endian 32-bit floats, or as numbers.
use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

use crate::error::Error;
use crate::models::Embeddings;

/// A vector as it stands in an answer.
#[derive(Debug)]
pub(crate) enum Vector<'a> {
    Base64(Cow<'a, str>),
    Floats(Vec<f32>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Vector<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;

        impl<'de> Visitor<'de> for Visit {
            type Value = Vector<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector: base64, or an array of numbers")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Vector::Base64(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Vector::Base64(Cow::Owned(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut floats = Vec::with_capacity(1536);
                // JSON knows no NaN: what writes one as null means a number that is none
                while let Some(float) = seq.next_element::<Option<f32>>()? {
                    floats.push(float.unwrap_or(f32::NAN));
                }
                if floats.is_empty() {
                    Err(A::Error::custom("a vector without numbers"))
                } else {
                    Ok(Vector::Floats(floats))
                }
            }
        }

        deserializer.deserialize_any(Visit)
    }
}

impl Vector<'_> {
    /// Appends the numbers; `None` if it is not base64 of whole floats.
    fn append_to(&self, values: &mut Vec<f32>) -> Option<usize> {
        match self {
            Self::Floats(floats) => {
                values.extend_from_slice(floats);
                Some(floats.len())
            }
            Self::Base64(text) => {
                let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
                let bytes = (text.len() - padding.min(2)) * 3 / 4;
                if bytes % 4 != 0 {
                    return None;
                }
                let start = values.len();
                values.resize(start + bytes / 4, 0.0);
                let place: &mut [u8] = bytemuck::cast_slice_mut(&mut values[start..]);
                if STANDARD.decode_slice(text.as_bytes(), place).ok()? != bytes {
                    return None;
                }
                if cfg!(target_endian = "big") {
                    for value in &mut values[start..] {
                        *value = f32::from_bits(value.to_bits().swap_bytes());
                    }
                }
                Some(bytes / 4)
            }
        }
    }
}

/// An answer that is not what the protocol says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// It ends too early or is no JSON: something on the way broke it.
    Broken(String),
    /// It is whole, and wrong.
    Wrong(String),
}

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        let place = format!("line {}, column {}", error.line(), error.column());
        match error.classify() {
            serde_json::error::Category::Data => {
                Self::Wrong(format!("an answer that is not as its API describes, at {place}"))
            }
            _ => Self::Broken(format!("an answer that is no JSON, at {place}")),
        }
    }
}

/// The vectors of an answer, and the tokens that were read for them.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) embeddings: Embeddings,
    pub(crate) tokens: Option<usize>,
}

impl Answer {
    /// Of vectors in the order of the inputs, each with its index if the answer has it. `dimensions` is the length
    /// that they must have, if one is known. A vector that is not finite is an error of its row only.
    pub(crate) fn new<'a>(
        vectors: impl ExactSizeIterator<Item = (Option<usize>, Vector<'a>)>,
        inputs: usize,
        dimensions: Option<usize>,
        tokens: Option<usize>,
    ) -> Result<Self, Malformed> {
        let wrong = |message| Err(Malformed::Wrong(message));
        if vectors.len() != inputs {
            return wrong(format!("{} vectors for {inputs} inputs", vectors.len()));
        }
        let mut length = dimensions;
        let mut values = Vec::with_capacity(inputs * dimensions.unwrap_or_default());
        for (row, (index, vector)) in vectors.enumerate() {
            if index.is_some_and(|index| index != row) {
                return wrong(format!("the vectors of {inputs} inputs in another order than the inputs"));
            }
            let Some(found) = vector.append_to(&mut values) else {
                return wrong("a vector that is no base64 of 32-bit floats".to_owned());
            };
            if found == 0 {
                return wrong("a vector without numbers".to_owned());
            }
            let expected = *length.get_or_insert(found);
            if found != expected {
                return wrong(format!("a vector of {found} dimensions, expected {expected}"));
            }
        }
        let dimensions = length.unwrap_or_default();
        let failures = values.chunks_exact(dimensions.max(1)).enumerate().filter_map(|(row, vector)| {
            let number = vector.iter().find(|number| !number.is_finite())?;
            Some((
                row,
                Error::Data(format!("the vector has {number} in it, not a number that can be compared")),
            ))
        });
        let failures: Vec<_> = failures.collect();
        for (row, _) in &failures {
            values[row * dimensions..][..dimensions].fill(0.0);
        }
        match Embeddings::new(inputs, dimensions, values) {
            Ok(embeddings) => Ok(Self { embeddings: embeddings.with_failures(failures), tokens }),
            Err(error) => wrong(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(json: &str) -> Option<Vec<f32>> {
        let mut values = vec![];
        serde_json::from_str::<Vector<'_>>(json).ok()?.append_to(&mut values)?;
        Some(values)
    }

    #[test]
    fn a_vector_is_base64_or_numbers() {
        let floats = [0.5_f32, -1.25, 3.0e-8, 1.0e30];
        for length in 1..=4 {
            let bytes: Vec<u8> = floats[..length].iter().flat_map(|float| float.to_le_bytes()).collect();
            assert_eq!(vector(&format!("\"{}\"", STANDARD.encode(bytes))).unwrap(), floats[..length]);
        }
        assert_eq!(vector("[0.5, -1.25, 3e-8, 1]").unwrap(), [0.5, -1.25, 3.0e-8, 1.0]);
        // letters may be escaped
        assert_eq!(vector(r#""\/\/\/\/PQ==""#).unwrap()[0].to_bits(), 0x3dff_ffff);
        assert_eq!(vector(r#""AACAPw==""#).unwrap(), [1.0]);
        assert_eq!(vector(r#""\u0041ACAPw==""#).unwrap(), [1.0]);
    }

    #[test]
    fn what_is_neither_is_refused() {
        for json in ["[]", "null", "\"AACA\"", "\"AACAPw=\"", "\"!!!!!!!!\"", "\"=\"", "[\"a\"]", "{}"] {
            assert_eq!(vector(json), None, "{json}");
        }
        assert_eq!(vector("\"\"").unwrap(), [0.0; 0]);
    }

    #[test]
    fn wrong_answers_are_no_rows() {
        let answer = |indices: &[Option<usize>], lengths: &[usize], inputs, dimensions| {
            let vectors: Vec<_> = indices
                .iter()
                .zip(lengths)
                .map(|(index, length)| (*index, Vector::Floats(vec![1.0; *length])))
                .collect();
            Answer::new(vectors.into_iter(), inputs, dimensions, None)
                .map(|answer| answer.embeddings.tokens())
        };
        let wrong = |message: &str| Err(Malformed::Wrong(message.to_owned()));
        assert_eq!(answer(&[None, None], &[2, 2], 2, Some(2)), Ok(0));
        assert_eq!(answer(&[Some(0)], &[2], 2, None), wrong("1 vectors for 2 inputs"));
        assert_eq!(answer(&[None; 2], &[2, 3], 2, None), wrong("a vector of 3 dimensions, expected 2"));
        assert_eq!(answer(&[None; 2], &[3, 3], 2, Some(2)), wrong("a vector of 3 dimensions, expected 2"));
        let reordered = answer(&[Some(1), Some(0)], &[2, 2], 2, None);
        assert_eq!(reordered, wrong("the vectors of 2 inputs in another order than the inputs"));
    }
}

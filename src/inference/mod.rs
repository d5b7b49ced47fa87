//! From rows to model calls and back: NULLs are skipped, equal inputs are sent once, request batches are cut and kept
//! in flight, a bad row is isolated, and the vectors return in the order of the rows.
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{FixedSizeListArray, Float32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field};
use datafusion::common::HashMap;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};

use crate::config::OnError;
use crate::error::{Error, Result, data_err};
use crate::image::Image;
use crate::models::{Embeddings, ImageEmbedder, TextEmbedder};

/// How rows become request batches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The most request batches in flight.
    pub(crate) max_concurrency: usize,
    /// What happens to a bad row.
    pub(crate) on_error: OnError,
}

/// An embedder of inputs of one kind.
pub(crate) trait Embedder<I>: Sync {
    fn dimensions(&self) -> usize;
    fn max_inputs(&self) -> usize;
    fn embed<'a>(&'a self, inputs: &'a [I]) -> BoxFuture<'a, Result<Embeddings>>;
}

impl<'t> Embedder<&'t str> for dyn TextEmbedder {
    fn dimensions(&self) -> usize {
        self.space().dimensions()
    }

    fn max_inputs(&self) -> usize {
        self.max_inputs()
    }

    fn embed<'a>(&'a self, inputs: &'a [&'t str]) -> BoxFuture<'a, Result<Embeddings>> {
        self.embed(inputs)
    }
}

impl<'p> Embedder<Image<'p>> for dyn ImageEmbedder {
    fn dimensions(&self) -> usize {
        self.space().dimensions()
    }

    fn max_inputs(&self) -> usize {
        self.max_inputs()
    }

    fn embed<'a>(&'a self, inputs: &'a [Image<'p>]) -> BoxFuture<'a, Result<Embeddings>> {
        self.embed(inputs)
    }
}

/// One vector a row; NULL for NULL, without a call.
///
/// Memory: the distinct inputs and their vectors. Cost: one call for each [`Embedder::max_inputs`] distinct inputs.
pub(crate) async fn embed<I, E>(
    embedder: &E,
    rows: impl Iterator<Item = Option<I>> + Send,
    limits: Limits,
) -> Result<FixedSizeListArray>
where
    I: Hash + Eq + Clone + Send + Sync,
    E: Embedder<I> + ?Sized,
{
    let (distinct, of_rows) = deduplicate(rows);
    let batches = distinct.chunks(embedder.max_inputs().max(1));
    let requests: Vec<_> = batches.map(|batch| request(embedder, batch, limits.on_error)).collect();
    let batches: Vec<_> =
        futures::stream::iter(requests).buffered(limits.max_concurrency.max(1)).try_collect().await?;
    let vectors: Vec<Option<Vec<f32>>> = batches.into_iter().flatten().collect();
    Ok(scatter(&vectors, &of_rows, embedder.dimensions()))
}

/// The distinct inputs in the order of their first row, and for each row which of them it has.
fn deduplicate<I: Hash + Eq + Clone>(rows: impl Iterator<Item = Option<I>>) -> (Vec<I>, Vec<Option<usize>>) {
    let mut distinct: Vec<I> = Vec::new();
    let mut seen: HashMap<I, usize> = HashMap::new();
    let of_rows = rows
        .map(|row| {
            row.map(|input| {
                *seen.entry(input).or_insert_with_key(|input| {
                    distinct.push(input.clone());
                    distinct.len() - 1
                })
            })
        })
        .collect();
    (distinct, of_rows)
}

/// The vectors of one request batch; `None` for a bad input if errors become NULL.
///
/// A batch that fails because of its data is cut in halves until the bad inputs are alone, so that the others keep
/// their vectors. An error of the query or of the configuration is raised at once: it would fail every half.
fn request<'a, I, E>(
    embedder: &'a E,
    batch: &'a [I],
    on_error: OnError,
) -> BoxFuture<'a, Result<Vec<Option<Vec<f32>>>>>
where
    I: Sync,
    E: Embedder<I> + ?Sized,
{
    async move {
        match embedder.embed(batch).await {
            Ok(embeddings) => {
                let dimensions = embedder.dimensions();
                let vectors: Vec<_> = embeddings.rows().map(|vector| Some(vector.to_vec())).collect();
                let found = vectors.iter().flatten().map(Vec::len).next().unwrap_or(dimensions);
                if vectors.len() != batch.len() || found != dimensions {
                    return data_err!(
                        "the model returned {} vectors of {found} dimensions, expected {} of {dimensions}",
                        vectors.len(),
                        batch.len()
                    );
                }
                Ok(vectors)
            }
            Err(Error::Data(_)) if on_error == OnError::Null && batch.len() == 1 => Ok(vec![None]),
            Err(Error::Data(_)) if on_error == OnError::Null => {
                let (first, second) = batch.split_at(batch.len() / 2);
                let mut vectors = request(embedder, first, on_error).await?;
                vectors.extend(request(embedder, second, on_error).await?);
                Ok(vectors)
            }
            Err(error) => Err(error),
        }
    }
    .boxed()
}

/// The column: each row gets the vector of its input.
fn scatter(vectors: &[Option<Vec<f32>>], of_rows: &[Option<usize>], dimensions: usize) -> FixedSizeListArray {
    let mut values = Vec::with_capacity(of_rows.len() * dimensions);
    let mut valid = Vec::with_capacity(of_rows.len());
    for row in of_rows {
        let vector = row.and_then(|input| vectors[input].as_deref());
        valid.push(vector.is_some());
        match vector {
            Some(vector) => values.extend_from_slice(vector),
            None => values.resize(values.len() + dimensions, 0.0),
        }
    }
    FixedSizeListArray::new(
        Arc::new(Field::new_list_field(DataType::Float32, true)),
        i32::try_from(dimensions).unwrap_or(i32::MAX),
        Arc::new(Float32Array::from(values)),
        Some(NullBuffer::from(valid)),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Float32Type;
    use async_trait::async_trait;

    use super::*;
    use crate::types::embedding::EmbeddingSpace;

    /// The vector of a text is its length twice; 'poison' cannot be embedded.
    #[derive(Debug)]
    struct Lengths {
        space: EmbeddingSpace,
        calls: Mutex<Vec<Vec<String>>>,
    }

    impl Lengths {
        fn new() -> Self {
            Self { space: EmbeddingSpace::new("lengths", 2, false), calls: Mutex::default() }
        }
    }

    #[async_trait]
    impl TextEmbedder for Lengths {
        fn space(&self) -> &EmbeddingSpace {
            &self.space
        }

        fn max_inputs(&self) -> usize {
            4
        }

        async fn embed(&self, texts: &[&str]) -> Result<Embeddings> {
            self.calls.lock().unwrap().push(texts.iter().map(|&text| text.to_owned()).collect());
            if texts.contains(&"poison") {
                return Err(Error::Data("poisoned".to_owned()));
            }
            let values =
                texts.iter().flat_map(|text| [u8::try_from(text.len()).unwrap(); 2].map(f32::from)).collect();
            Embeddings::new(texts.len(), 2, values)
        }
    }

    fn run(model: &Lengths, rows: &[Option<&str>], on_error: OnError) -> Result<Vec<Option<f32>>> {
        let limits = Limits { max_concurrency: 2, on_error };
        let vectors =
            futures::executor::block_on(embed(model as &dyn TextEmbedder, rows.iter().copied(), limits))?;
        let firsts = (0..vectors.len()).map(|row| {
            vectors.is_valid(row).then(|| vectors.value(row).as_primitive::<Float32Type>().value(0))
        });
        Ok(firsts.collect())
    }

    #[test]
    fn nulls_cost_nothing_and_equal_inputs_are_sent_once_in_batches() {
        let model = Lengths::new();
        let rows = [Some("a"), None, Some("bb"), Some("a"), Some("ccc"), Some(""), Some("eeeee"), Some("bb")];
        let expected = [Some(1.0), None, Some(2.0), Some(1.0), Some(3.0), Some(0.0), Some(5.0), Some(2.0)];
        assert_eq!(run(&model, &rows, OnError::Raise).unwrap(), expected);
        assert_eq!(*model.calls.lock().unwrap(), [vec!["a", "bb", "ccc", ""], vec!["eeeee"]]);
    }

    #[test]
    fn no_rows_and_only_nulls_make_no_call() {
        let model = Lengths::new();
        assert_eq!(run(&model, &[], OnError::Raise).unwrap(), []);
        assert_eq!(run(&model, &[None, None], OnError::Raise).unwrap(), [None, None]);
        assert!(model.calls.lock().unwrap().is_empty());
    }

    #[test]
    fn a_bad_row_is_one_bad_row() {
        let model = Lengths::new();
        let rows = [Some("a"), Some("poison"), Some("ccc"), Some("dddd"), Some("poison")];
        assert_eq!(run(&model, &rows, OnError::Raise).unwrap_err(), Error::Data("poisoned".to_owned()));
        let expected = [Some(1.0), None, Some(3.0), Some(4.0), None];
        assert_eq!(run(&model, &rows, OnError::Null).unwrap(), expected);
    }
}

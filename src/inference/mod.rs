//! From rows to model calls and back: NULLs are skipped, request batches are cut and kept in flight, a bad row is
//! isolated, and the vectors return in the order of the rows.
mod row_memory;
mod running;

use std::sync::Arc;

use arrow::array::{FixedSizeListArray, Float32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field};
use futures::FutureExt;
use futures::future::{BoxFuture, try_join_all};

use crate::config::OnError;
use crate::error::{Error, Result, data_err};
use crate::image::Image;
use crate::models::{Embeddings, ImageEmbedder, TextEmbedder};

pub(crate) use row_memory::RowMemory;
pub(crate) use running::{Running, Usage};

/// An embedder of inputs of one kind.
pub(crate) trait Embedder<I>: Sync {
    fn dimensions(&self) -> usize;
    fn max_inputs(&self) -> usize;
    /// The bytes of an input.
    fn size(&self, input: &I) -> usize;
    fn embed<'a>(&'a self, inputs: &'a [I]) -> BoxFuture<'a, Result<Embeddings>>;
}

impl<'t> Embedder<&'t str> for dyn TextEmbedder {
    fn dimensions(&self) -> usize {
        self.space().dimensions()
    }

    fn max_inputs(&self) -> usize {
        self.max_inputs()
    }

    fn size(&self, text: &&'t str) -> usize {
        text.len()
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

    fn size(&self, image: &Image<'p>) -> usize {
        image.pixels().len()
    }

    fn embed<'a>(&'a self, inputs: &'a [Image<'p>]) -> BoxFuture<'a, Result<Embeddings>> {
        self.embed(inputs)
    }
}

/// One vector a row; NULL for NULL, without a call.
///
/// Memory: the inputs and their vectors. Cost: one call for each [`Embedder::max_inputs`] inputs that are not NULL.
/// Equal inputs are the business of who calls this.
pub(crate) async fn embed<I, E>(
    embedder: &E,
    rows: impl Iterator<Item = Option<I>> + Send,
    on_error: OnError,
    running: &Running,
) -> Result<FixedSizeListArray>
where
    I: Send + Sync,
    E: Embedder<I> + ?Sized,
{
    let mut inputs = vec![];
    let valid: Vec<bool> = rows
        .map(|row| {
            let valid = row.is_some();
            inputs.extend(row);
            valid
        })
        .collect();
    let batches = inputs.chunks(embedder.max_inputs().max(1));
    let requests: Vec<_> = batches.map(|batch| request(embedder, batch, on_error, running)).collect();
    let vectors = try_join_all(requests).await?;
    Ok(scatter(vectors.into_iter().flatten(), &valid, embedder.dimensions()))
}

/// The vectors of one request batch; `None` for a bad input if errors become NULL.
///
/// A batch that fails because of its data is cut in halves until the bad inputs are alone, so that the others keep
/// their vectors. An error of the query or of the configuration is raised at once: it would fail every half.
fn request<'a, I, E>(
    embedder: &'a E,
    batch: &'a [I],
    on_error: OnError,
    running: &'a Running,
) -> BoxFuture<'a, Result<Vec<Option<Vec<f32>>>>>
where
    I: Sync,
    E: Embedder<I> + ?Sized,
{
    async move {
        let bytes = batch.iter().map(|input| embedder.size(input)).sum();
        running.usage().bytes.add(bytes);
        match running.request(embedder.embed(batch)).await {
            Ok(embeddings) => {
                running.usage().tokens.add(embeddings.tokens());
                running.usage().retries.add(embeddings.retries());
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
            Err(Error::Data(_)) if on_error == OnError::Null && batch.len() == 1 => {
                running.usage().failed_rows.add(1);
                Ok(vec![None])
            }
            Err(Error::Data(_)) if on_error == OnError::Null => {
                let (first, second) = batch.split_at(batch.len() / 2);
                let mut vectors = request(embedder, first, on_error, running).await?;
                vectors.extend(request(embedder, second, on_error, running).await?);
                Ok(vectors)
            }
            Err(error) => Err(error),
        }
    }
    .boxed()
}

/// The column: each valid row gets the next vector.
fn scatter(
    mut vectors: impl Iterator<Item = Option<Vec<f32>>>,
    rows: &[bool],
    dimensions: usize,
) -> FixedSizeListArray {
    let mut values = Vec::with_capacity(rows.len() * dimensions);
    let mut valid = Vec::with_capacity(rows.len());
    for has_input in rows {
        let vector = has_input.then(|| vectors.next().flatten()).flatten();
        valid.push(vector.is_some());
        match vector {
            Some(vector) => values.extend(vector),
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
        let (model, rows) = (model as &dyn TextEmbedder, rows.iter().copied());
        let vectors = futures::executor::block_on(embed(model, rows, on_error, &Running::current(2)))?;
        let firsts = (0..vectors.len()).map(|row| {
            vectors.is_valid(row).then(|| vectors.value(row).as_primitive::<Float32Type>().value(0))
        });
        Ok(firsts.collect())
    }

    #[test]
    fn nulls_cost_nothing_and_inputs_are_sent_in_batches() {
        let model = Lengths::new();
        let rows = [Some("a"), None, Some("bb"), Some("a"), Some("ccc"), Some(""), Some("eeeee"), Some("bb")];
        let expected = [Some(1.0), None, Some(2.0), Some(1.0), Some(3.0), Some(0.0), Some(5.0), Some(2.0)];
        assert_eq!(run(&model, &rows, OnError::Raise).unwrap(), expected);
        assert_eq!(*model.calls.lock().unwrap(), [vec!["a", "bb", "a", "ccc"], vec!["", "eeeee", "bb"]]);
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

//! From rows to model calls and back: NULLs are skipped, request batches are cut and kept in flight, a bad row is
//! isolated, and the vectors return in the order of the rows.
mod row_memory;
mod running;
mod spend;

use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field};
use futures::FutureExt;
use futures::future::{BoxFuture, try_join_all};

use crate::config::OnError;
use crate::error::{Error, Result, data_err};
use crate::image::Image;
use crate::models::{Embeddings, ImageEmbedder, TextEmbedder};

pub(crate) use row_memory::RowMemory;
pub(crate) use running::{Running, Usage};
pub(crate) use spend::{Budget, Spend};

/// An embedder of inputs of one kind.
pub(crate) trait Embedder<I>: Sync {
    /// The length of the vectors, where it is known.
    fn dimensions(&self) -> Option<usize>;
    fn max_inputs(&self) -> usize;
    fn makes_requests(&self) -> bool;
    /// The bytes of an input.
    fn size(&self, input: &I) -> usize;
    fn embed<'a>(&'a self, inputs: &'a [I], running: &'a Running) -> BoxFuture<'a, Result<Embeddings>>;
}

impl<'t> Embedder<&'t str> for dyn TextEmbedder {
    fn dimensions(&self) -> Option<usize> {
        self.space().dimensions()
    }

    fn max_inputs(&self) -> usize {
        self.max_inputs()
    }

    fn makes_requests(&self) -> bool {
        self.makes_requests()
    }

    fn size(&self, text: &&'t str) -> usize {
        text.len()
    }

    fn embed<'a>(&'a self, inputs: &'a [&'t str], running: &'a Running) -> BoxFuture<'a, Result<Embeddings>> {
        self.embed(inputs, running)
    }
}

impl<'p> Embedder<Image<'p>> for dyn ImageEmbedder {
    fn dimensions(&self) -> Option<usize> {
        self.space().dimensions()
    }

    fn max_inputs(&self) -> usize {
        self.max_inputs()
    }

    fn makes_requests(&self) -> bool {
        self.makes_requests()
    }

    fn size(&self, image: &Image<'p>) -> usize {
        image.pixels().len()
    }

    fn embed<'a>(
        &'a self,
        inputs: &'a [Image<'p>],
        running: &'a Running,
    ) -> BoxFuture<'a, Result<Embeddings>> {
        self.embed(inputs, running)
    }
}

/// One vector a row; NULL for NULL, without a call. A `FixedSizeList` where the model's dimensions are known, else a
/// `List`.
///
/// Memory: the inputs and their vectors. Cost: one call for each [`Embedder::max_inputs`] inputs that are not NULL.
/// Equal inputs are the business of who calls this.
pub(crate) async fn embed<I, E>(
    embedder: &E,
    rows: impl Iterator<Item = Option<I>> + Send,
    on_error: OnError,
    running: &Running,
) -> Result<ArrayRef>
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
    let parts = try_join_all(requests).await?.concat();
    scatter(&parts, &valid, embedder.dimensions())
}

/// The vectors of one request batch, in parts; a bad input is a failure in its part, and raised unless errors become
/// NULL.
///
/// A batch that fails because of its data is cut in halves until the bad inputs are alone, so that the others keep
/// their vectors. An error of the query or of the configuration is raised at once: it would fail every half.
fn request<'a, I, E>(
    embedder: &'a E,
    batch: &'a [I],
    on_error: OnError,
    running: &'a Running,
) -> BoxFuture<'a, Result<Vec<Embeddings>>>
where
    I: Sync,
    E: Embedder<I> + ?Sized,
{
    async move {
        let bytes = batch.iter().map(|input| embedder.size(input)).sum();
        running.usage().bytes.add(bytes);
        let call = embedder.embed(batch, running);
        let outcome = if embedder.makes_requests() { call.await } else { running.request(call).await };
        match outcome {
            Ok(embeddings) => {
                running.usage().tokens.add(embeddings.tokens());
                running.usage().truncated.add(embeddings.truncated());
                running.usage().retries.add(embeddings.retries());
                if let (Some((_, error)), OnError::Raise) = (embeddings.failures().next(), on_error) {
                    return Err(error.clone());
                }
                let (failures, found) = (embeddings.failures().count(), embeddings.dimensions());
                running.usage().failed_rows.add(failures);
                let dimensions = embedder.dimensions().unwrap_or(found);
                if embeddings.inputs() != batch.len() || (found != dimensions && failures < batch.len()) {
                    return data_err!(
                        "the model returned {} vectors of {found} dimensions, expected {} of {dimensions}",
                        embeddings.inputs(),
                        batch.len()
                    );
                }
                Ok(vec![embeddings])
            }
            Err(error @ Error::Data(_)) if on_error == OnError::Null && batch.len() == 1 => {
                running.usage().failed_rows.add(1);
                let dimensions = embedder.dimensions().unwrap_or_default();
                Ok(vec![
                    Embeddings::new(1, dimensions, vec![0.0; dimensions])?.with_failures(vec![(0, error)]),
                ])
            }
            Err(Error::Data(_)) if on_error == OnError::Null => {
                let (first, second) = batch.split_at(batch.len() / 2);
                let mut parts = request(embedder, first, on_error, running).await?;
                parts.extend(request(embedder, second, on_error, running).await?);
                Ok(parts)
            }
            Err(error) => Err(error),
        }
    }
    .boxed()
}

/// The column: each valid row gets the next vector, or NULL where there is a failure in its place.
fn scatter(parts: &[Embeddings], rows: &[bool], dimensions: Option<usize>) -> Result<ArrayRef> {
    let length = parts.iter().map(Embeddings::dimensions).find(|found| *found > 0);
    let length = dimensions.or(length).unwrap_or_default();
    let mut values = Vec::with_capacity(rows.len() * length);
    let mut valid = Vec::with_capacity(rows.len());
    let mut vectors = parts.iter().flat_map(|part| {
        let mut failures = part.failures().map(|(row, _)| row).peekable();
        (0..part.inputs()).map(move |row| match failures.next_if_eq(&row) {
            Some(_) => None,
            None => Some(part.vector(row)),
        })
    });
    for has_input in rows {
        let vector = has_input.then(|| vectors.next().flatten()).flatten();
        valid.push(vector.is_some());
        match vector {
            Some(vector) if vector.len() == length => values.extend_from_slice(vector),
            Some(vector) => {
                return data_err!(
                    "the model returned a vector of {} dimensions after others of {length}",
                    vector.len()
                );
            }
            // a list of no item stands for NULL where lists have lengths of their own
            None if dimensions.is_none() => {}
            None => values.resize(values.len() + length, 0.0),
        }
    }
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let values = Arc::new(Float32Array::from(values));
    if dimensions.is_some() {
        let length = i32::try_from(length).unwrap_or(i32::MAX);
        return Ok(Arc::new(FixedSizeListArray::new(item, length, values, Some(NullBuffer::from(valid)))));
    }
    let offsets = OffsetBuffer::from_lengths(valid.iter().map(|valid| if *valid { length } else { 0 }));
    Ok(Arc::new(ListArray::new(item, offsets, values, Some(NullBuffer::from(valid)))))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Float32Type;
    use async_trait::async_trait;

    use super::*;
    use crate::models::Caller;
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

        async fn embed(&self, texts: &[&str], _: &dyn Caller) -> Result<Embeddings> {
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
        let vectors = vectors.as_fixed_size_list();
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

//! A remote model as an embedder of texts and images.
use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::RemoteModel;
use super::call::Target;
use super::job::{Outcome, Refused};
use super::options::LongText;
use super::protocol::{Input, Kind};
use super::tokens::{estimate, windows};
use crate::blocking::compute;
use crate::error::{Error, Result};
use crate::image::{Encoding, Image, Mode, convert, encode as encode_file};
use crate::models::{Caller, Embeddings, ImageEmbedder, TextEmbedder};
use crate::types::embedding::EmbeddingSpace;

/// What an image is counted as, in tokens: providers take one for some hundred pixels.
const PIXELS_PER_TOKEN: usize = 560;

#[async_trait]
impl TextEmbedder for RemoteModel {
    fn space(&self) -> &EmbeddingSpace {
        &self.space
    }

    fn max_inputs(&self) -> usize {
        usize::MAX
    }

    fn makes_requests(&self) -> bool {
        true
    }

    async fn embed(&self, texts: &[&str], caller: &dyn Caller) -> Result<Embeddings> {
        let target = self.target()?;
        let texts: Vec<Cow<'_, str>> = texts.iter().map(|text| self.prefixed(text)).collect();
        let mut outcomes: Vec<Option<Outcome>> =
            texts.iter().map(|text| self.before(&target, text)).collect();
        let sent: Vec<_> = (0..texts.len()).filter(|row| outcomes[*row].is_none()).collect();
        let inputs =
            sent.iter().map(|row| (Input::Text(texts[*row].as_ref().into()), estimate(&texts[*row])));
        let answers = target.run(inputs.collect(), caller).await?;
        for (row, answer) in sent.into_iter().zip(answers) {
            outcomes[row] = Some(answer);
        }
        let mut outcomes: Vec<_> = outcomes.into_iter().flatten().map(Vector::of).collect();
        if self.long_text() != LongText::Raise {
            self.embed_windows(&target, &texts, &mut outcomes, caller).await?;
        }
        gather(&outcomes, self.model.dimensions)
    }
}

#[async_trait]
impl ImageEmbedder for RemoteModel {
    fn space(&self) -> &EmbeddingSpace {
        &self.space
    }

    fn max_inputs(&self) -> usize {
        usize::MAX
    }

    fn makes_requests(&self) -> bool {
        true
    }

    async fn embed(&self, images: &[Image<'_>], caller: &dyn Caller) -> Result<Embeddings> {
        let target = self.target()?;
        let inputs = compute(|| images.iter().map(encode).collect::<Result<Vec<_>>>())?;
        let outcomes = target.run(inputs, caller).await?;
        gather(&outcomes.into_iter().map(Vector::of).collect::<Vec<_>>(), self.model.dimensions)
    }
}

/// The vector of a row, of one answer or made of several.
enum Vector {
    Answered(Outcome),
    Averaged(Vec<f32>),
}

impl Vector {
    fn of(outcome: Outcome) -> Self {
        Self::Answered(outcome)
    }

    fn values(&self) -> Result<&[f32], &Refused> {
        match self {
            Self::Averaged(values) => Ok(values),
            Self::Answered(Ok((embeddings, row))) => Ok(embeddings.vector(*row)),
            Self::Answered(Err(refused)) => Err(refused),
        }
    }
}

impl RemoteModel {
    fn long_text(&self) -> LongText {
        self.options.long_text.unwrap_or_default()
    }

    fn prefixed<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.prefix.as_str() {
            "" => Cow::Borrowed(text),
            prefix => Cow::Owned(format!("{prefix}{text}")),
        }
    }

    /// The outcome of a text that need not be sent: its endpoint would refuse it, or cut it without a word.
    fn before(&self, target: &Target, text: &str) -> Option<Outcome> {
        if let Some(reason) = self.protocol.refuses(text) {
            let error = format!("provider '{}', model '{}': {reason}", self.model.provider, self.model.name);
            return Some(Err(Refused { error: Error::Data(error), refused: false }));
        }
        let tokens = estimate(text);
        (self.protocol.cuts_silently() && tokens > target.max_input_tokens).then(|| {
            let error = format!(
                "provider '{}', model '{}': a text has about {tokens} tokens, the model reads {} and ignores the rest \
                 without a word; SET semantic.providers.{0}.long_text = 'truncate' or 'average' embeds such texts",
                self.model.provider, self.model.name, target.max_input_tokens
            );
            Err(Refused { error: Error::Data(error), refused: true })
        })
    }

    /// Embeds the texts that were refused and may be too long by their beginning, or by windows whose vectors are
    /// averaged by the windows' lengths and brought to length 1
    /// (<https://cookbook.openai.com/examples/embedding_long_inputs>).
    async fn embed_windows(
        &self,
        target: &Arc<Target>,
        texts: &[Cow<'_, str>],
        outcomes: &mut [Vector],
        caller: &dyn Caller,
    ) -> Result<()> {
        let mut inputs = vec![];
        let mut cut: Vec<(usize, Vec<usize>)> = vec![];
        for (row, outcome) in outcomes.iter().enumerate() {
            let refused = outcome.values().is_err_and(|refused| refused.refused);
            // an estimate is too high rather than too low
            if !refused || estimate(&texts[row]) <= target.max_input_tokens {
                continue;
            }
            // every window is a text of its own, with the prefix that texts have
            let prefix = self.prefix.as_str();
            let text = texts[row].strip_prefix(prefix).unwrap_or(&texts[row]);
            let of_prefix = if prefix.is_empty() { 0 } else { estimate(prefix) };
            let most = target.max_input_tokens.saturating_sub(of_prefix).max(1);
            let mut windows = windows(text, most);
            if self.long_text() == LongText::Truncate {
                windows.truncate(1);
            }
            cut.push((row, windows.iter().map(|window| estimate(window)).collect()));
            inputs.extend(windows.into_iter().map(|window| {
                let window = self.prefixed(window);
                (Input::Text(window.as_ref().into()), estimate(&window))
            }));
        }
        if cut.is_empty() {
            return Ok(());
        }
        let mut answers = target.run(inputs, caller).await?.into_iter();
        for (row, lengths) in cut {
            let parts: Vec<_> = answers.by_ref().take(lengths.len()).map(Vector::of).collect();
            let parts: Result<Vec<&[f32]>, _> = parts.iter().map(Vector::values).collect();
            outcomes[row] = match parts {
                Ok(parts) if self.long_text() == LongText::Truncate => Vector::Averaged(parts.concat()),
                Ok(parts) => Vector::Averaged(average(&parts, &lengths)),
                Err(refused) => Vector::Answered(Err(refused.clone())),
            };
        }
        Ok(())
    }
}

/// The mean of vectors, weighted, with length 1.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "vectors are 32-bit floats")]
fn average(vectors: &[&[f32]], weights: &[usize]) -> Vec<f32> {
    let mut sum = vec![0.0_f64; vectors.first().map_or(0, |vector| vector.len())];
    for (vector, weight) in vectors.iter().zip(weights) {
        for (sum, value) in sum.iter_mut().zip(*vector) {
            *sum += f64::from(*value) * *weight as f64;
        }
    }
    let length = sum.iter().map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    sum.into_iter().map(|value| (value / length) as f32).collect()
}

/// The rows of a call in their order, those without a vector as failures.
fn gather(vectors: &[Vector], dimensions: Option<usize>) -> Result<Embeddings> {
    let found = vectors.iter().find_map(|vector| Some(vector.values().ok()?.len()));
    let dimensions = dimensions.or(found).unwrap_or_default();
    let mut values = Vec::with_capacity(vectors.len() * dimensions);
    let mut failures = vec![];
    for (row, vector) in vectors.iter().enumerate() {
        match vector.values() {
            Ok(vector) => values.extend_from_slice(vector),
            Err(refused) => {
                failures.push((row, refused.error.clone()));
                values.resize(values.len() + dimensions, 0.0);
            }
        }
    }
    Ok(Embeddings::new(vectors.len(), dimensions, values)?.with_failures(failures))
}

/// An input with which nothing is wrong, and about its tokens.
pub(super) fn plain_input(kind: Kind) -> Result<(Input, usize)> {
    const SIDE: u32 = 64;
    match kind {
        Kind::Text => Ok((Input::Text("a".into()), estimate("a"))),
        Kind::Image => {
            let pixels = vec![128; (SIDE * SIDE) as usize * Mode::Rgb.bytes()];
            encode(&Image::new(SIDE, SIDE, Mode::Rgb, pixels)?)
        }
    }
}

/// An image as a PNG file in a `data:` URL, and about its tokens.
fn encode(image: &Image<'_>) -> Result<(Input, usize)> {
    let mode = match image.mode() {
        Mode::L | Mode::L16 => Mode::L,
        Mode::Rgb | Mode::Rgb16 | Mode::Rgb32F => Mode::Rgb,
        Mode::La | Mode::La16 | Mode::Rgba | Mode::Rgba16 | Mode::Rgba32F => Mode::Rgba,
    };
    let image = convert(image.borrowed(), mode);
    let pixels = image.width() as usize * image.height() as usize;
    let file = encode_file(image, Encoding::new("png", None)?)?;
    let url = format!("data:image/png;base64,{}", STANDARD.encode(file));
    let tokens = pixels / PIXELS_PER_TOKEN + 1;
    Ok((Input::Image(url.into()), tokens))
}

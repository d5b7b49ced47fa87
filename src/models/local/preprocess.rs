//! From pixels to the input tensor of an image model, as its `preprocessor_config.json` says.
use serde::Deserialize;

use super::folder::ModelFolder;
use crate::error::{Error, Result, data_err, query_err};
use crate::image::{Filter, Image, MAX_PIXELS, Mode, convert, crop_center, resize};

/// What a graph of both towers is given for an image where its files fix no size.
pub(super) const DEFAULT_SIZE: (u32, u32) = (224, 224);
/// No model reads larger images; and memory is reserved by this.
const MAX_SIDE: u32 = 1 << 13;

/// `preprocessor_config.json` of Hugging Face's image processors. Files of older versions leave out steps that are
/// always done, and say more by the name of their class.
#[derive(Debug, Clone, Deserialize)]
struct File {
    #[serde(alias = "feature_extractor_type")]
    image_processor_type: Option<String>,
    do_resize: Option<bool>,
    size: Option<Size>,
    resample: Option<u8>,
    do_center_crop: Option<bool>,
    crop_size: Option<Size>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<[f64; 3]>,
    image_std: Option<[f64; 3]>,
    /// Blue first, where it is true.
    do_flip_channel_order: Option<bool>,
    // steps that are not known here: vectors without them would be wrong
    do_pad: Option<bool>,
    rescale_offset: Option<bool>,
    crop_pct: Option<f64>,
}

impl File {
    /// A step that is not done here.
    fn unknown_step(&self) -> Option<&'static str> {
        let steps = [
            ("do_pad", self.do_pad == Some(true)),
            ("rescale_offset", self.rescale_offset == Some(true)),
            ("crop_pct", self.crop_pct.is_some()),
        ];
        steps.into_iter().find_map(|(step, wanted)| wanted.then_some(step))
    }

    /// Whether it is one of CLIP's, whose only number for a size is the shorter side.
    fn is_of_clip(&self) -> bool {
        self.image_processor_type.as_ref().is_some_and(|class| class.contains("CLIP"))
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Size {
    ShortestEdge {
        shortest_edge: u32,
    },
    Exact {
        height: u32,
        width: u32,
    },
    /// A square, or the shorter side.
    Number(u32),
}

/// Resize, crop, rescale, normalise: RGB pixels to `[channel, row, column]` of f32.
#[derive(Debug)]
pub(super) struct Preprocessor {
    resize: Option<(Size, Filter)>,
    crop: Option<(u32, u32)>,
    /// A channel's value is `byte * scale + offset`.
    scale: [f32; 3],
    offset: [f32; 3],
    /// Whether the tensor's first channel is blue.
    blue_first: bool,
}

impl Preprocessor {
    pub(super) fn read(folder: &ModelFolder) -> Result<Self> {
        let path = "preprocessor_config.json";
        let Some(file) = folder.read_json::<File>(path)? else {
            return query_err!("model '{}' has no file {path}", folder.name());
        };
        Self::new(&file)
            .map_err(|error| Error::Query(format!("cannot use {path} of model '{}': {error}", folder.name())))
    }

    fn new(file: &File) -> Result<Self> {
        if let Some(step) = file.unknown_step() {
            return query_err!("{step} is a step that is not known here");
        }
        let sizes = [file.size, file.crop_size];
        if let Some(side) =
            sizes.iter().flatten().flat_map(|size| size.sides()).find(|side| !(1..=MAX_SIDE).contains(side))
        {
            return query_err!("a side of {side} pixels: expected 1 to {MAX_SIDE}");
        }
        let size = match file.size {
            Some(Size::Number(side)) if file.is_of_clip() => Some(Size::ShortestEdge { shortest_edge: side }),
            size => size,
        };
        let resize = match (file.do_resize.unwrap_or(size.is_some()), size) {
            (false, _) => None,
            (true, Some(size)) => {
                Some((size, filter(file.resample.unwrap_or(if file.is_of_clip() { 3 } else { 2 }))?))
            }
            (true, None) => return query_err!("do_resize without size"),
        };
        let crop = match (file.do_center_crop.unwrap_or(file.crop_size.is_some()), file.crop_size) {
            (false, _) => None,
            (true, Some(Size::Exact { height, width })) => Some((width, height)),
            (true, Some(Size::Number(edge) | Size::ShortestEdge { shortest_edge: edge })) => {
                Some((edge, edge))
            }
            (true, None) => return query_err!("do_center_crop without crop_size"),
        };
        let rescale = match file.do_rescale.unwrap_or(true) {
            true => file.rescale_factor.unwrap_or(1.0 / 255.0),
            false => 1.0,
        };
        let given = file.image_mean.is_some() && file.image_std.is_some();
        let (mean, std) = match (file.do_normalize.unwrap_or(given), file.image_mean, file.image_std) {
            (false, ..) => ([0.0; 3], [1.0; 3]),
            (true, Some(mean), Some(std)) if std.iter().all(|deviation| *deviation > 0.0) => (mean, std),
            (true, Some(_), Some(std)) => {
                return query_err!("image_std is {std:?}: expected numbers above 0");
            }
            (true, ..) => return query_err!("do_normalize without image_mean and image_std"),
        };
        #[expect(clippy::cast_possible_truncation, reason = "the model's input is f32")]
        let per_channel = |value: &dyn Fn(usize) -> f64| [0, 1, 2].map(|channel| value(channel) as f32);
        Ok(Self {
            resize,
            crop,
            scale: per_channel(&|channel| rescale / std[channel]),
            offset: per_channel(&|channel| -mean[channel] / std[channel]),
            blue_first: file.do_flip_channel_order == Some(true),
        })
    }

    /// Width and height of every image's tensor, where the files fix them.
    pub(super) fn size(&self) -> Option<(u32, u32)> {
        self.crop.or_else(|| match self.resize?.0 {
            Size::Exact { height, width } => Some((width, height)),
            Size::Number(side) => Some((side, side)),
            Size::ShortestEdge { .. } => None,
        })
    }

    /// The pixels of the tensor: RGB, resized and cropped.
    pub(super) fn pixels<'a>(&self, image: Image<'a>) -> Result<Image<'a>> {
        let mut image = convert(image, Mode::Rgb);
        if let Some((size, filter)) = self.resize {
            let (width, height) = size.of(image.width(), image.height());
            if u64::from(width) * u64::from(height) > MAX_PIXELS {
                return data_err!(
                    "an image of {}x{} is too elongated for the model: it would be resized to {width}x{height}",
                    image.width(),
                    image.height()
                );
            }
            image = resize(image, width, height, filter)?;
        }
        if let Some((width, height)) = self.crop
            && (width, height) != (image.width(), image.height())
        {
            image = crop_center(&image, width, height)?;
        }
        Ok(image)
    }

    /// Appends the tensor of an image's pixels.
    pub(super) fn append(&self, rgb: &[u8], tensor: &mut Vec<f32>) {
        let (pixels, _) = rgb.as_chunks::<3>();
        for channel in 0..3 {
            // mean and deviation are those of the tensor's channels
            let (scale, offset) = (self.scale[channel], self.offset[channel]);
            let channel = if self.blue_first { 2 - channel } else { channel };
            tensor.extend(pixels.iter().map(|pixel| f32::from(pixel[channel]) * scale + offset));
        }
    }
}

impl Size {
    fn sides(self) -> [u32; 2] {
        match self {
            Self::ShortestEdge { shortest_edge: side } | Self::Number(side) => [side; 2],
            Self::Exact { height, width } => [height, width],
        }
    }

    /// Width and height after the resize of an image of `width` x `height`.
    fn of(self, width: u32, height: u32) -> (u32, u32) {
        match self {
            Self::Exact { height, width } => (width, height),
            Self::Number(side) => (side, side),
            Self::ShortestEdge { shortest_edge } => {
                // the longer side is rounded down, as Hugging Face's image processors do
                let longer = |long: u32, short: u32| {
                    u32::try_from(u64::from(shortest_edge) * u64::from(long) / u64::from(short))
                        .unwrap_or(u32::MAX)
                };
                if width <= height {
                    (shortest_edge, longer(height, width))
                } else {
                    (longer(width, height), shortest_edge)
                }
            }
        }
    }
}

/// Pillow's numbers for filters.
fn filter(resample: u8) -> Result<Filter> {
    match resample {
        0 => Ok(Filter::Nearest),
        1 => Ok(Filter::Lanczos3),
        2 => Ok(Filter::Bilinear),
        3 => Ok(Filter::Bicubic),
        4 => Ok(Filter::Box),
        _ => query_err!("unknown resample {resample}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preprocessor(json: &str) -> Preprocessor {
        Preprocessor::new(&serde_json::from_str(json).unwrap()).unwrap()
    }

    #[test]
    fn rescales_and_normalises_each_channel() {
        let preprocessor = preprocessor(
            r#"{"do_rescale": true, "rescale_factor": 0.1, "do_normalize": true,
                "image_mean": [1, 2, 3], "image_std": [1, 2, 4]}"#,
        );
        let mut tensor = Vec::new();
        preprocessor.append(&[10, 20, 30, 20, 60, 110], &mut tensor);
        let expected = [0.0, 1.0, 0.0, 2.0, 0.0, 2.0];
        assert!(tensor.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{tensor:?}");
    }

    #[test]
    fn the_shorter_side_is_given_and_the_middle_is_kept() {
        let preprocessor = preprocessor(
            r#"{"do_resize": true, "size": {"shortest_edge": 4}, "resample": 3,
                "do_center_crop": true, "crop_size": {"height": 2, "width": 2}}"#,
        );
        let image = Image::new(8, 16, Mode::L, vec![9; 128]).unwrap();
        let expected = Image::new(2, 2, Mode::Rgb, vec![9; 12]).unwrap();
        assert_eq!(preprocessor.pixels(image).unwrap(), expected);
        assert_eq!(Size::ShortestEdge { shortest_edge: 256 }.of(451, 300), (384, 256));
    }

    #[test]
    fn a_thread_of_pixels_is_refused_before_it_becomes_a_rope() {
        let preprocessor = preprocessor(r#"{"do_resize": true, "size": {"shortest_edge": 256}}"#);
        let image = Image::new(1, 16_384, Mode::L, vec![0; 16_384]).unwrap();
        let error = preprocessor.pixels(image).unwrap_err().to_string();
        assert!(error.contains("1x16384 is too elongated"), "{error}");
    }
}

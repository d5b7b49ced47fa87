//! From pixels to the input tensor of an image model, as its `preprocessor_config.json` says.
use serde::Deserialize;

use super::folder::ModelFolder;
use crate::error::{Error, Result, data_err, query_err};
use crate::image::{Filter, Image, MAX_PIXELS, Mode, convert, crop_center, resize};

/// `preprocessor_config.json` of Hugging Face's image processors.
#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the file's own layout")]
struct File {
    #[serde(default)]
    do_resize: bool,
    size: Option<Size>,
    resample: Option<u8>,
    #[serde(default)]
    do_center_crop: bool,
    crop_size: Option<Size>,
    #[serde(default)]
    do_rescale: bool,
    rescale_factor: Option<f64>,
    #[serde(default)]
    do_normalize: bool,
    image_mean: Option<[f64; 3]>,
    image_std: Option<[f64; 3]>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Size {
    ShortestEdge { shortest_edge: u32 },
    Exact { height: u32, width: u32 },
    Square(u32),
}

/// Resize, crop, rescale, normalise: RGB pixels to `[channel, row, column]` of f32.
#[derive(Debug)]
pub(super) struct Preprocessor {
    resize: Option<(Size, Filter)>,
    crop: Option<(u32, u32)>,
    /// A channel's value is `byte * scale + offset`.
    scale: [f32; 3],
    offset: [f32; 3],
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
        let resize = match (file.do_resize, file.size) {
            (false, _) => None,
            (true, Some(size)) => Some((size, filter(file.resample.unwrap_or(2))?)),
            (true, None) => return query_err!("do_resize without size"),
        };
        let crop = match (file.do_center_crop, file.crop_size) {
            (false, _) => None,
            (true, Some(Size::Exact { height, width })) => Some((width, height)),
            (true, Some(Size::Square(side) | Size::ShortestEdge { shortest_edge: side })) => {
                Some((side, side))
            }
            (true, None) => return query_err!("do_center_crop without crop_size"),
        };
        let rescale = if file.do_rescale { file.rescale_factor.unwrap_or(1.0 / 255.0) } else { 1.0 };
        let (mean, std) = match (file.do_normalize, file.image_mean, file.image_std) {
            (false, ..) => ([0.0; 3], [1.0; 3]),
            (true, Some(mean), Some(std)) => (mean, std),
            (true, ..) => return query_err!("do_normalize without image_mean and image_std"),
        };
        #[expect(clippy::cast_possible_truncation, reason = "the model's input is f32")]
        let per_channel = |value: &dyn Fn(usize) -> f64| [0, 1, 2].map(|channel| value(channel) as f32);
        Ok(Self {
            resize,
            crop,
            scale: per_channel(&|channel| rescale / std[channel]),
            offset: per_channel(&|channel| -mean[channel] / std[channel]),
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
            let (scale, offset) = (self.scale[channel], self.offset[channel]);
            tensor.extend(pixels.iter().map(|pixel| f32::from(pixel[channel]) * scale + offset));
        }
    }
}

impl Size {
    /// Width and height after the resize of an image of `width` x `height`.
    fn of(self, width: u32, height: u32) -> (u32, u32) {
        match self {
            Self::Exact { height, width } => (width, height),
            Self::Square(side) => (side, side),
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

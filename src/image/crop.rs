//! A part of an image.
use super::Image;
use crate::error::{Result, data_err};

/// The `width` x `height` pixels whose upper left corner is at (`x`, `y`); an error if they are not all in the image.
pub fn crop(image: &Image<'_>, x: u32, y: u32, width: u32, height: u32) -> Result<Image<'static>> {
    let inside = |start: u32, length: u32, all: u32| start.checked_add(length).is_some_and(|end| end <= all);
    if !inside(x, width, image.width) || !inside(y, height, image.height) {
        return data_err!(
            "{width}x{height} pixels at ({x}, {y}) are not all inside an image of {}x{}",
            image.width,
            image.height
        );
    }
    let pixel = image.mode.bytes();
    let (row, start, length) = (image.width as usize * pixel, x as usize * pixel, width as usize * pixel);
    let rows = image.pixels().chunks_exact(row).skip(y as usize).take(height as usize);
    let pixels = rows.flat_map(|row| &row[start..start + length]).copied().collect::<Vec<_>>();
    Image::new(width, height, image.mode, pixels)
}

/// The `width` x `height` pixels in the middle; where the image is smaller, black is added around it, transparent where
/// there is alpha.
pub fn crop_center(image: &Image<'_>, width: u32, height: u32) -> Result<Image<'static>> {
    let pixel = image.mode.bytes();
    let mut pixels = vec![0; width as usize * height as usize * pixel];
    let (from_x, to_x, columns) = overlap(image.width, width);
    let (from_y, to_y, rows) = overlap(image.height, height);
    for row in 0..rows {
        let source = ((from_y + row) * image.width as usize + from_x) * pixel;
        let target = ((to_y + row) * width as usize + to_x) * pixel;
        pixels[target..target + columns * pixel]
            .copy_from_slice(&image.pixels()[source..source + columns * pixel]);
    }
    Image::new(width, height, image.mode, pixels)
}

/// Where the middle `target` of `source` pixels starts in both, and how many both have.
fn overlap(source: u32, target: u32) -> (usize, usize, usize) {
    let (source, target) = (source as usize, target as usize);
    (source.saturating_sub(target) / 2, target.saturating_sub(source) / 2, source.min(target))
}

#[cfg(test)]
mod tests {
    use super::super::Mode;
    use super::*;

    #[test]
    fn a_rectangle_of_wide_pixels() {
        let image = Image::new(3, 2, Mode::La16, (0..24).collect::<Vec<u8>>()).unwrap();
        let part = crop(&image, 1, 1, 2, 1).unwrap();
        assert_eq!(
            (part.width(), part.height(), part.pixels()),
            (2, 1, &[16, 17, 18, 19, 20, 21, 22, 23][..])
        );
        let error = crop(&image, 2, 0, 2, 1).unwrap_err().to_string();
        assert_eq!(error, "2x1 pixels at (2, 0) are not all inside an image of 3x2");
        assert!(crop(&image, u32::MAX, 0, 2, 1).is_err());
    }

    #[test]
    fn the_middle_and_what_is_added_around_it() {
        let image = Image::new(3, 1, Mode::L, vec![1, 2, 3]).unwrap();
        assert_eq!(crop_center(&image, 1, 1).unwrap().pixels(), [2]);
        assert_eq!(
            crop_center(&image, 5, 3).unwrap().pixels(),
            [0, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0]
        );
    }
}

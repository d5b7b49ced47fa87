//! `image_width(image)`
use datafusion_macros::user_doc;

use super::Function;
use super::image_attribute::{ImageAttribute, Property};

#[user_doc(
    doc_section(label = "Image Functions"),
    description = "Pixels from left to right. NULL gives NULL. Of a file, image_info reads it from the header alone.",
    syntax_example = "image_width(image)",
    sql_example = "SELECT image_width(decode_image(download(path))) FROM glob('photos/*')",
    argument(name = "image", description = "A decoded image.")
)]
struct ImageWidth;

pub(super) fn function() -> Function {
    Function::synchronous(ImageAttribute::new("image_width", Property::Width, ImageWidth.doc()))
}

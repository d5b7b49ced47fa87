//! `image_mode(image)`
use datafusion_macros::user_doc;

use super::Function;
use super::image_attribute::{ImageAttribute, Property};

#[user_doc(
    doc_section(label = "Image Functions"),
    description = "The mode: 'RGB'. NULL gives NULL. Of a file, image_info reads it from the header alone.",
    syntax_example = "image_mode(image)",
    sql_example = "SELECT image_mode(decode_image(download(path))) FROM glob('photos/*')",
    argument(name = "image", description = "A decoded image.")
)]
struct ImageMode;

pub(super) fn function() -> Function {
    Function::synchronous(ImageAttribute::new("image_mode", Property::Mode, ImageMode.doc()))
}

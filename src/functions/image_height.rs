//! `image_height(image)`
use datafusion_macros::user_doc;

use super::Function;
use super::image_attribute::{ImageAttribute, Property};

#[user_doc(
    doc_section(label = "Image Functions"),
    description = "Pixels from top to bottom. NULL gives NULL. Of a file, image_info reads it from the header alone.",
    syntax_example = "image_height(image)",
    sql_example = "SELECT image_height(decode_image(download(path))) FROM glob('photos/*')",
    argument(name = "image", description = "A decoded image.")
)]
struct ImageHeight;

pub(super) fn function() -> Function {
    Function::synchronous(ImageAttribute::new("image_height", Property::Height, ImageHeight.doc()))
}

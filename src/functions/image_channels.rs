//! `image_channels(image)`
use datafusion_macros::user_doc;

use super::Function;
use super::image_attribute::{ImageAttribute, Property};

#[user_doc(
    doc_section(label = "Image Functions"),
    description = "Channels of a pixel: 1 to 4. NULL gives NULL. Of a file, image_info reads it from the header alone.",
    syntax_example = "image_channels(image)",
    sql_example = "SELECT image_channels(decode_image(download(path))) FROM glob('photos/*')",
    argument(name = "image", description = "A decoded image.")
)]
struct ImageChannels;

pub(super) fn function() -> Function {
    Function::synchronous(ImageAttribute::new("image_channels", Property::Channels, ImageChannels.doc()))
}

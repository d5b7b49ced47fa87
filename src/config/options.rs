//! Each option: its name, its values, and what it is.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::{DataFusionError, Result, plan_err};

use super::{ParquetVectors, Settings, parse_bytes};
use crate::error::Error;

/// One option.
struct Entry {
    /// Behind `semantic.`
    name: &'static str,
    about: &'static str,
    get: fn(&Settings) -> String,
    set: fn(&mut Settings, &str) -> Result<(), Refused>,
}

/// Why a value cannot be set.
enum Refused {
    /// It is not what it must be.
    MustBe(String),
    Because(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Because(error)
    }
}

/// An option whose value is a field of the settings, read from text by a function and shown as it displays itself.
macro_rules! entry {
    ($name:literal, files.$field:ident, $read:expr, $about:literal) => {
        Entry {
            name: $name,
            about: $about,
            get: |settings| settings.files.$field.to_string(),
            set: |settings, value| {
                Arc::make_mut(&mut settings.files).$field = $read(value)?;
                Ok(())
            },
        }
    };
    ($name:literal, $($field:ident).+, $read:expr, $about:literal) => {
        Entry {
            name: $name,
            about: $about,
            get: |settings| settings.$($field).+.to_string(),
            set: |settings, value| {
                settings.$($field).+ = $read(value)?;
                Ok(())
            },
        }
    };
}

/// In the order in which they are shown.
const OPTIONS: &[Entry] = &[
    entry!("provider", provider, text, "who serves models where a call does not say so"),
    entry!("text_model", text_model, text, "the model of embed_text where a call names none"),
    entry!("image_model", image_model, text, "the model of embed_image where a call names none"),
    entry!(
        "max_concurrency",
        max_concurrency,
        positive,
        "the most request batches to one model, or downloads, that a query keeps in flight"
    ),
    entry!("on_error", on_error, parsed, "'raise' fails the query at a bad row, 'null' makes the row NULL"),
    entry!("slice_rows", slice_rows, positive, "the most rows that a function is given at a time"),
    entry!(
        "slice_bytes",
        slice_bytes,
        some_bytes,
        "about how many bytes of input and results these rows may have, as 4194304 or 4M"
    ),
    entry!(
        "slices_in_flight",
        slices_in_flight,
        positive,
        "how many such slices a partition computes at the same time"
    ),
    entry!(
        "cache_bytes",
        cache_bytes,
        bytes,
        "results that a query keeps so that equal inputs are computed once, as 67108864 or 64M; 0 looks for none"
    ),
    entry!(
        "nearest_join",
        nearest_join,
        boolean,
        "whether joins of vectors leave out pairs that are not among the nearest"
    ),
    entry!(
        "parquet_vectors",
        parquet_vectors,
        parquet_vectors,
        "how COPY writes embeddings to Parquet: 'packed' into bytes, or 'list' for other readers"
    ),
    Entry {
        name: "model_variant",
        about: "fp32, fp16, int8 or q4: the files of local models that are used where a model has them; others by 'name@variant'",
        get: |settings| settings.local.variant.clone().unwrap_or_default(),
        set: |settings, value| {
            settings.local.variant = variant(value)?;
            Ok(())
        },
    },
    entry!("threads", local.threads, positive, "the most runs of a local model at a time, a core for each"),
    entry!(
        "memory_arena",
        local.memory_arena,
        boolean,
        "whether local models keep the memory of their runs for the next ones"
    ),
    entry!(
        "device",
        local.device,
        parsed,
        "what runs local models: 'cpu', 'cuda', or 'auto' for a GPU where there is one"
    ),
    entry!(
        "offline",
        local.offline,
        boolean,
        "whether models that are not on this machine are errors, instead of being fetched from the hub"
    ),
    entry!(
        "image_max_side",
        images.limits.side,
        positive,
        "the most pixels of the longer side of an image that is decoded"
    ),
    entry!("image_max_pixels", images.limits.pixels, positive, "the most pixels of an image that is decoded"),
    entry!(
        "image_max_bytes",
        images.limits.bytes,
        bytes,
        "the most bytes of the pixels of an image that is decoded, as 536870912 or 512M"
    ),
    entry!(
        "image_orientation",
        images.apply_orientation,
        boolean,
        "whether decoded images are turned as their EXIF orientation says"
    ),
    entry!(
        "scaled_decoding",
        scaled_decoding,
        boolean,
        "whether a JPEG that is made less than half as large is decoded at 1/2, 1/4 or 1/8 of its size: less memory and time, and pixels that differ by less than 1 of 255 in the mean"
    ),
    entry!(
        "allow_hosts",
        files.allow_hosts,
        parsed,
        "what queries may reach: 'all', or hosts, '*.domains', '*' for public ones, 's3://bucket', 'hf://datasets'"
    ),
    entry!(
        "allow_paths",
        files.allow_paths,
        parsed,
        "local files and folders that queries may reach: 'all', or a list of absolute paths"
    ),
    entry!("allow_upload", files.allow_upload, boolean, "whether queries may write files there"),
    entry!("max_bytes", files.max_bytes, bytes, "the most bytes of one file as a value, as 1073741824 or 1G"),
    Entry {
        name: "file_timeout",
        about: "how many seconds reading one file may take, all tries together",
        get: |settings| settings.files.timeout.as_secs().to_string(),
        set: |settings, value| {
            Arc::make_mut(&mut settings.files).timeout = Duration::from_secs(positive(value)?);
            Ok(())
        },
    },
    entry!(
        "file_retries",
        files.max_retries,
        retries,
        "how often a request that failed for no fault of its own is made again"
    ),
    entry!(
        "allow_providers",
        remote.allowed,
        parsed,
        "providers on the network that queries may send to: 'all', or a list of their names"
    ),
    entry!(
        "max_tokens_per_query",
        max_tokens_per_query,
        number,
        "the most tokens that a query sends to providers on the network; 0 is any number"
    ),
    entry!(
        "max_requests_per_query",
        max_requests_per_query,
        number,
        "the most requests that a query sends to providers on the network; 0 is any number"
    ),
    entry!(
        "max_retries",
        remote.max_retries,
        number,
        "how often a request to a provider on the network is made again"
    ),
];

/// What stands before the options of one provider.
pub(super) const PROVIDERS: &str = "providers.";

/// The names of options, their values and what they are: also those of providers that are set.
pub(super) fn entries(settings: &Settings) -> impl Iterator<Item = (String, String, &'static str)> {
    let all = OPTIONS.iter().map(|option| (option.name.to_owned(), (option.get)(settings), option.about));
    let of_providers = settings
        .remote
        .entries()
        .map(|(key, value)| (format!("{PROVIDERS}{key}"), value, "an option of a provider on the network"));
    all.chain(of_providers)
}

/// Sets one option; an error gives the value found and the value expected.
pub(super) fn set(settings: &mut Settings, key: &str, value: &str) -> Result<()> {
    if let Some(key) = key.strip_prefix(PROVIDERS) {
        return Ok(settings.remote.set(key, value)?);
    }
    let Some(option) = OPTIONS.iter().find(|option| option.name == key) else {
        let known: Vec<String> = entries(settings).map(|(name, ..)| format!("semantic.{name}")).collect();
        return plan_err!("unknown option semantic.{key}: there are {}", known.join(", "));
    };
    (option.set)(settings, value).map_err(|refused| match refused {
        Refused::MustBe(expected) => {
            DataFusionError::Plan(format!("semantic.{key} must be {expected}, found '{value}'"))
        }
        Refused::Because(error) => error.in_function(&format!("semantic.{key}")).into(),
    })
}

fn must_be<T>(expected: impl Display) -> Result<T, Refused> {
    Err(Refused::MustBe(expected.to_string()))
}

#[expect(clippy::unnecessary_wraps, reason = "as the others")]
fn text(value: &str) -> Result<String, Refused> {
    Ok(value.to_owned())
}

fn parsed<T: FromStr<Err = Error>>(value: &str) -> Result<T, Refused> {
    Ok(value.parse()?)
}

fn boolean(value: &str) -> Result<bool, Refused> {
    value.parse().or_else(|_| must_be("true or false"))
}

fn number(value: &str) -> Result<usize, Refused> {
    value.parse().or_else(|_| must_be("a number from 0"))
}

fn positive<T: FromStr + PartialOrd + Default>(value: &str) -> Result<T, Refused> {
    match value.parse() {
        Ok(number) if number > T::default() => Ok(number),
        _ => must_be("a number from 1"),
    }
}

fn bytes<T: TryFrom<usize>>(value: &str) -> Result<T, Refused> {
    match parse_bytes(value).map(T::try_from) {
        Some(Ok(bytes)) => Ok(bytes),
        _ => must_be("a number of bytes like 67108864 or 64M"),
    }
}

fn some_bytes(value: &str) -> Result<usize, Refused> {
    match bytes(value)? {
        0 => must_be("a number from 1"),
        bytes => Ok(bytes),
    }
}

fn retries(value: &str) -> Result<usize, Refused> {
    /// With pauses of up to 8 s, more would be minutes for a server that is not there.
    const MOST: usize = 20;
    match value.parse() {
        Ok(number) if number <= MOST => Ok(number),
        _ => must_be(format_args!("a number from 0 to {MOST}")),
    }
}

fn parquet_vectors(value: &str) -> Result<ParquetVectors, Refused> {
    let known = [ParquetVectors::Packed, ParquetVectors::List];
    let found = known.into_iter().find(|vectors| vectors.to_string() == value);
    found.map_or_else(|| must_be("'packed' or 'list'"), Ok)
}

fn variant(value: &str) -> Result<Option<String>, Refused> {
    const VARIANTS: [&str; 4] = ["fp32", "fp16", "int8", "q4"];
    match value {
        "" => Ok(None),
        value if VARIANTS.contains(&value) => Ok(Some(value.to_owned())),
        _ => must_be(format_args!("empty or one of {}", VARIANTS.join(", "))),
    }
}

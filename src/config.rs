//! The `semantic.*` options: `SET semantic.text_model = 'all-MiniLM-L6-v2'`.
use std::any::Any;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::common::{DataFusionError, Result, plan_err};

use crate::error::{Error, query_err};
use crate::image::DecodeOptions;
use crate::inference::Budget;
use crate::io::FileOptions;
use crate::models::{LocalOptions, RemoteOptions};

/// What happens to a row whose input is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnError {
    /// The query fails with the row's error.
    Raise,
    /// The row's result is NULL.
    Null,
}

impl FromStr for OnError {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "raise" => Ok(Self::Raise),
            "null" => Ok(Self::Null),
            _ => query_err!("unknown on_error '{name}': use 'raise' or 'null'"),
        }
    }
}

/// How Parquet files hold embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParquetVectors {
    /// As bytes of one length, which are read several times as fast.
    Packed,
    /// As lists, which every reader of Parquet knows.
    List,
}

/// The values of the options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who serves models where neither `provider` nor the model's name says so.
    pub provider: String,
    /// The model of `embed_text(text)`.
    pub text_model: String,
    /// The model of `embed_image(image)`.
    pub image_model: String,
    /// The most request batches to one model, or downloads, that a query keeps in flight, over all its partitions.
    pub max_concurrency: usize,
    /// What happens to bad rows where `on_error` is not given.
    pub on_error: OnError,
    /// The most rows that a function is given at a time.
    pub slice_rows: usize,
    /// About how many bytes the input, the arguments and the results of these rows may take.
    pub slice_bytes: usize,
    /// How many such slices each partition of an operator computes at the same time.
    pub slices_in_flight: usize,
    /// The most bytes of results that a query keeps so that equal inputs are computed once; 0 looks for none.
    pub cache_bytes: usize,
    /// Whether joins of vectors leave out pairs that are not among the nearest.
    pub nearest_join: bool,
    /// How `COPY ... TO 'x.parquet'` writes embeddings.
    pub parquet_vectors: ParquetVectors,
    /// How image files are decoded, and the largest that are.
    pub images: DecodeOptions,
    /// Whether a JPEG that is only to be made much smaller is decoded at a fraction of its size.
    pub scaled_decoding: bool,
    /// How models on this machine are run.
    pub local: LocalOptions,
    /// What a query may reach.
    pub files: Arc<FileOptions>,
    /// The most tokens that a query sends to providers on the network; 0 is any number.
    pub max_tokens_per_query: usize,
    /// The most requests that a query sends to providers on the network; 0 is any number.
    pub max_requests_per_query: usize,
    /// What is configured about providers on the network.
    pub remote: RemoteOptions,
}

impl Settings {
    pub(crate) fn budget(&self) -> Budget {
        Budget { max_tokens: self.max_tokens_per_query, max_requests: self.max_requests_per_query }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            provider: "transformers".to_owned(),
            text_model: "all-MiniLM-L6-v2".to_owned(),
            image_model: "conse-efficientnet-lite0".to_owned(),
            max_concurrency: 8,
            on_error: OnError::Raise,
            slice_rows: 1024,
            slice_bytes: 4 << 20,
            slices_in_flight: 8,
            cache_bytes: 64 << 20,
            nearest_join: true,
            parquet_vectors: ParquetVectors::Packed,
            images: DecodeOptions::default(),
            scaled_decoding: false,
            local: LocalOptions::default(),
            files: Arc::default(),
            max_tokens_per_query: 0,
            max_requests_per_query: 0,
            remote: RemoteOptions::default(),
        }
    }
}

/// With pauses of up to 8 s, more would be minutes for a server that is not there.
const MAX_RETRIES: usize = 20;

/// The variants of a model that `semantic.model_variant` may name.
const VARIANTS: [&str; 4] = ["fp32", "fp16", "int8", "q4"];

/// `DataFusion`'s view of the options.
///
/// A query executes with a copy that was made when it began. The planner gives functions no configuration: for it,
/// the newest values are in a cell that the session's functions share.
///
/// What queries may reach (`semantic.allow_hosts`, `semantic.allow_paths`, `semantic.allow_upload`) is nothing by default.
/// A program allows more before it registers the extension, which fixes these three: `SET` cannot change them then.
///
/// ```
/// use datafusion::common::config::ExtensionOptions;
/// use datafusion::prelude::{SessionConfig, SessionContext};
/// use datafusion_semantic::config::SemanticOptions;
///
/// # async fn example() -> datafusion::common::Result<()> {
/// let mut options = SemanticOptions::default();
/// options.set("allow_paths", "/srv/photos")?;
/// options.set("allow_hosts", "https://*, s3://photos, hf://datasets")?;
/// let ctx = SessionContext::new_with_config(SessionConfig::new().with_option_extension(options));
/// datafusion_semantic::register_all(&ctx)?;
/// assert!(ctx.sql("SET semantic.allow_paths = '/'").await.is_err());
/// # Ok(())
/// # }
/// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct SemanticOptions {
    settings: Settings,
    newest: Arc<RwLock<Settings>>,
    access: Access,
}

/// Whether what queries may reach can still be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Access {
    /// Until the extension is registered.
    #[default]
    Open,
    /// Always: who writes the queries runs the program.
    Trusted,
    Fixed,
}

impl SemanticOptions {
    /// The values of this copy.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// For a session whose user runs the program, as a shell's: queries reach what the process does, and `SET` may
    /// change that.
    #[must_use]
    pub fn unrestricted() -> Self {
        let settings = Settings { files: Arc::new(FileOptions::unrestricted()), ..Settings::default() };
        Self { newest: Arc::new(RwLock::new(settings.clone())), settings, access: Access::Trusted }
    }

    /// Options of the same values whose newest values are a cell of their own, for a session that uses them.
    pub(crate) fn registered(&self) -> Self {
        let settings = self.settings.clone();
        let access = if self.access == Access::Trusted { Access::Trusted } else { Access::Fixed };
        Self { newest: Arc::new(RwLock::new(settings.clone())), settings, access }
    }

    /// Sets one of the options of files; false where there is no such option.
    fn set_files(&mut self, key: &str, value: &str) -> Result<bool> {
        if key.starts_with("allow_") && self.access == Access::Fixed {
            return plan_err!(
                "semantic.{key} is fixed: the program that opened this session sets it before it registers the extension"
            );
        }
        let in_option = |error: Error| DataFusionError::from(error.in_function(&format!("semantic.{key}")));
        let files = Arc::make_mut(&mut self.settings.files);
        match key {
            "allow_hosts" => files.allow_hosts = value.parse().map_err(in_option)?,
            "allow_paths" => files.allow_paths = value.parse().map_err(in_option)?,
            "allow_upload" => match value.parse() {
                Ok(allowed) => files.allow_upload = allowed,
                Err(_) => return plan_err!("semantic.allow_upload must be true or false, found '{value}'"),
            },
            "max_bytes" => files.max_bytes = bytes(key, value)? as u64,
            "file_timeout" => files.timeout = Duration::from_secs(positive(key, value)? as u64),
            "file_retries" => match value.parse() {
                Ok(number) if number <= MAX_RETRIES => files.max_retries = number,
                _ => {
                    return plan_err!(
                        "semantic.file_retries must be a number from 0 to {MAX_RETRIES}, found '{value}'"
                    );
                }
            },
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn file_entries(&self) -> [(&'static str, String, &'static str); 6] {
        let files = &self.settings.files;
        [
            (
                "allow_hosts",
                files.allow_hosts.to_string(),
                "what queries may reach: 'all', or hosts, '*.domains', '*' for public ones, 's3://bucket', 'hf://datasets'",
            ),
            (
                "allow_paths",
                files.allow_paths.to_string(),
                "local files and folders that queries may reach: 'all', or a list of absolute paths",
            ),
            ("allow_upload", files.allow_upload.to_string(), "whether queries may write files there"),
            (
                "max_bytes",
                files.max_bytes.to_string(),
                "the most bytes of one file as a value, as 1073741824 or 1G",
            ),
            (
                "file_timeout",
                files.timeout.as_secs().to_string(),
                "how many seconds reading one file may take, all tries together",
            ),
            (
                "file_retries",
                files.max_retries.to_string(),
                "how often a request that failed for no fault of its own is made again",
            ),
        ]
    }

    fn image_entries(&self) -> [(&'static str, String, &'static str); 5] {
        let settings = &self.settings;
        [
            (
                "image_max_side",
                settings.images.limits.side.to_string(),
                "the most pixels of the longer side of an image that is decoded",
            ),
            (
                "image_max_pixels",
                settings.images.limits.pixels.to_string(),
                "the most pixels of an image that is decoded",
            ),
            (
                "image_max_bytes",
                settings.images.limits.bytes.to_string(),
                "the most bytes of the pixels of an image that is decoded, as 536870912 or 512M",
            ),
            (
                "image_orientation",
                settings.images.apply_orientation.to_string(),
                "whether decoded images are turned as their EXIF orientation says",
            ),
            (
                "scaled_decoding",
                settings.scaled_decoding.to_string(),
                "whether a JPEG that is made less than half as large is decoded at 1/2, 1/4 or 1/8 of its size: less memory and time, and pixels that are a little different",
            ),
        ]
    }

    fn network_entries(&self) -> [(&'static str, String, &'static str); 3] {
        let settings = &self.settings;
        [
            (
                "max_tokens_per_query",
                settings.max_tokens_per_query.to_string(),
                "the most tokens that a query sends to providers on the network; 0 is any number",
            ),
            (
                "max_requests_per_query",
                settings.max_requests_per_query.to_string(),
                "the most requests that a query sends to providers on the network; 0 is any number",
            ),
            (
                "max_retries",
                settings.remote.max_retries.to_string(),
                "how often a request to a provider on the network is made again",
            ),
        ]
    }

    pub(crate) fn newest(&self) -> Arc<RwLock<Settings>> {
        Arc::clone(&self.newest)
    }
}

impl ConfigExtension for SemanticOptions {
    const PREFIX: &'static str = "semantic";
}

impl ExtensionOptions for SemanticOptions {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let of_files = self.set_files(key, value)?;
        let settings = &mut self.settings;
        match key {
            _ if of_files => {}
            "provider" => value.clone_into(&mut settings.provider),
            "text_model" => value.clone_into(&mut settings.text_model),
            "image_model" => value.clone_into(&mut settings.image_model),
            "max_concurrency" => settings.max_concurrency = positive(key, value)?,
            "slice_rows" => settings.slice_rows = positive(key, value)?,
            "slice_bytes" => match bytes(key, value)? {
                0 => return plan_err!("semantic.slice_bytes must be a number from 1, found '{value}'"),
                number => settings.slice_bytes = number,
            },
            "slices_in_flight" => settings.slices_in_flight = positive(key, value)?,
            "cache_bytes" => settings.cache_bytes = bytes(key, value)?,
            "nearest_join" => match value.parse() {
                Ok(enabled) => settings.nearest_join = enabled,
                Err(_) => return plan_err!("semantic.nearest_join must be true or false, found '{value}'"),
            },
            "parquet_vectors" => match value {
                "packed" => settings.parquet_vectors = ParquetVectors::Packed,
                "list" => settings.parquet_vectors = ParquetVectors::List,
                _ => {
                    return plan_err!("semantic.parquet_vectors must be 'packed' or 'list', found '{value}'");
                }
            },
            "image_max_side" => match value.parse() {
                Ok(side) if side > 0 => settings.images.limits.side = side,
                _ => return plan_err!("semantic.image_max_side must be a number from 1, found '{value}'"),
            },
            "image_max_pixels" => settings.images.limits.pixels = positive(key, value)? as u64,
            "image_max_bytes" => settings.images.limits.bytes = bytes(key, value)? as u64,
            "image_orientation" => match value.parse() {
                Ok(apply) => settings.images.apply_orientation = apply,
                Err(_) => {
                    return plan_err!("semantic.image_orientation must be true or false, found '{value}'");
                }
            },
            "scaled_decoding" => match value.parse() {
                Ok(enabled) => settings.scaled_decoding = enabled,
                Err(_) => {
                    return plan_err!("semantic.scaled_decoding must be true or false, found '{value}'");
                }
            },
            "on_error" => {
                settings.on_error = value
                    .parse()
                    .map_err(|error: Error| DataFusionError::from(error.in_function("semantic.on_error")))?;
            }
            "model_variant" => match value {
                "" => settings.local.variant = None,
                value if VARIANTS.contains(&value) => settings.local.variant = Some(value.to_owned()),
                _ => {
                    return plan_err!(
                        "semantic.model_variant must be empty or one of {}, found '{value}'; another variant is \
                         chosen by the model's name, 'name@variant'",
                        VARIANTS.join(", ")
                    );
                }
            },
            "threads" => match value.parse() {
                Ok(number) if number > 0 => settings.local.threads = number,
                _ => return plan_err!("semantic.threads must be a number from 1, found '{value}'"),
            },
            "memory_arena" => match value.parse() {
                Ok(keep) => settings.local.memory_arena = keep,
                Err(_) => return plan_err!("semantic.memory_arena must be true or false, found '{value}'"),
            },
            "device" => {
                settings.local.device = value
                    .parse()
                    .map_err(|error: Error| DataFusionError::from(error.in_function("semantic.device")))?;
            }
            "offline" => match value.parse() {
                Ok(offline) => settings.local.offline = offline,
                Err(_) => return plan_err!("semantic.offline must be true or false, found '{value}'"),
            },
            "max_tokens_per_query" => settings.max_tokens_per_query = number(key, value)?,
            "max_requests_per_query" => settings.max_requests_per_query = number(key, value)?,
            "max_retries" => settings.remote.max_retries = number(key, value)?,
            key if key.starts_with("providers.") => {
                settings.remote.set(&key["providers.".len()..], value).map_err(DataFusionError::from)?;
            }
            _ => {
                let known: Vec<String> = self.entries().into_iter().map(|entry| entry.key).collect();
                return plan_err!("unknown option semantic.{key}: there are {}", known.join(", "));
            }
        }
        *self.newest.write().unwrap_or_else(PoisonError::into_inner) = self.settings.clone();
        Ok(())
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let settings = &self.settings;
        let on_error = match settings.on_error {
            OnError::Raise => "raise",
            OnError::Null => "null",
        };
        let parquet_vectors = match settings.parquet_vectors {
            ParquetVectors::Packed => "packed",
            ParquetVectors::List => "list",
        };
        let of_providers = settings.remote.entries().map(|(key, value)| ConfigEntry {
            key: format!("{}.providers.{key}", Self::PREFIX),
            value: Some(value),
            description: "an option of a provider on the network",
        });
        let entries = [
            ("provider", settings.provider.clone(), "who serves models where a call does not say so"),
            ("text_model", settings.text_model.clone(), "the model of embed_text where a call names none"),
            ("image_model", settings.image_model.clone(), "the model of embed_image where a call names none"),
            (
                "max_concurrency",
                settings.max_concurrency.to_string(),
                "the most request batches to one model, or downloads, that a query keeps in flight",
            ),
            (
                "on_error",
                on_error.to_owned(),
                "'raise' fails the query at a bad row, 'null' makes the row NULL",
            ),
            (
                "slice_rows",
                settings.slice_rows.to_string(),
                "the most rows that a function is given at a time",
            ),
            (
                "slice_bytes",
                settings.slice_bytes.to_string(),
                "about how many bytes of input and results these rows may have, as 4194304 or 4M",
            ),
            (
                "slices_in_flight",
                settings.slices_in_flight.to_string(),
                "how many such slices a partition computes at the same time",
            ),
            (
                "cache_bytes",
                settings.cache_bytes.to_string(),
                "results that a query keeps so that equal inputs are computed once, as 67108864 or 64M; 0 looks for none",
            ),
            (
                "nearest_join",
                settings.nearest_join.to_string(),
                "whether joins of vectors leave out pairs that are not among the nearest",
            ),
            (
                "parquet_vectors",
                parquet_vectors.to_owned(),
                "how COPY writes embeddings to Parquet: 'packed' into bytes, or 'list' for other readers",
            ),
            (
                "model_variant",
                settings.local.variant.clone().unwrap_or_default(),
                "fp32, fp16, int8 or q4: the files of local models that are used where a model has them",
            ),
            (
                "threads",
                settings.local.threads.to_string(),
                "the most runs of a local model at a time, a core for each",
            ),
            (
                "memory_arena",
                settings.local.memory_arena.to_string(),
                "whether local models keep the memory of their runs for the next ones",
            ),
            (
                "device",
                settings.local.device.name().to_owned(),
                "what runs local models: 'cpu', 'cuda', or 'auto' for a GPU where there is one",
            ),
            (
                "offline",
                settings.local.offline.to_string(),
                "whether models that are not on this machine are errors, instead of being fetched from the hub",
            ),
        ];
        let entry = |(key, value, description)| ConfigEntry {
            key: format!("{}.{key}", Self::PREFIX),
            value: Some(value),
            description,
        };
        let entries = entries.into_iter().chain(self.image_entries());
        let entries = entries.chain(self.file_entries()).chain(self.network_entries());
        entries.map(entry).chain(of_providers).collect()
    }
}

fn number(key: &str, value: &str) -> Result<usize> {
    match value.parse() {
        Ok(number) => Ok(number),
        _ => plan_err!("semantic.{key} must be a number from 0, found '{value}'"),
    }
}

fn positive(key: &str, value: &str) -> Result<usize> {
    match value.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => plan_err!("semantic.{key} must be a number from 1, found '{value}'"),
    }
}

fn bytes(key: &str, value: &str) -> Result<usize> {
    match parse_bytes(value) {
        Some(bytes) => Ok(bytes),
        None => plan_err!("semantic.{key} must be a number of bytes like 67108864 or 64M, found '{value}'"),
    }
}

/// A number of bytes, or of K, M or G of them, each 1,024 times the one before.
pub(crate) fn parse_bytes(value: &str) -> Option<usize> {
    let units = [('K', 10), ('M', 20), ('G', 30)];
    let unit = units.into_iter().find_map(|(unit, shift)| Some((value.strip_suffix(unit)?, shift)));
    let (number, shift) = unit.unwrap_or((value, 0));
    number.parse::<usize>().ok()?.checked_mul(1 << shift)
}

//! The `semantic.*` options: `SET semantic.text_model = 'all-MiniLM-L6-v2'`.

use std::any::Any;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::common::{Result, plan_err};

use crate::error::{Error, query_err};
use crate::image::DecodeOptions;
use crate::inference::Budget;
use crate::io::FileOptions;
use crate::models::{LocalOptions, RemoteOptions};

mod options;

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

impl fmt::Display for OnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raise => "raise",
            Self::Null => "null",
        })
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

impl fmt::Display for ParquetVectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Packed => "packed",
            Self::List => "list",
        })
    }
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
            slices_in_flight: 4,
            cache_bytes: 64 << 20,
            nearest_join: true,
            parquet_vectors: ParquetVectors::Packed,
            images: DecodeOptions::default(),
            scaled_decoding: true,
            local: LocalOptions::default(),
            files: Arc::default(),
            max_tokens_per_query: 0,
            max_requests_per_query: 0,
            remote: RemoteOptions::default(),
        }
    }
}

/// `DataFusion`'s view of the options.
///
/// A query executes with a copy that was made when it began. The planner gives functions no configuration: for it,
/// the newest values are in a cell that the session's functions share.
///
/// Which files and hosts queries may reach (`semantic.allow_hosts`, `semantic.allow_paths`, `semantic.allow_upload`) is
/// none by default, which providers on the network (`semantic.allow_providers`) all. A program allows more or less before
/// it registers the extension, which fixes these four, and where requests and keys of providers go
/// (`semantic.providers.*`): `SET` cannot change them then.
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

    /// Whether an option can be set no more.
    fn is_fixed(&self, key: &str) -> bool {
        let of_network = || key.strip_prefix(options::PROVIDERS).is_some_and(RemoteOptions::is_of_network);
        self.access == Access::Fixed && (key.starts_with("allow_") || of_network())
    }

    /// Sets an option that may be fixed for `SET`.
    pub(crate) fn set_as_program(&mut self, key: &str, value: &str) -> Result<()> {
        options::set(&mut self.settings, key, value)?;
        *self.newest.write().unwrap_or_else(PoisonError::into_inner) = self.settings.clone();
        Ok(())
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
        if self.is_fixed(key) {
            return plan_err!(
                "semantic.{key} is fixed: the program that opened this session sets it before it registers the extension"
            );
        }
        self.set_as_program(key, value)
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let entry = |(key, value, description)| ConfigEntry {
            key: format!("{}.{key}", Self::PREFIX),
            value: Some(value),
            description,
        };
        options::entries(&self.settings).map(entry).collect()
    }
}

/// A number of bytes, or of K, M or G of them, each 1,024 times the one before.
pub(crate) fn parse_bytes(value: &str) -> Option<usize> {
    let units = [('K', 10), ('M', 20), ('G', 30)];
    let unit = units.into_iter().find_map(|(unit, shift)| Some((value.strip_suffix(unit)?, shift)));
    let (number, shift) = unit.unwrap_or((value, 0));
    number.parse::<usize>().ok()?.checked_mul(1 << shift)
}

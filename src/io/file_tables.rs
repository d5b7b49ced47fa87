//! A quoted path is a table: `SELECT * FROM 'docs.parquet'`, a glob (`'data/*.csv'`) and a folder (`'data/'`) too, and
//! so are these in a store (`'s3://bucket/data/*.parquet'`) or at the hub (`'hf://datasets/owner/name/*.parquet'`).
//!
//! DataFusion's own version of this registers `.json` alone for newline-delimited JSON and answers every failure
//! with "table not found". Here a failure says what is wrong with the file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result, plan_datafusion_err, plan_err};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::execution::SessionState;
use datafusion::physical_plan::metrics::Count;
use datafusion::prelude::SessionContext;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use url::Url;

use super::failure::explain;
use super::file_catalog::Catalogs;
use super::files::Files;
use super::glob::GLOB_CHARACTERS;
use super::location::{Location, without_secrets};
use super::packed_vectors::unpacked;
use super::paths::{self, Folder, Found};
use super::stores::{self, Stores};

/// Makes quoted paths tables in every schema of `ctx`. A registered table of that name goes first.
///
/// A query may then read what `semantic.allow_paths` and `semantic.allow_hosts` of its session allow.
pub(crate) fn enable(ctx: &SessionContext) {
    let state = ctx.state_weak_ref();
    let files = Arc::new(FileTables {
        session: Box::new(move || state.upgrade().map(|state| state.read().clone())),
        stores: Arc::new(Stores::new(Arc::clone(&ctx.runtime_env().object_store_registry))),
    });
    let inner = Arc::clone(ctx.state().catalog_list());
    ctx.register_catalog_list(Arc::new(Catalogs::new(inner, files)));
}

/// Opens files as tables, with the options of the session they are opened in.
pub(super) struct FileTables {
    /// weak: the session owns its catalogs, and they own this
    session: Box<dyn Fn() -> Option<SessionState> + Send + Sync>,
    stores: Arc<Stores>,
}

impl fmt::Debug for FileTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileTables")
    }
}

impl FileTables {
    /// The table that `name` names. `None` where it does not look like a path: then DataFusion's "table not found"
    /// is right.
    pub(super) async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if !looks_like_path(name) {
            return Ok(None);
        }
        let Some(state) = (self.session)() else {
            return plan_err!("cannot open '{name}': its session has ended");
        };
        let (stores, options) = (Arc::clone(&self.stores), stores::of_session(&state));
        let files = Files { stores, options, retries: Count::new() };
        let found = find(name, &files).await.map_err(|error| {
            let message = error.message().into_owned();
            // a table that cannot be opened is an error of the query; where its URL may hold secrets, they stay out of it
            match message.contains(name) || name.contains(['@', '?']) {
                true => DataFusionError::Plan(message),
                false => plan_datafusion_err!("cannot open '{name}': {message}"),
            }
        })?;
        let table = open(&shown(Path::new(name)), found, &state).await?;
        unpacked(Arc::new(table), &state).map(Some)
    }
}

async fn find(name: &str, files: &Files) -> Result<Found> {
    match Location::parse(name)? {
        Location::Local(path) => paths::find(&path.to_string_lossy(), &files.options.allow_paths),
        location => find_remote(name, &location, files).await,
    }
}

/// What a URL names, as [`paths::find`] finds what a path names. Its files are URLs.
async fn find_remote(name: &str, location: &Location, files: &Files) -> Result<Found> {
    let found = files.glob(name).await?;
    let mut found: Vec<PathBuf> = found.into_iter().map(|file| file.path.into()).collect();
    let is_web = matches!(location, Location::Web(_));
    let is_glob = name.contains(GLOB_CHARACTERS) && !is_web;
    match found.pop() {
        Some(file) if !is_glob => Ok(Found::File(file)),
        Some(last) => {
            found.push(last);
            Ok(Found::Glob(found))
        }
        None if is_glob => plan_err!("no file matches '{name}'"),
        None if is_web => plan_err!("file not found: '{}'", shown(Path::new(name))),
        None => {
            let (path, below) = files.below(location).await?;
            if below.is_empty() {
                return plan_err!("file not found: '{name}'");
            }
            let mut folder = Folder { path: path.into(), ..Folder::default() };
            for path_in_folder in below {
                folder.add(&path_in_folder);
            }
            Ok(Found::Folder(folder))
        }
    }
}

/// A path, or a URL without what an error must not tell.
fn shown(path: &Path) -> String {
    match path.to_str().map(Location::parse) {
        Some(Ok(Location::Web(url))) => without_secrets(&url),
        _ => path.display().to_string(),
    }
}

fn looks_like_path(name: &str) -> bool {
    if name.contains(['/', std::path::MAIN_SEPARATOR]) || name.contains(GLOB_CHARACTERS) {
        return true;
    }
    let ending = paths::ending(Path::new(name));
    Kind::of(&ending).is_some() || FOREIGN_ENDINGS.contains(&ending.as_str()) || Path::new(name).is_file()
}

/// What this build reads, as an error lists it.
const SUPPORTED: &str = ".parquet, .csv, .tsv, .json, .ndjson, .jsonl, .arrow, .ipc, .feather";

/// Endings that a name is taken for a path by, although they cannot be read.
const FOREIGN_ENDINGS: [&str; 12] =
    ["gz", "zst", "bz2", "xz", "zip", "txt", "xls", "xlsx", "avro", "orc", "db", "sqlite"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Parquet,
    Csv,
    Tsv,
    Json,
    Arrow,
}

impl Kind {
    fn of(ending: &str) -> Option<Self> {
        match ending {
            "parquet" => Some(Self::Parquet),
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            "json" | "ndjson" | "jsonl" => Some(Self::Json),
            "arrow" | "ipc" | "feather" => Some(Self::Arrow),
            _ => None,
        }
    }

    fn of_file(path: &Path) -> Result<Self> {
        let ending = paths::ending(path);
        if let Some(kind) = Self::of(&ending) {
            return Ok(kind);
        }
        let path = shown(path);
        match ending.as_str() {
            "gz" | "zst" | "bz2" | "xz" | "zip" => {
                plan_err!("cannot read '{path}': compressed files are not supported, decompress it first")
            }
            "" => plan_err!("cannot read '{path}': its name has no ending; supported are {SUPPORTED}"),
            ending => {
                plan_err!("cannot read '{path}': .{ending} is not supported; supported are {SUPPORTED}")
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Parquet => "Parquet",
            Self::Csv => "CSV",
            Self::Tsv => "TSV",
            Self::Json => "JSON",
            Self::Arrow => "Arrow IPC (Feather version 2)",
        }
    }

    /// `sample` is one of the files: a `.json` file is one array or, like the other endings, a value per line.
    async fn format(self, state: &SessionState, sample: &ListingTableUrl) -> Result<Arc<dyn FileFormat>> {
        let options = state.default_table_options();
        Ok(match self {
            // the metadata of a field says in which space an embedding lives, and what an image is
            Self::Parquet => {
                Arc::new(ParquetFormat::default().with_options(options.parquet).with_skip_metadata(false))
            }
            Self::Csv => Arc::new(CsvFormat::default().with_options(options.csv)),
            Self::Tsv => Arc::new(CsvFormat::default().with_options(options.csv).with_delimiter(b'\t')),
            Self::Json => {
                let lines = !starts_with_bracket(state, sample).await?;
                Arc::new(JsonFormat::default().with_options(options.json).with_newline_delimited(lines))
            }
            Self::Arrow => Arc::new(ArrowFormat),
        })
    }
}

async fn starts_with_bracket(state: &SessionState, file: &ListingTableUrl) -> Result<bool> {
    let store = state.runtime_env().object_store(file)?;
    let head = store.get_range(file.prefix(), 0..1024).await;
    // what cannot be read is said when its schema is inferred
    Ok(head.is_ok_and(|head| head.trim_ascii_start().starts_with(b"[")))
}

async fn open(path: &str, found: Found, state: &SessionState) -> Result<ListingTable> {
    let (kind, files, urls, ending) = match found {
        Found::File(file) => (Kind::of_file(&file)?, vec![file.clone()], vec![url_of(&file)?], String::new()),
        Found::Glob(files) => {
            let kind = one_kind(path, &files)?;
            let urls = files.iter().map(|file| url_of(file)).collect::<Result<_>>()?;
            (kind, files, urls, String::new())
        }
        Found::Folder(folder) => {
            let (kind, ending, files) = one_ending(path, folder.files, &folder.nested)?;
            // partition columns come from the path below the folder; without them the files are named one by one,
            // because DataFusion would list hidden files and writers' markers of that ending too
            let partitioned = files.iter().any(|file| file.parent() != Some(&folder.path));
            let urls = if partitioned {
                let is_alike = |file: &&PathBuf| file.to_string_lossy().ends_with(&ending);
                if let Some(file) = folder.left_out.iter().find(is_alike) {
                    return plan_err!(
                        "cannot read '{path}': '{}' is hidden or a marker, and would be read as one of its files; \
                         move it away, or name the files by a glob",
                        file.display()
                    );
                }
                vec![url_of(&folder.path)?]
            } else {
                files.iter().map(|file| url_of(file)).collect::<Result<_>>()?
            };
            (kind, files, urls, ending)
        }
    };
    let [sample, ..] = files.as_slice() else {
        return plan_err!("no file to read in '{path}'");
    };
    let format = kind.format(state, &url_of(sample)?).await?;
    let schema = schema_of(path, kind, format.as_ref(), &files, state).await?;
    if schema.fields().is_empty() {
        return plan_err!("'{path}' has no columns: is the file empty?");
    }
    let options = ListingOptions::new(format).with_file_extension(ending);
    let config =
        ListingTableConfig::new_with_multi_paths(urls).with_listing_options(options).with_schema(schema);
    ListingTable::try_new(config.infer_partitions_from_path(state).await?)
}

/// The URL of what exists at `path`. Never a glob: a name may hold any character.
fn url_of(path: &Path) -> Result<ListingTableUrl> {
    if let Some(url) = path.to_str().filter(|path| path.contains("://")) {
        return ListingTableUrl::try_new(Location::parse(url)?.to_url()?, None);
    }
    let shown = path.display();
    let absolute = path.canonicalize().map_err(|e| plan_datafusion_err!("cannot read '{shown}': {e}"))?;
    let url =
        if absolute.is_dir() { Url::from_directory_path(&absolute) } else { Url::from_file_path(&absolute) };
    let url = url.map_err(|()| plan_datafusion_err!("'{shown}' is not a path that a URL can name"))?;
    ListingTableUrl::try_new(url, None)
}

/// All files of a glob are read the same way.
fn one_kind(path: &str, files: &[PathBuf]) -> Result<Kind> {
    let [file, others @ ..] = files else {
        return plan_err!("no file matches '{path}'");
    };
    let kind_of =
        |file: &Path| Kind::of_file(file).map_err(|e| plan_datafusion_err!("{} (of '{path}')", e.message()));
    let kind = kind_of(file)?;
    for other_file in others {
        let other = kind_of(other_file)?;
        if other != kind {
            return plan_err!(
                "'{path}' matches {} and {} files ('{}' and '{}'): narrow it to one kind",
                kind.name(),
                other.name(),
                shown(file),
                shown(other_file)
            );
        }
    }
    Ok(kind)
}

/// The files of a folder that can be read, which must all have one ending.
fn one_ending(path: &str, files: Vec<PathBuf>, nested: &[PathBuf]) -> Result<(Kind, String, Vec<PathBuf>)> {
    let exact_ending = |file: &Path| file.extension().unwrap_or_default().to_string_lossy().into_owned();
    let files: Vec<PathBuf> = files.into_iter().filter(|file| Kind::of_file(file).is_ok()).collect();
    let mut endings: Vec<String> = files.iter().map(|file| exact_ending(file)).collect();
    endings.sort();
    endings.dedup();
    match endings.as_slice() {
        [] => match nested.iter().find(|file| Kind::of_file(file).is_ok()) {
            Some(file) => plan_err!(
                "folder '{path}' holds no file to read, folders below it do ('{}'): name them, such as '{}/**/*.{}'",
                file.display(),
                path.trim_end_matches('/'),
                exact_ending(file)
            ),
            None => plan_err!("folder '{path}' holds no file to read; supported are {SUPPORTED}"),
        },
        [ending] => {
            let Some(kind) = Kind::of(&ending.to_lowercase()) else {
                return plan_err!("cannot read .{ending}");
            };
            Ok((kind, format!(".{ending}"), files))
        }
        [ending, ..] => plan_err!(
            "folder '{path}' holds files of several kinds (.{}): name one, such as '{}/*.{ending}'",
            endings.join(", ."),
            path.trim_end_matches('/')
        ),
    }
}

/// The common schema of the files. The error names the file that cannot be read.
async fn schema_of(
    path: &str,
    kind: Kind,
    format: &dyn FileFormat,
    files: &[PathBuf],
    state: &SessionState,
) -> Result<SchemaRef> {
    let (store, metas) = objects(files, state).await?;
    let failure = match format.infer_schema(state, &store, &metas).await {
        Ok(schema) => return Ok(schema),
        Err(failure) => failure,
    };
    // files that differ in nothing but their metadata are one table without it
    if kind == Kind::Parquet
        && let Ok(schema) =
            ParquetFormat::default().with_skip_metadata(true).infer_schema(state, &store, &metas).await
    {
        return Ok(schema);
    }
    let reason = |failure: &DataFusionError| failure.find_root().message().into_owned();
    if let [file] = files {
        return plan_err!("cannot read '{}' as {}: {}", shown(file), kind.name(), reason(&failure));
    }
    for (file, meta) in files.iter().zip(metas) {
        if let Err(failure) = format.infer_schema(state, &store, &[meta]).await {
            let file = shown(file);
            return plan_err!("cannot read '{file}' (of '{path}') as {}: {}", kind.name(), reason(&failure));
        }
    }
    plan_err!("the files of '{path}' do not fit together: {}", reason(&failure))
}

/// As many as DataFusion asks for when it lists.
const HEADS_IN_FLIGHT: usize = 32;

async fn objects(files: &[PathBuf], state: &dyn Session) -> Result<(Arc<dyn ObjectStore>, Vec<ObjectMeta>)> {
    let urls = files.iter().map(|file| url_of(file)).collect::<Result<Vec<_>>>()?;
    let Some(first) = urls.first() else {
        return plan_err!("no file to read");
    };
    let store = state.runtime_env().object_store(first)?;
    let head = async |(file, url): (&PathBuf, &ListingTableUrl)| {
        let meta = store.head(url.prefix()).await;
        meta.map_err(|error| DataFusionError::from(explain("cannot read", &shown(file), &error)))
    };
    let heads: Vec<_> = files.iter().zip(&urls).map(head).collect();
    let metas = stream::iter(heads).buffered(HEADS_IN_FLIGHT).try_collect().await?;
    Ok((store, metas))
}

//! Models by name from the Hugging Face hub, and those that are on this machine.
//!
//! What a model needs, and no more (`selection`), is fetched into a folder beside its place (`unfinished`), file by file
//! (`fetch`): each is held against the hash that the hub lists, and one that broke off is read on. Settings come first, so
//! that no weights are fetched of what cannot be run. When all is there, the folder is renamed into its place (`pull`): a
//! model is there whole or not at all, however a process ends. The commit that a revision stood for is kept with the hashes
//! (`manifest`). Where models are is `cache`, with those that the Hugging Face libraries have fetched (`snapshots`); what
//! they are called `name`.
mod cache;
mod fetch;
mod manifest;
mod name;
mod progress;
mod pull;
mod selection;
mod snapshots;
mod unfinished;

pub(crate) use cache::{Cache, Found};
pub(crate) use name::ModelName;
pub use progress::{Progress, pulls};
pub use pull::Pulled;
pub(crate) use pull::pull;

use crate::error::{Result, query_err};
use crate::io::{FileOptions, model_repository};
use crate::models::home::SETUP;
use manifest::Manifest;

/// What a folder of a model says about where it comes from.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    /// The commit, or the revision where no commit is known.
    pub(crate) revision: Option<String>,
    pub(crate) licence: Option<String>,
}

impl Origin {
    pub(crate) fn of(folder: &std::path::Path) -> Self {
        if let Some(manifest) = Manifest::of_pull(folder) {
            return Self { revision: Some(manifest.commit), licence: manifest.licence };
        }
        // in the cache of the libraries a folder is called as its commit
        let in_snapshots = folder.parent().is_some_and(|parent| parent.ends_with("snapshots"));
        let commit = folder.file_name().filter(|_| in_snapshots);
        Self { revision: commit.map(|commit| commit.to_string_lossy().into_owned()), licence: None }
    }
}

/// An error unless the options allow to fetch models.
pub(crate) fn check_allowed(options: &FileOptions) -> Result<()> {
    model_repository::check_allowed(options)
}

/// What there is to say of a model's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// `[OWNER/]NAME[@REVISION]`
    pub name: String,
    /// What is wrong; nothing where all files are as they were fetched, and no other is there that would be read.
    pub faults: Vec<String>,
    /// What mends the faults.
    pub cure: String,
}

/// Holds the files of a model of this machine against the hashes with which they were fetched.
///
/// Cost: reads all of them.
pub fn verify(model: &str) -> Result<Verified> {
    let cache = Cache::of_environment();
    let found = cache.find(&parse(model)?)?;
    let Some(found) = found else {
        return query_err!("no model '{model}' in {}: there {}", cache.models().display(), cache.installed());
    };
    let Some(manifest) = Manifest::of(&found.folder)? else {
        return query_err!(
            "{} was not fetched by this program: there is no list of hashes to verify it with",
            found.folder.display()
        );
    };
    let cure = match manifest.repository.is_empty() {
        true => format!("{SETUP}; before it, `semsql models remove {}` deletes this one", found.name),
        false => format!("`semsql models pull {}` fetches what is missing or wrong", found.name),
    };
    Ok(Verified { faults: manifest.faults(&found.folder), name: found.name, cure })
}

fn parse(model: &str) -> Result<ModelName> {
    match ModelName::parse(model, |_, _| false) {
        Some(name) => Ok(name),
        None => query_err!("'{model}' names no model: write OWNER/NAME or OWNER/NAME@REVISION"),
    }
}

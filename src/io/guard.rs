//! An [`ObjectStore`] behind the options of a session.
use std::fmt;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

use super::options::FileOptions;

/// Refuses local files that are not allowed, and to write where that is not allowed.
#[derive(Debug, Clone)]
pub(super) struct Guarded {
    inner: Arc<dyn ObjectStore>,
    options: Arc<FileOptions>,
    local: bool,
}

impl Guarded {
    /// A guard of the local file system, whose root is that of the store.
    pub(super) fn files(inner: Arc<dyn ObjectStore>, options: &Arc<FileOptions>) -> Arc<dyn ObjectStore> {
        if options.allow_upload && options.allow_paths.are_all() {
            return inner;
        }
        Arc::new(Self { inner, options: Arc::clone(options), local: true })
    }

    /// A guard of a store that may be read.
    pub(super) fn store(inner: Arc<dyn ObjectStore>, options: &Arc<FileOptions>) -> Arc<dyn ObjectStore> {
        if options.allow_upload {
            return inner;
        }
        Arc::new(Self { inner, options: Arc::clone(options), local: false })
    }

    fn check_read(&self, location: &Path) -> Result<()> {
        if !self.local {
            return Ok(());
        }
        match self.options.allow_paths.check(&FilePath::new("/").join(location.as_ref())) {
            Ok(_) => Ok(()),
            Err(error) => Err(denied(location, &error)),
        }
    }

    fn check_write(&self, location: &Path) -> Result<()> {
        self.options.check_upload().map_err(|error| denied(location, &error))?;
        self.check_read(location)
    }
}

fn denied(location: &Path, error: &crate::Error) -> Error {
    Error::PermissionDenied { path: location.to_string(), source: Box::new(error.clone()) }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Guarded {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.check_read(location)?;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.check_read(location)?;
        self.inner.get_ranges(location, ranges).await
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if let Err(error) = self.check_read(prefix.unwrap_or(&Path::default())) {
            return stream::iter([Err(error)]).boxed();
        }
        // a link may lead out of the folder
        let this = self.clone();
        let allowed =
            move |object: &ObjectMeta| futures::future::ready(this.check_read(&object.location).is_ok());
        self.inner.list(prefix).try_filter(allowed).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.check_read(prefix.unwrap_or(&Path::default()))?;
        let mut listed = self.inner.list_with_delimiter(prefix).await?;
        listed.objects.retain(|object| self.check_read(&object.location).is_ok());
        listed.common_prefixes.retain(|folder| self.check_read(folder).is_ok());
        Ok(listed)
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.check_write(location)?;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.check_write(location)?;
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let allowed = locations.and_then(move |location| {
            let checked = this.check_write(&location).map(|()| location);
            futures::future::ready(checked)
        });
        self.inner.delete_stream(allowed.boxed())
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.check_read(from)?;
        self.check_write(to)?;
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.check_write(from)?;
        self.check_write(to)?;
        self.inner.rename_opts(from, to, options).await
    }
}

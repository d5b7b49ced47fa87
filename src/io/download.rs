//! The bytes behind a path or a URL.
use std::sync::LazyLock;
use std::time::Duration;

use futures::StreamExt;
use tokio::io::AsyncReadExt;
use url::Url;

use crate::error::{Error, Result, data_err};

/// The most bytes of one file or answer.
const MAX_BYTES: u64 = 1 << 30;

/// One client for the process, so that connections are shared. Building it fails only where TLS cannot start.
static CLIENT: LazyLock<Result<reqwest::Client>> = LazyLock::new(|| {
    reqwest::Client::builder()
        .user_agent(concat!("semsql/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_mins(10))
        .read_timeout(Duration::from_mins(1))
        .build()
        .map_err(|error| Error::Query(format!("cannot start the HTTP client: {error}")))
});

/// The content of a local file, given as a path or a `file://` URL, or the body of an answer to a GET over http(s).
///
/// Redirects are followed. Errors carry the location without its query string, in which signatures are kept.
pub(crate) async fn download(location: &str) -> Result<Vec<u8>> {
    match Url::parse(location) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => get(&url).await,
        Ok(url) if url.scheme() == "file" => match url.to_file_path() {
            Ok(path) => read(&path).await,
            Err(()) => data_err!("'{location}' is not the URL of a local file"),
        },
        // the rest of it may hold secrets
        _ if location.contains("://") => data_err!(
            "cannot read this '{}://' location: local paths and valid file://, http:// and https:// URLs can be read",
            location.split("://").next().unwrap_or_default()
        ),
        _ => read(std::path::Path::new(location)).await,
    }
}

async fn read(path: &std::path::Path) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| Error::Data(format!("cannot read '{}': {error}", path.display()));
    let metadata = tokio::fs::metadata(path).await.map_err(failed)?;
    if !metadata.is_file() {
        return data_err!("cannot read '{}': it is not a file", path.display());
    }
    check_size(metadata.len(), &path.display().to_string())?;
    // the file may grow, or not know its length
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).await.map_err(failed)?;
    check_size(bytes.len() as u64, &path.display().to_string())?;
    Ok(bytes)
}

async fn get(url: &Url) -> Result<Vec<u8>> {
    let shown = without_secrets(url);
    let failed = |error: reqwest::Error| {
        // the error's own text would repeat the URL
        let error = error.without_url();
        let cause =
            std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source()).last();
        Error::Data(format!("cannot read '{shown}': {}", cause.map(ToString::to_string).unwrap_or_default()))
    };
    let client = CLIENT.as_ref().map_err(Clone::clone)?;
    let answer = client.get(url.clone()).send().await.map_err(failed)?;
    if !answer.status().is_success() {
        return data_err!("cannot read '{shown}': the server answered {}", answer.status());
    }
    let mut bytes = Vec::new();
    let mut body = answer.bytes_stream();
    while let Some(part) = body.next().await {
        bytes.extend_from_slice(&part.map_err(failed)?);
        check_size(bytes.len() as u64, &shown)?;
    }
    Ok(bytes)
}

fn check_size(bytes: u64, location: &str) -> Result<()> {
    if bytes > MAX_BYTES {
        return data_err!(
            "cannot read '{location}': it has more than the {MAX_BYTES} bytes that one value may have"
        );
    }
    Ok(())
}

/// The URL without user, password, query and fragment.
fn without_secrets(url: &Url) -> String {
    format!(
        "{}://{}{}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        url.port().map(|port| format!(":{port}")).unwrap_or_default(),
        url.path()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let url = Url::parse("https://user:password@example.com:8443/a/b.png?signature=secret#part").unwrap();
        assert_eq!(without_secrets(&url), "https://example.com:8443/a/b.png");
    }
}

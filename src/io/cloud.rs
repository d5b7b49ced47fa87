//! Object stores in clouds, by the feature `cloud`.
use std::sync::Arc;

use object_store::ObjectStore;
use url::Url;

use super::options::FileOptions;
use crate::error::Result;

/// A client for the bucket or container of `url`, as the environment configures it.
#[cfg(feature = "cloud")]
pub(super) fn open(url: &Url, options: &FileOptions) -> Result<Arc<dyn ObjectStore>> {
    use std::time::Duration;

    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
    use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
    use object_store::{BackoffConfig, ClientConfigKey, RetryConfig};

    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(8),
            base: 2.0,
        },
        max_retries: options.max_retries,
        retry_timeout: options.timeout,
    };
    // of one request with its answer; that of object_store is for small ones
    let timeout = format!("{} seconds", options.timeout.as_secs());
    let text = url.as_str();
    let store: object_store::Result<Arc<dyn ObjectStore>> = match url.scheme() {
        "s3" => AmazonS3Builder::from_env()
            .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), timeout)
            .with_url(text)
            .with_retry(retry)
            .build()
            .map(|store| Arc::new(store) as _),
        "gs" => GoogleCloudStorageBuilder::from_env()
            .with_config(GoogleConfigKey::Client(ClientConfigKey::Timeout), timeout)
            .with_url(text)
            .with_retry(retry)
            .build()
            .map(|store| Arc::new(store) as _),
        "az" => MicrosoftAzureBuilder::from_env()
            .with_config(AzureConfigKey::Client(ClientConfigKey::Timeout), timeout)
            .with_url(text)
            .with_retry(retry)
            .build()
            .map(|store| Arc::new(store) as _),
        _ => return Err(super::stores::no_store(url)),
    };
    store.map_err(|error| {
        let reason = super::failure::reason(&error);
        crate::error::Error::Query(format!("cannot open '{text}': {reason}; {}", credentials(url.scheme())))
    })
}

#[cfg(not(feature = "cloud"))]
pub(super) fn open(url: &Url, _: &FileOptions) -> Result<Arc<dyn ObjectStore>> {
    match url.scheme() {
        scheme @ ("s3" | "gs" | "az") => crate::error::query_err!(
            "this build has no client for '{scheme}://': build it with --features cloud, or register an object store \
             for it with the session"
        ),
        _ => Err(super::stores::no_store(url)),
    }
}

/// Where the credentials of a store come from.
pub(super) fn credentials(scheme: &str) -> &'static str {
    match scheme {
        "s3" => {
            "its configuration is AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT; \
             AWS_SKIP_SIGNATURE=true reads a public bucket without"
        }
        "gs" => "its configuration is GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT",
        "az" => {
            "its configuration is AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_KEY"
        }
        _ => "its configuration is that of the program",
    }
}

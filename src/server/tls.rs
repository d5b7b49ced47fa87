//! The certificates of the server.

use std::fs;
use std::path::Path;
use std::time::Duration;

use datafusion::common::{Result, plan_datafusion_err};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::config::ServerConfig;

/// How long a client may take for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// TLS as the configuration says; `None` without a certificate.
pub(super) fn config(config: &ServerConfig) -> Result<Option<ServerTlsConfig>> {
    let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) else { return Ok(None) };
    let identity = Identity::from_pem(read(cert)?, read(key)?);
    let tls = ServerTlsConfig::new().identity(identity).timeout(HANDSHAKE);
    Ok(Some(match &config.tls_client_ca {
        None => tls,
        Some(authorities) => tls.client_ca_root(Certificate::from_pem(read(authorities)?)),
    }))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| plan_datafusion_err!("cannot read {}: {error}", path.display()))
}

//! Certificates of the admin port.
//!
//! A client that asks for a node's name in the cluster (SNI) gets the node's certificate of the
//! cluster's authority. All others get the operator's certificate if one is configured. New
//! connections use replaced certificates without a restart.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::RwLock;
use persistence::{NodeIdentity, any_node_name};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    config::AdminConfig,
    failure::{CONFIG, Failure},
};

/// Interval between two checks of the operator's certificate files.
const LOOK_PAUSE: Duration = Duration::from_secs(10);
/// Certificates per file.
const CHAIN_MAX: usize = 16;

/// The crypto provider of all TLS in this program.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The certificates of the admin port.
pub struct ServerCertificates {
    /// Suffix of the names of this cluster's nodes.
    suffix: String,
    node: RwLock<Node>,
    own: Option<Own>,
}

struct Node {
    identity: NodeIdentity,
    key: Arc<CertifiedKey>,
}

/// The operator's certificate, and the version of its files.
struct Own {
    files: AdminConfig,
    current: RwLock<(Stamp, Arc<CertifiedKey>)>,
}

type Stamp = [Option<(SystemTime, u64)>; 2];

impl std::fmt::Debug for ServerCertificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerCertificates").field("suffix", &self.suffix).finish_non_exhaustive()
    }
}

impl ServerCertificates {
    /// Loads the node's certificate and the operator's, if configured.
    ///
    /// # Errors
    /// A file is missing, or certificate and key do not match.
    pub fn new(identity: &NodeIdentity, own: Option<&AdminConfig>) -> Result<Arc<Self>, Failure> {
        let suffix = any_node_name(identity.cluster).split_once('.').map_or_else(String::new, |(_, rest)| format!(".{rest}"));
        let key = key_of(identity).map_err(|because| Failure::new(CONFIG, format!("the node's certificate cannot be used: {because}")))?;
        let own = own.map(Own::open).transpose()?;
        Ok(Arc::new(Self { suffix, node: RwLock::new(Node { identity: identity.clone(), key }), own }))
    }

    /// Replaces the node's certificate.
    ///
    /// # Errors
    /// The certificate is not usable.
    pub fn replace(&self, identity: &NodeIdentity) -> Result<(), String> {
        let key = key_of(identity)?;
        *self.node.write() = Node { identity: identity.clone(), key };
        Ok(())
    }

    /// The trusted authorities (PEM), and the name common to all nodes of the cluster.
    #[must_use]
    pub fn trusted(&self) -> (Vec<String>, String) {
        let node = self.node.read();
        (node.identity.authorities_pem(), any_node_name(node.identity.cluster))
    }

    /// The TLS acceptor (1.3 and 1.2).
    ///
    /// # Errors
    /// The crypto provider does not support TLS.
    pub fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, Failure> {
        let unusable = |error: rustls::Error| Failure::new(CONFIG, format!("the admin API cannot speak TLS: {error}"));
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(unusable)?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reloads the operator's certificate when its files change, until cancelled.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        if self.own.is_none() {
            return;
        }
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_PAUSE)).await.is_some() {
            let shown = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || shown.own.as_ref().map_or(Ok(false), Own::look)).await;
            match looked {
                Ok(Ok(true)) => tracing::info!("admin API: certificate under [admin] reloaded"),
                Ok(Err(failure)) => {
                    tracing::warn!(%failure, "admin API: certificate under [admin] not reloaded, the old one stays in use: fix the files")
                }
                Ok(Ok(false)) | Err(_) => {}
            }
        }
    }
}

impl ResolvesServerCert for ServerCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asks_for_a_node = hello.server_name().is_some_and(|name| name.ends_with(&self.suffix));
        match &self.own {
            Some(own) if !asks_for_a_node => Some(Arc::clone(&own.current.read().1)),
            _ => Some(Arc::clone(&self.node.read().key)),
        }
    }
}

impl Own {
    fn open(files: &AdminConfig) -> Result<Self, Failure> {
        let current = (stamp(files), read(files)?);
        Ok(Self { files: files.clone(), current: RwLock::new(current) })
    }

    /// Reloads the files if they have changed.
    fn look(&self) -> Result<bool, Failure> {
        let now = stamp(&self.files);
        if now == self.current.read().0 {
            return Ok(false);
        }
        // Recorded first: unusable files are reported once, not at every check.
        self.current.write().0 = now;
        let key = read(&self.files)?;
        self.current.write().1 = key;
        Ok(true)
    }
}

fn stamp(files: &AdminConfig) -> Stamp {
    let of = |path: &PathBuf| std::fs::metadata(path).and_then(|about| Ok((about.modified()?, about.len()))).ok();
    [of(&files.certificate), of(&files.key)]
}

fn read(files: &AdminConfig) -> Result<Arc<CertifiedKey>, Failure> {
    let text = |path: &PathBuf| std::fs::read(path).map_err(|e| Failure::file("read", path, &e));
    let unfit = |path: &PathBuf, because: String| Failure::new(CONFIG, format!("{} under [admin]: {because}", path.display()));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text(&files.certificate)?).take(CHAIN_MAX).collect();
    let chain = chain.map_err(|error| unfit(&files.certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(unfit(&files.certificate, "it holds no certificate (PEM)".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&text(&files.key)?).map_err(|error| unfit(&files.key, error.to_string()))?;
    let key = CertifiedKey::from_der(chain, key, &provider());
    key.map(Arc::new).map_err(|error| unfit(&files.key, format!("it does not fit the certificate: {error}")))
}

fn key_of(identity: &NodeIdentity) -> Result<Arc<CertifiedKey>, String> {
    let text = |error: rustls::pki_types::pem::Error| error.to_string();
    let certificate = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).map_err(text)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(text)?;
    CertifiedKey::from_der(vec![certificate], key, &provider()).map(Arc::new).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use persistence::ClusterCa;

    use super::*;

    fn write(dir: &std::path::Path, identity: &NodeIdentity) -> AdminConfig {
        let files = AdminConfig { certificate: dir.join("certificate.pem"), key: dir.join("key.pem") };
        std::fs::write(&files.certificate, &identity.certificate_pem).unwrap();
        std::fs::write(&files.key, &identity.key_pem).unwrap();
        files
    }

    #[test]
    fn a_changed_operator_certificate_is_reloaded() {
        let dir = tempfile::tempdir().unwrap();
        let ca = ClusterCa::create().unwrap();
        let files = write(dir.path(), &ca.issue(1).unwrap());
        let own = Own::open(&files).unwrap();
        let before = Arc::clone(&own.current.read().1);
        assert!(!own.look().unwrap());
        std::fs::write(&files.certificate, "half of i").unwrap();
        assert!(own.look().is_err(), "unusable");
        assert!(Arc::ptr_eq(&before, &own.current.read().1), "the old one stays in use");
        assert!(!own.look().unwrap(), "reported once");
        write(dir.path(), &ca.issue(2).unwrap());
        assert!(own.look().unwrap());
        assert!(!Arc::ptr_eq(&before, &own.current.read().1));
    }

    #[test]
    fn unusable_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let ca = ClusterCa::create().unwrap();
        let files = write(dir.path(), &ca.issue(1).unwrap());
        std::fs::write(&files.key, &ca.issue(2).unwrap().key_pem).unwrap();
        let failure = Own::open(&files).map(drop).unwrap_err();
        assert!(failure.message.contains("key.pem") && failure.message.contains("does not fit"), "{failure}");
        std::fs::write(&files.certificate, "").unwrap();
        assert!(Own::open(&files).map(drop).unwrap_err().message.contains("holds no certificate"));
        std::fs::remove_file(&files.certificate).unwrap();
        assert!(Own::open(&files).map(drop).unwrap_err().message.contains("certificate.pem"));
    }

    #[test]
    fn trust_anchors_follow_the_identity() {
        let ca = ClusterCa::create().unwrap();
        let shown = ServerCertificates::new(&ca.issue(1).unwrap(), None).unwrap();
        let (authorities, name) = shown.trusted();
        assert_eq!((authorities.len(), name), (1, any_node_name(ca.cluster)));
        assert!(shown.suffix.starts_with('.') && shown.suffix.ends_with(".cluster.internal"));
        assert!(shown.acceptor().is_ok());
        let next = ca.successor().unwrap();
        shown.replace(&next.issue(1).unwrap()).unwrap();
        assert_eq!(shown.trusted().0, [next.certificate_pem]);
    }
}

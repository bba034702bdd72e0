//! Endpoints of the admin API: the Unix socket of a local node, or TLS with a verified certificate.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use persistence::{any_node_name, cluster_of_authority, node_name};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::connection::Stream;
use crate::{
    admin::listen::{
        socket::{self, SocketPath},
        tls::provider,
    },
    cli::At,
    config::Config,
    failure::{CONFIG, DATA, Failure, NO_PERMISSION, UNAVAILABLE, USAGE},
    words::NodeAddress,
};

/// Authorities per file; the list of an operating system has about 150.
const AUTHORITIES_MAX: usize = 1000;

/// An endpoint.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// The socket in the data directory of a local node.
    Socket(PathBuf),
    /// TLS to the admin port.
    Tls(Tls),
}

/// A TLS endpoint.
#[derive(Clone)]
pub struct Tls {
    /// `HOST:PORT`.
    address: String,
    /// Name that the certificate must have.
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("address", &self.address).field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "the node at {}", path.display()),
            Self::Tls(tls) => write!(f, "the node at {}", tls.address),
        }
    }
}

impl Tls {
    /// Verifies the node's certificate with these authorities (PEM). With a cluster's authority the
    /// certificate must be that of the given node id, or of any node of the cluster; otherwise it
    /// must name the host.
    ///
    /// # Errors
    /// No usable authority, or an invalid host.
    pub fn new(authorities: &[u8], node: &NodeAddress) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities).take(AUTHORITIES_MAX) {
            roots.add(authority.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
        }
        if roots.is_empty() {
            return Err("it holds no certificate (PEM)".to_owned());
        }
        let cluster = std::str::from_utf8(authorities).ok().and_then(|pem| cluster_of_authority(pem).ok());
        let name = match (cluster, node.id) {
            (Some(cluster), Some(id)) => node_name(cluster, id),
            (Some(cluster), None) => any_node_name(cluster),
            (None, None) => node.host.clone(),
            (None, Some(_)) => return Err("it is not a cluster's authority: leave out the id of the node".to_owned()),
        };
        let name = ServerName::try_from(name).map_err(|_| format!("{:?} is no name of a host", node.host))?;
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
        let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        Ok(Self { address: node.address(), name, config })
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, Failure> {
        let failed = |e: io::Error| Failure::new(UNAVAILABLE, format!("cannot connect to {}: {e}; is the node running?", self.address));
        let stream = TcpStream::connect(&self.address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let secured = connector.connect(self.name.clone(), stream).await.map_err(|error| self.unverified(&error))?;
        Ok(Box::new(secured))
    }

    fn unverified(&self, error: &io::Error) -> Failure {
        let address = &self.address;
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(because)) => Failure::new(
                DATA,
                format!(
                    "{address} does not prove that it is a node of the cluster ({because}): nothing was sent to it. If the cluster's \
                     authority was renewed, get its certificate again with `holdfast admin ca` on a node"
                ),
            ),
            _ => Failure::new(UNAVAILABLE, format!("{address} does not speak TLS as a node does: {error}")),
        }
    }
}

impl Endpoint {
    /// The endpoint named by the arguments: an address, or the configuration of a local node.
    ///
    /// # Errors
    /// A file or an argument is missing or invalid.
    pub fn of(at: &At) -> Result<Self, Failure> {
        let Some(node) = &at.node else {
            return Ok(Self::local(&Config::read(&at.config)?.data_dir));
        };
        let Some(ca) = &at.ca else {
            let message =
                "say with --ca FILE which authority the node's certificate must be of: `holdfast admin ca` on a node makes the file";
            return Err(Failure::new(USAGE, message));
        };
        let pem = std::fs::read(ca).map_err(|e| Failure::file("read", ca, &e))?;
        let tls = Tls::new(&pem, node).map_err(|because| Failure::new(CONFIG, format!("{}: {because}", ca.display())))?;
        Ok(Self::Tls(tls))
    }

    /// The socket of the node with this data directory.
    #[must_use]
    pub fn local(data_dir: &Path) -> Self {
        Self::Socket(socket::path(data_dir))
    }

    /// Value of the Host header.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Socket(_) => "localhost",
            Self::Tls(tls) => &tls.address,
        }
    }

    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>, Failure> {
        match self {
            Self::Socket(path) => connect_socket(path).await,
            Self::Tls(tls) => tls.connect().await,
        }
    }
}

async fn connect_socket(path: &Path) -> Result<Box<dyn Stream>, Failure> {
    let connected = match SocketPath::of(path) {
        Ok(short) => UnixStream::connect(&short.path).await,
        Err(error) => Err(error),
    };
    connected.map(|stream| Box::new(stream) as Box<dyn Stream>).map_err(|error| {
        let path = path.display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Failure::new(
                NO_PERMISSION,
                format!("this user may not open {path}: run as root or as the node's user, or use --node HOST:PORT with a token"),
            ),
            _ => Failure::new(UNAVAILABLE, format!("cannot connect to {path}: {error}; is `holdfast serve` running?")),
        }
    })
}

#[cfg(test)]
mod tests {
    use persistence::ClusterCa;

    use super::*;

    fn name(pem: &str, node: &str) -> Result<String, String> {
        Tls::new(pem.as_bytes(), &node.parse().unwrap()).map(|tls| tls.name.to_str().into_owned())
    }

    #[test]
    fn with_a_clusters_authority_the_name_is_that_of_a_node() {
        let ca = ClusterCa::create().unwrap();
        let pem = &ca.certificate_pem;
        assert_eq!(name(pem, "192.0.2.1:8450"), Ok(any_node_name(ca.cluster)));
        assert_eq!(name(pem, "3@files.example.com:8450"), Ok(node_name(ca.cluster, 3)));
        let both = format!("{pem}{}", ca.successor().unwrap().certificate_pem);
        assert_eq!(name(&both, "192.0.2.1:8450"), Ok(any_node_name(ca.cluster)));
    }

    #[test]
    fn with_another_authority_the_name_is_the_host() {
        let other = ClusterCa::create().unwrap().issue(1).unwrap().certificate_pem;
        assert_eq!(name(&other, "files.example.com:8450"), Ok("files.example.com".to_owned()));
        assert_eq!(name(&other, "[2001:db8::1]:8450"), Ok("2001:db8::1".to_owned()));
        assert!(name(&other, "1@files.example.com:8450").unwrap_err().contains("leave out the id"));
        assert!(name("", "files.example.com:8450").unwrap_err().contains("no certificate"));
    }

    #[tokio::test]
    async fn a_missing_socket_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let failure = Endpoint::local(dir.path()).connect().await.map(drop).unwrap_err();
        assert_eq!(failure.code, UNAVAILABLE);
        assert!(failure.message.contains("admin.sock") && failure.message.contains("holdfast serve"), "{failure}");
    }
}

//! TLS of the cluster: both sides show a certificate of the cluster's authority; a joining node shows none and knows only a fingerprint.
//!
//! On a network to which nobody else has access ([`crate::environment::Network::is_trusted`], simulations only) there is none of this.
//! What a node shows and whom it trusts can be replaced while it runs: connections that are made afterwards use the new certificate.

use std::io;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use uuid::Uuid;

use crate::environment::net::Stream;
use crate::pki::{self, NodeIdentity, PkiError};

/// What a node shows and whom it trusts at present.
pub(crate) struct Credentials {
    current: RwLock<Current>,
}

struct Current {
    identity: NodeIdentity,
    security: Security,
}

impl Credentials {
    pub(crate) fn new(identity: NodeIdentity, trusted: bool) -> Result<Arc<Self>, PkiError> {
        let security = Security::new(&identity, trusted)?;
        Ok(Arc::new(Self { current: RwLock::new(Current { identity, security }) }))
    }

    pub(crate) fn identity(&self) -> NodeIdentity {
        self.current.read().identity.clone()
    }

    /// Uses another certificate, and trusts other authorities, from the next connection on.
    pub(crate) fn replace(&self, identity: NodeIdentity) -> Result<(), PkiError> {
        let mut current = self.current.write();
        let who = |identity: &NodeIdentity| (identity.cluster, identity.node_id);
        if who(&identity) != who(&current.identity) {
            return Err(unusable("it is another node's"));
        }
        let security = Security::new(&identity, matches!(current.security, Security::Plain))?;
        *current = Current { identity, security };
        Ok(())
    }

    fn security(&self) -> Security {
        self.current.read().security.clone()
    }

    /// Secures a connection that came in.
    pub(crate) async fn accept(&self, stream: Stream) -> io::Result<(Stream, Shown)> {
        self.security().accept(stream).await
    }

    /// Secures a connection to the node of this name.
    pub(crate) async fn connect(&self, name: ServerName<'static>, stream: Stream) -> io::Result<Stream> {
        self.security().connect(name, stream).await
    }
}

/// How the connections of a node are secured.
#[derive(Clone)]
enum Security {
    /// Certificates, both ways.
    Tls { acceptor: TlsAcceptor, connector: TlsConnector },
    /// Nothing: the network is trusted.
    Plain,
}

/// What a peer has shown to prove who it is.
pub(crate) enum Shown {
    /// A certificate of the cluster's authority, or none.
    Certificate(Option<CertificateDer<'static>>),
    /// Nothing; it is believed, because the network is trusted.
    Believed,
}

impl Security {
    fn new(identity: &NodeIdentity, trusted: bool) -> Result<Self, PkiError> {
        if trusted {
            return Ok(Self::Plain);
        }
        Ok(Self::Tls { acceptor: acceptor(identity)?, connector: connector(identity)? })
    }

    /// Secures a connection that came in.
    async fn accept(&self, stream: Stream) -> io::Result<(Stream, Shown)> {
        match self {
            Self::Tls { acceptor, .. } => {
                let stream = acceptor.accept(stream).await?;
                let chain = stream.get_ref().1.peer_certificates();
                let certificate = chain.and_then(|chain| chain.first()).map(|certificate| certificate.clone().into_owned());
                Ok((Box::new(stream), Shown::Certificate(certificate)))
            }
            Self::Plain => Ok((stream, Shown::Believed)),
        }
    }

    /// Secures a connection to the node of this name.
    async fn connect(&self, name: ServerName<'static>, stream: Stream) -> io::Result<Stream> {
        match self {
            Self::Tls { connector, .. } => Ok(Box::new(connector.connect(name, stream).await?)),
            Self::Plain => Ok(stream),
        }
    }
}

impl Shown {
    /// Says whether it proves that the peer is this node.
    pub(crate) fn speaks_for(&self, cluster: Uuid, node_id: u64) -> bool {
        match self {
            Self::Certificate(certificate) => certificate.as_ref().is_some_and(|certificate| speaks_for(certificate, cluster, node_id)),
            Self::Believed => true,
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn unusable(err: impl ToString) -> PkiError {
    PkiError::Read { what: "the node's identity", because: err.to_string() }
}

fn roots(identity: &NodeIdentity) -> Result<RootCertStore, PkiError> {
    let mut roots = RootCertStore::empty();
    for authority in identity.authorities()? {
        roots.add(authority).map_err(unusable)?;
    }
    Ok(roots)
}

/// The answering side. A client without certificate is let in, but may only ask to join.
fn acceptor(identity: &NodeIdentity) -> Result<TlsAcceptor, PkiError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(identity)?), provider())
        .allow_unauthenticated()
        .build()
        .map_err(unusable)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(verifier)
        // The authority goes along, because a joining node knows only its fingerprint.
        .with_single_cert(vec![identity.certificate()?, identity.issuer()?], identity.key()?)
        .map_err(unusable)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The calling side.
fn connector(identity: &NodeIdentity) -> Result<TlsConnector, PkiError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_root_certificates(roots(identity)?)
        .with_client_auth_cert(vec![identity.certificate()?], identity.key()?)
        .map_err(unusable)?;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Says whether this certificate, already verified, is that of the node.
fn speaks_for(certificate: &CertificateDer<'_>, cluster: Uuid, node_id: u64) -> bool {
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, &pki::server_name(cluster, node_id)).is_ok())
}

/// The calling side of a node that joins: trusts the authority with this fingerprint.
pub(crate) fn joining_connector(fingerprint: [u8; 32]) -> Result<TlsConnector, PkiError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { fingerprint, provider: provider() }))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = chain
            .iter()
            .find(|candidate| pki::fingerprint(candidate) == self.fingerprint)
            .ok_or_else(|| rustls::Error::General("the member belongs to another cluster than the join token".to_owned()))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        rustls::client::verify_server_cert_signed_by_trust_anchor(&parsed, &roots, chain, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

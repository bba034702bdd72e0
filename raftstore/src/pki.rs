//! The cluster's certificates: one authority made with the cluster, one certificate per node, one-time join tokens.
//!
//! Every connection between nodes is TLS with certificates of this authority on both sides. A node's name in its certificate holds its
//! cluster and its id, so that a valid certificate of one node cannot speak for another. Knows nothing of sockets.

use std::fmt;

use aws_lc_rs::{digest, rand};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a certificate, key or token is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PkiError {
    /// Making a key or certificate failed.
    #[error("making a certificate failed: {0}")]
    Make(String),
    /// A stored key or certificate cannot be read.
    #[error("{what} cannot be read: {because}")]
    Read {
        /// Which one.
        what: &'static str,
        /// Why.
        because: String,
    },
    /// A join token cannot be read.
    #[error("this is not a join token: {0}; ask a member of the cluster for a new one")]
    Token(&'static str),
}

/// The name of a node in its certificate.
pub(crate) fn node_name(cluster: Uuid, node_id: u64) -> String {
    format!("node-{node_id}.{}.cluster.internal", cluster.simple())
}

/// The SHA-256 fingerprint of a certificate.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
    out
}

/// The authority of one cluster. Whoever holds it can admit nodes: keep its key as secret as the data.
#[derive(Clone, Serialize, Deserialize)]
pub struct ClusterCa {
    /// The cluster.
    #[serde(with = "uuid_text")]
    pub cluster: Uuid,
    /// Its certificate.
    pub certificate_pem: String,
    /// Its private key.
    pub key_pem: String,
}

impl fmt::Debug for ClusterCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterCa({})", self.cluster)
    }
}

impl ClusterCa {
    /// Makes the authority of a new cluster.
    pub fn create() -> Result<Self, PkiError> {
        let make = |err: rcgen::Error| PkiError::Make(err.to_string());
        let cluster = Uuid::new_v4();
        let key = KeyPair::generate().map_err(make)?;
        let mut params = CertificateParams::default();
        // Good from the beginning of time: a machine whose clock has lost its battery stays a member.
        params.not_before = rcgen::date_time_ymd(1970, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, format!("cluster {cluster}"));
        let certificate = params.self_signed(&key).map_err(make)?;
        Ok(Self { cluster, certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// Issues a certificate to a node.
    pub fn issue(&self, node_id: u64) -> Result<NodeIdentity, PkiError> {
        let make = |err: rcgen::Error| PkiError::Make(err.to_string());
        let ca_key =
            KeyPair::from_pem(&self.key_pem).map_err(|err| PkiError::Read { what: "the authority's key", because: err.to_string() })?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, ca_key)
            .map_err(|err| PkiError::Read { what: "the authority's certificate", because: err.to_string() })?;
        let key = KeyPair::generate().map_err(make)?;
        let name = node_name(self.cluster, node_id);
        let mut params = CertificateParams::new(vec![name.clone()]).map_err(make)?;
        params.not_before = rcgen::date_time_ymd(1970, 1, 1);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &issuer).map_err(make)?;
        Ok(NodeIdentity {
            cluster: self.cluster,
            node_id,
            ca_pem: self.certificate_pem.clone(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// The fingerprint of the authority's certificate, which join tokens carry.
    pub fn fingerprint(&self) -> Result<[u8; 32], PkiError> {
        Ok(fingerprint(&parse_certificate("the authority's certificate", &self.certificate_pem)?))
    }
}

/// Who a node is, and the proof.
#[derive(Clone, Serialize, Deserialize)]
pub struct NodeIdentity {
    /// Its cluster.
    #[serde(with = "uuid_text")]
    pub cluster: Uuid,
    /// Its id in the cluster.
    pub node_id: u64,
    /// The authority's certificate.
    pub ca_pem: String,
    /// The node's certificate.
    pub certificate_pem: String,
    /// The node's private key.
    pub key_pem: String,
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeIdentity(cluster {}, node {})", self.cluster, self.node_id)
    }
}

impl NodeIdentity {
    pub(crate) fn ca(&self) -> Result<CertificateDer<'static>, PkiError> {
        parse_certificate("the authority's certificate", &self.ca_pem)
    }

    pub(crate) fn certificate(&self) -> Result<CertificateDer<'static>, PkiError> {
        parse_certificate("the node's certificate", &self.certificate_pem)
    }

    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>, PkiError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|err| PkiError::Read { what: "the node's private key", because: err.to_string() })
    }
}

fn parse_certificate(what: &'static str, pem: &str) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|err| PkiError::Read { what, because: err.to_string() })
}

/// Makes the TLS name of a node. The name is always a valid DNS name.
pub(crate) fn server_name(cluster: Uuid, node_id: u64) -> ServerName<'static> {
    ServerName::try_from(node_name(cluster, node_id)).expect("letters, digits, dashes and dots are a DNS name")
}

/// A one-time invitation: where to join, how to know that it is the right cluster, and the secret that is redeemed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The address of a member.
    pub address: String,
    /// The fingerprint of the cluster's authority.
    pub fingerprint: [u8; 32],
    /// The secret. Store only what [`JoinToken::secret_id`] makes of it.
    pub secret: [u8; 32],
}

/// Every token begins with this.
const TOKEN_PREFIX: &str = "join1-";
/// Longest address in a token.
const TOKEN_ADDRESS_MAX: usize = 255;

impl JoinToken {
    /// Makes a token with a fresh secret.
    pub fn create(address: impl Into<String>, fingerprint: [u8; 32]) -> Result<Self, PkiError> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).map_err(|_| PkiError::Make("no randomness".to_owned()))?;
        Ok(Self { address: address.into(), fingerprint, secret })
    }

    /// What is stored of a secret, so that reading the store does not give away open invitations.
    pub fn secret_id(secret: &[u8; 32]) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, secret).as_ref());
        out
    }

    /// Reads a token.
    pub fn parse(text: &str) -> Result<Self, PkiError> {
        let hex = text.trim().strip_prefix(TOKEN_PREFIX).ok_or(PkiError::Token("it does not begin with join1-"))?;
        let bytes = from_hex(hex).ok_or(PkiError::Token("it is not hexadecimal, or cut off"))?;
        let (fingerprint, rest) = bytes.split_first_chunk::<32>().ok_or(PkiError::Token("it is cut off"))?;
        let (secret, address) = rest.split_first_chunk::<32>().ok_or(PkiError::Token("it is cut off"))?;
        if address.is_empty() || address.len() > TOKEN_ADDRESS_MAX {
            return Err(PkiError::Token("it holds no address"));
        }
        let address = std::str::from_utf8(address).map_err(|_| PkiError::Token("its address is not text"))?;
        Ok(Self { address: address.to_owned(), fingerprint: *fingerprint, secret: *secret })
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TOKEN_PREFIX)?;
        for byte in self.fingerprint.iter().chain(&self.secret).chain(self.address.as_bytes()) {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// A cluster id as text, because identities are also kept in configuration files.
mod uuid_text {
    use serde::{Deserialize, Deserializer, Serializer};
    use uuid::Uuid;

    pub(super) fn serialize<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        let text = String::deserialize(deserializer)?;
        Uuid::parse_str(&text).map_err(serde::de::Error::custom)
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || text.len() > 2 * (64 + TOKEN_ADDRESS_MAX) {
        return None;
    }
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back_and_reject_nonsense() {
        let ca = ClusterCa::create().unwrap();
        let token = JoinToken::create("127.0.0.1:7000", ca.fingerprint().unwrap()).unwrap();
        assert_eq!(JoinToken::parse(&token.to_string()).unwrap(), token);
        for bad in ["", "join1-", "join1-zz", "hello", "join1-é", &token.to_string()[..80]] {
            assert!(JoinToken::parse(bad).is_err(), "{bad}");
        }
        assert_ne!(JoinToken::secret_id(&token.secret), token.secret);
    }

    #[test]
    fn certificates_carry_cluster_and_node() {
        let ca = ClusterCa::create().unwrap();
        let identity = ca.issue(7).unwrap();
        assert_eq!((identity.cluster, identity.node_id), (ca.cluster, 7));
        let der = identity.certificate().unwrap();
        let parsed = rustls::server::ParsedCertificate::try_from(&der).unwrap();
        rustls::client::verify_server_name(&parsed, &server_name(ca.cluster, 7)).unwrap();
        assert!(rustls::client::verify_server_name(&parsed, &server_name(ca.cluster, 8)).is_err());
    }

    #[test]
    fn certificates_are_good_whatever_the_clock_says() {
        let identity = ClusterCa::create().unwrap().issue(7).unwrap();
        let der = identity.certificate().unwrap();
        let parsed = rustls::server::ParsedCertificate::try_from(&der).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(identity.ca().unwrap()).unwrap();
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        // 1970, 2001, 2096, 2984.
        for seconds in [0, 1_000_000_000, 4_000_000_000, 32_000_000_000] {
            let now = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
            rustls::client::verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms).unwrap();
        }
    }
}

//! The cluster's certificates: an authority, one certificate per node, one-time join tokens.
//!
//! Every connection between nodes is TLS with certificates of the cluster's authority on both sides. A node's name in its certificate holds
//! its cluster and its id, so that a valid certificate of one node cannot speak for another. A node makes its own key and shows only the
//! public half of it. Every certificate has a second name common to all nodes, for clients that verify
//! any node of the cluster. While an authority is being replaced, nodes trust two. Knows nothing of
//! sockets.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, rand};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SubjectPublicKeyInfo, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How long a node's certificate is good. Nodes renew theirs by themselves when a third of it is left.
pub const NODE_LIFETIME: Duration = Duration::from_secs(397 * 24 * 3600);
/// How long an authority is good.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// A node renews its certificate when less than this is left.
const RENEWED_BEFORE: Duration = Duration::from_secs(132 * 24 * 3600);
/// More authorities at a time than any replacement needs.
const AUTHORITIES_MAX: usize = 8;

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
#[must_use]
pub fn node_name(cluster: Uuid, node_id: u64) -> String {
    format!("node-{node_id}.{}.cluster.internal", cluster.simple())
}

/// The second name in the certificates of all nodes of a cluster.
#[must_use]
pub fn any_node_name(cluster: Uuid) -> String {
    format!("any-node.{}.cluster.internal", cluster.simple())
}

/// The cluster of an authority, by its certificate.
///
/// # Errors
/// It is no certificate, or not one of a cluster's authority.
pub fn cluster_of_authority(pem: &str) -> Result<Uuid, PkiError> {
    let what = "the authority's certificate";
    let certificate = parse_certificate(what, pem)?;
    let unread = |because: String| PkiError::Read { what, because };
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).map_err(|err| unread(err.to_string()))?;
    let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
    let cluster = name.strip_prefix(AUTHORITY_PREFIX).and_then(|id| Uuid::parse_str(id).ok());
    cluster.ok_or_else(|| unread("it does not name a cluster".to_owned()))
}

/// The common name of an authority begins with this; the cluster follows.
const AUTHORITY_PREFIX: &str = "cluster ";

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
        Self::of_cluster(Uuid::new_v4())
    }

    /// Makes another authority for the same cluster, to take the place of this one.
    pub fn successor(&self) -> Result<Self, PkiError> {
        Self::of_cluster(self.cluster)
    }

    fn of_cluster(cluster: Uuid) -> Result<Self, PkiError> {
        let make = |err: rcgen::Error| PkiError::Make(err.to_string());
        let key = KeyPair::generate().map_err(make)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        set_validity(&mut params, SystemTime::now(), AUTHORITY_LIFETIME);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, format!("{AUTHORITY_PREFIX}{cluster}"));
        let certificate = params.self_signed(&key).map_err(make)?;
        Ok(Self { cluster, certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// Makes a key and a certificate for a node of this machine.
    pub fn issue(&self, node_id: u64) -> Result<NodeIdentity, PkiError> {
        self.issue_for(node_id, NODE_LIFETIME)
    }

    /// As [`ClusterCa::issue`], good for another time from now on.
    pub fn issue_for(&self, node_id: u64, lifetime: Duration) -> Result<NodeIdentity, PkiError> {
        let key = NodeKey::generate()?;
        let certificate_pem = self.certify_for(node_id, &key.public(), lifetime)?;
        key.into_identity(self.cluster, node_id, certificate_pem, self.certificate_pem.clone())
    }

    /// Makes a certificate for a node that showed the public half of its key.
    pub fn certify(&self, node_id: u64, public_key: &[u8]) -> Result<String, PkiError> {
        self.certify_for(node_id, public_key, NODE_LIFETIME)
    }

    fn certify_for(&self, node_id: u64, public_key: &[u8], lifetime: Duration) -> Result<String, PkiError> {
        let make = |err: rcgen::Error| PkiError::Make(err.to_string());
        let public_key = SubjectPublicKeyInfo::from_der(public_key)
            .map_err(|err| PkiError::Read { what: "the node's public key", because: err.to_string() })?;
        let ca_key =
            KeyPair::from_pem(&self.key_pem).map_err(|err| PkiError::Read { what: "the authority's key", because: err.to_string() })?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, ca_key)
            .map_err(|err| PkiError::Read { what: "the authority's certificate", because: err.to_string() })?;
        let name = node_name(self.cluster, node_id);
        let mut params = CertificateParams::new(vec![name.clone(), any_node_name(self.cluster)]).map_err(make)?;
        // Required by strict verifiers, such as Python's.
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        // A clock that has lost its battery is at least as late as the authority's making.
        let until = u64::try_from(self.facts()?.until_unix_s).unwrap_or_default();
        let made = UNIX_EPOCH + Duration::from_secs(until).saturating_sub(AUTHORITY_LIFETIME);
        set_validity(&mut params, SystemTime::now().max(made), lifetime);
        Ok(params.signed_by(&public_key, &issuer).map_err(make)?.pem())
    }

    /// What its certificate says.
    pub fn facts(&self) -> Result<CertificateFacts, PkiError> {
        facts(&parse_certificate("the authority's certificate", &self.certificate_pem)?)
    }

    /// The fingerprint of the authority's certificate, which join tokens carry.
    pub fn fingerprint(&self) -> Result<[u8; 32], PkiError> {
        Ok(fingerprint(&parse_certificate("the authority's certificate", &self.certificate_pem)?))
    }
}

/// A node's key before it has a certificate.
pub struct NodeKey(KeyPair);

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey")
    }
}

impl NodeKey {
    /// Makes one.
    pub fn generate() -> Result<Self, PkiError> {
        KeyPair::generate().map(Self).map_err(|err| PkiError::Make(err.to_string()))
    }

    /// The half that may be shown: what [`ClusterCa::certify`] wants.
    pub fn public(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }

    /// Joins the key with what the authority made for it. The first of `ca_pem` must have issued the certificate.
    pub fn into_identity(self, cluster: Uuid, node_id: u64, certificate_pem: String, ca_pem: String) -> Result<NodeIdentity, PkiError> {
        let identity = NodeIdentity { cluster, node_id, ca_pem, certificate_pem, key_pem: self.0.serialize_pem() };
        identity.authorities()?;
        let unfit = |because: &str| PkiError::Read { what: "the certificate that the authority made", because: because.to_owned() };
        let certificate = identity.certificate()?;
        let parsed = rustls::server::ParsedCertificate::try_from(&certificate).map_err(|err| unfit(&err.to_string()))?;
        rustls::client::verify_server_name(&parsed, &server_name(cluster, node_id)).map_err(|_| unfit("it is another node's"))?;
        Ok(identity)
    }
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// SHA-256 of it: its name among authorities.
    pub fingerprint: [u8; 32],
    /// No longer good after that, in seconds since 1970.
    pub until_unix_s: i64,
}

impl CertificateFacts {
    /// Seconds that are left at a time; negative when it is over.
    pub fn left_s(&self, now: SystemTime) -> i64 {
        self.until_unix_s.saturating_sub(unix_s(now))
    }

    /// Tells whether less than a third of a node's certificate's life is left: time for a new one.
    pub fn is_old(&self, now: SystemTime) -> bool {
        self.left_s(now) < i64::try_from(RENEWED_BEFORE.as_secs()).unwrap_or(i64::MAX)
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
    /// The certificates of the authorities that it trusts, one after the other. The first has issued the node's own.
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
    /// Its name in TLS.
    #[must_use]
    pub fn name(&self) -> String {
        node_name(self.cluster, self.node_id)
    }

    /// Trusts these authorities from now on, and nobody else. The one that issued the node's certificate must be among them.
    pub fn trusting(&self, authorities_pem: &[String]) -> Result<Self, PkiError> {
        let own = fingerprint(&self.issuer()?);
        let mut issuer = None;
        let mut others = Vec::new();
        for pem in authorities_pem {
            let certificate = parse_certificate("an authority's certificate", pem)?;
            if fingerprint(&certificate) == own { issuer = Some(pem.clone()) } else { others.push(pem.clone()) }
        }
        let because = "it would no longer trust the authority of its own certificate".to_owned();
        let issuer = issuer.ok_or(PkiError::Read { what: "the list of authorities", because })?;
        let ca_pem = std::iter::once(issuer).chain(others).map(|pem| pem.trim_end().to_owned() + "\n").collect();
        Ok(Self { ca_pem, ..self.clone() })
    }

    /// What the node's certificate says.
    pub fn facts(&self) -> Result<CertificateFacts, PkiError> {
        facts(&self.certificate()?)
    }

    /// What the certificates of the trusted authorities say; that of the node's own comes first.
    pub fn authorities_facts(&self) -> Result<Vec<CertificateFacts>, PkiError> {
        self.authorities()?.iter().map(facts).collect()
    }

    /// The certificates of the trusted authorities, each as text.
    pub fn authorities_pem(&self) -> Vec<String> {
        const END: &str = "-----END CERTIFICATE-----";
        self.ca_pem.split_inclusive(END).map(str::trim).filter(|pem| pem.ends_with(END)).map(|pem| format!("{pem}\n")).collect()
    }

    pub(crate) fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, PkiError> {
        let what = "the authority's certificate";
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.ca_pem.as_bytes()).take(AUTHORITIES_MAX).collect();
        match all {
            Ok(all) if all.is_empty() => Err(PkiError::Read { what, because: "there is none".to_owned() }),
            Ok(all) => Ok(all),
            Err(err) => Err(PkiError::Read { what, because: err.to_string() }),
        }
    }

    /// The authority that issued the node's certificate.
    pub(crate) fn issuer(&self) -> Result<CertificateDer<'static>, PkiError> {
        parse_certificate("the authority's certificate", &self.ca_pem)
    }

    /// The fingerprint of the authority that issued the node's certificate: what a join token for this node carries.
    pub fn issuer_fingerprint(&self) -> Result<[u8; 32], PkiError> {
        Ok(fingerprint(&self.issuer()?))
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

fn unix_s(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Good from the beginning of time: a machine whose clock has lost its battery stays a member.
fn set_validity(params: &mut CertificateParams, from: SystemTime, lifetime: Duration) {
    let epoch = date_time_ymd(1970, 1, 1);
    let since = from.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch;
    params.not_after = epoch + since + lifetime;
}

/// The fingerprint of a certificate that is text.
pub fn fingerprint_of_pem(pem: &str) -> Result<[u8; 32], PkiError> {
    Ok(fingerprint(&parse_certificate("an authority's certificate", pem)?))
}

fn facts(certificate: &CertificateDer<'_>) -> Result<CertificateFacts, PkiError> {
    let parsed = x509_parser::parse_x509_certificate(certificate);
    let (_, parsed) = parsed.map_err(|err| PkiError::Read { what: "a certificate", because: err.to_string() })?;
    let validity = parsed.validity();
    Ok(CertificateFacts { fingerprint: fingerprint(certificate), until_unix_s: validity.not_after.timestamp() })
}

/// Makes the TLS name of a node. The name is always a valid DNS name.
pub(crate) fn server_name(cluster: Uuid, node_id: u64) -> ServerName<'static> {
    ServerName::try_from(node_name(cluster, node_id)).expect("letters, digits, dashes and dots are a DNS name")
}

/// A one-time invitation: where to join, how to know that it is the right cluster, and the secret that is redeemed.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The address of a member.
    pub address: String,
    /// The fingerprint of the cluster's authority.
    pub fingerprint: [u8; 32],
    /// The secret. Store only what [`JoinToken::secret_id`] makes of it.
    pub secret: [u8; 32],
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("address", &self.address).finish_non_exhaustive()
    }
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
        let any = |cluster| ServerName::try_from(any_node_name(cluster)).unwrap();
        rustls::client::verify_server_name(&parsed, &any(ca.cluster)).unwrap();
        assert!(rustls::client::verify_server_name(&parsed, &any(Uuid::new_v4())).is_err());
    }

    #[test]
    fn an_authority_names_its_cluster() {
        let ca = ClusterCa::create().unwrap();
        assert_eq!(cluster_of_authority(&ca.certificate_pem), Ok(ca.cluster));
        let node = ca.issue(1).unwrap();
        assert!(cluster_of_authority(&node.certificate_pem).is_err_and(|err| err.to_string().contains("does not name a cluster")));
        assert!(cluster_of_authority("nonsense").is_err());
    }

    #[test]
    fn a_token_is_not_told_by_debug() {
        let token = JoinToken { address: "127.0.0.1:7000".to_owned(), fingerprint: [1; 32], secret: [77; 32] };
        let text = format!("{token:?}");
        assert!(text.contains("7000") && !text.contains("77"), "{text}");
    }

    #[test]
    fn certificates_are_good_from_the_beginning_of_time_to_their_end() {
        let identity = ClusterCa::create().unwrap().issue(7).unwrap();
        let der = identity.certificate().unwrap();
        let parsed = rustls::server::ParsedCertificate::try_from(&der).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(identity.issuer().unwrap()).unwrap();
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let end = u64::try_from(identity.facts().unwrap().until_unix_s).unwrap();
        // 1970, 2001, a day before and after its end.
        for (seconds, is_good) in [(0, true), (1_000_000_000, true), (end - 86_400, true), (end + 86_400, false)] {
            let now = rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            let verified = rustls::client::verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms);
            assert_eq!(verified.is_ok(), is_good, "{seconds}");
        }
    }

    #[test]
    fn a_certificate_says_how_long_it_is_good() {
        let ca = ClusterCa::create().unwrap();
        let now = SystemTime::now();
        let day = 24 * 3600;
        let long = ca.issue(1).unwrap().facts().unwrap();
        assert!((396 * day..=397 * day).contains(&long.left_s(now)), "{long:?}");
        assert!(!long.is_old(now) && long.is_old(now + Duration::from_secs(300 * 24 * 3600)));
        let short = ca.issue_for(1, Duration::from_secs(600)).unwrap().facts().unwrap();
        assert!(short.is_old(now) && short.left_s(now) > 0);
        assert!(ca.facts().unwrap().left_s(now) > 19 * 365 * day);
    }

    #[test]
    fn a_key_fits_only_its_own_certificate() {
        let ca = ClusterCa::create().unwrap();
        let key = NodeKey::generate().unwrap();
        let pem = ca.certify(5, &key.public()).unwrap();
        let identity = key.into_identity(ca.cluster, 5, pem.clone(), ca.certificate_pem.clone()).unwrap();
        assert_eq!(identity.issuer_fingerprint().unwrap(), ca.fingerprint().unwrap());
        let another = NodeKey::generate().unwrap().into_identity(ca.cluster, 6, pem, ca.certificate_pem.clone());
        assert!(another.is_err_and(|err| err.to_string().contains("another node's")));
        assert!(ca.certify(5, b"no key").is_err());
    }

    #[test]
    fn two_authorities_are_trusted_while_one_takes_the_others_place() {
        let old = ClusterCa::create().unwrap();
        let new = old.successor().unwrap();
        assert_eq!(new.cluster, old.cluster);
        assert_ne!(new.fingerprint(), old.fingerprint());
        let before = old.issue(1).unwrap();
        let both = before.trusting(&[new.certificate_pem.clone(), old.certificate_pem.clone()]).unwrap();
        let prints =
            |identity: &NodeIdentity| identity.authorities_facts().unwrap().iter().map(|facts| facts.fingerprint).collect::<Vec<_>>();
        assert_eq!(prints(&both), [old.fingerprint().unwrap(), new.fingerprint().unwrap()], "the issuer comes first");
        assert_eq!(both.authorities_pem().len(), 2);
        assert!(before.trusting(std::slice::from_ref(&new.certificate_pem)).is_err(), "it would not trust itself");
        let renewed = new.issue(1).unwrap().trusting(&both.authorities_pem()).unwrap();
        assert_eq!(prints(&renewed)[0], new.fingerprint().unwrap());
        assert_eq!(prints(&renewed.trusting(std::slice::from_ref(&new.certificate_pem)).unwrap()).len(), 1);
    }
}

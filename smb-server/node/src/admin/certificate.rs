//! Certificates as operators see and replace them.

use std::{sync::Arc, time::SystemTime};

use axum::{Json, extract::State};
use persistence::{CertificateFacts, CertificateReport};
use serde::{Deserialize, Serialize};

use super::{Admin, Problem};

/// What one node shows, and whom it trusts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateView {
    /// The node.
    pub node: u64,
    /// Why nothing is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<FactsView>,
    /// The authority that issued it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The authorities that it trusts.
    #[serde(default)]
    pub trusted: Vec<FactsView>,
    /// The authority whose key it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<String>,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactsView {
    /// SHA-256.
    pub fingerprint: String,
    /// No longer good after that, seconds since 1970.
    pub until_unix_s: i64,
    /// Days that are left.
    pub days: i64,
}

/// What became of the renewal of the authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewalView {
    /// The one that issues certificates now.
    pub active: String,
    /// The one that did before.
    pub former: String,
    /// Nodes that have not renewed their certificates yet.
    pub behind: Vec<u64>,
}

/// How many authorities are trusted no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Authorities.
    pub retired: usize,
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn facts(facts: &CertificateFacts) -> FactsView {
    let days = facts.left_s(SystemTime::now()).div_euclid(24 * 3600);
    FactsView { fingerprint: hex(&facts.fingerprint), until_unix_s: facts.until_unix_s, days }
}

fn view(node: u64, report: Result<CertificateReport, String>) -> CertificateView {
    match report {
        Ok(report) => CertificateView {
            node,
            error: None,
            certificate: Some(facts(&report.certificate)),
            issuer: Some(hex(&report.issuer)),
            trusted: report.trusted.iter().map(facts).collect(),
            holds: report.holds.as_ref().map(|held| hex(held)),
        },
        Err(error) => CertificateView { node, error: Some(error), certificate: None, issuer: None, trusted: Vec::new(), holds: None },
    }
}

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<Vec<CertificateView>> {
    Json(admin.store.certificates().await.into_iter().map(|(node, report)| view(node.0, report)).collect())
}

pub(super) async fn rotate(State(admin): State<Arc<Admin>>) -> Result<Json<CertificateView>, Problem> {
    let report = admin.store.renew_certificate().await?;
    Ok(Json(view(admin.store.node().0, Ok(report))))
}

pub(super) async fn renew_authority(State(admin): State<Arc<Admin>>) -> Result<Json<RenewalView>, Problem> {
    let renewal = admin.store.renew_authority().await?;
    let behind = renewal.behind.iter().map(|node| node.0).collect();
    Ok(Json(RenewalView { active: hex(&renewal.active), former: hex(&renewal.former), behind }))
}

pub(super) async fn retire_authority(State(admin): State<Arc<Admin>>) -> Result<Json<Retired>, Problem> {
    Ok(Json(Retired { retired: admin.store.retire_authorities().await? }))
}

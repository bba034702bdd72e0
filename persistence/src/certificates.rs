//! Certificates while the cluster runs: admitting nodes through any member, renewing what grows old, replacing the authority.
//!
//! The authority's key is on one node, or on a few. A member without it passes the request of a joining node on to one that has it, which
//! redeems the token itself: the key never moves, and no member can have a certificate made without a token but for itself. Every node
//! renews its certificate when a third of its life is left. Decisions 10 and 12 say why it is like this.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::join_all;
use persistence_model::NodeId;
use raftstore::pki::{CertificateFacts, ClusterCa, NodeIdentity, NodeKey, PkiError, fingerprint_of_pem};
use raftstore::{Admitted, JoinRequest};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::accord::Change;
use crate::call::{self, Answer, Call};
use crate::error::StoreError;
use crate::membership;
use crate::store::{Inner, Store};

/// Longest wait for one holder of the authority.
const ASK_MAX: Duration = Duration::from_secs(8);
/// Longest wait for one node's report.
const REPORT_MAX: Duration = Duration::from_secs(2);
/// Longest wait for all nodes to follow.
const FOLLOW_MAX: Duration = Duration::from_secs(60);
/// Pause between two looks at whether they have.
const FOLLOW_PAUSE: Duration = Duration::from_millis(100);
/// Pause between two looks at one's own certificate.
const LOOK_PAUSE: Duration = Duration::from_secs(3600);
/// Pause before a renewal that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// From this many seconds before its end on, a certificate is warned about.
const WARN_S: i64 = 30 * 24 * 3600;

/// Keeps what must survive the process before it counts: this node's identity, and the authority on nodes that hold it.
pub trait Keeper: Send + Sync + 'static {
    /// Keeps the identity. It is used only after this.
    fn save_identity(&self, identity: &NodeIdentity) -> Result<(), String>;
    /// The authority, if this node holds one.
    fn authority(&self) -> Result<Option<ClusterCa>, String>;
    /// The authority that shall take its place.
    fn next_authority(&self) -> Result<Option<ClusterCa>, String>;
    /// Keeps the authority that shall take the other's place.
    fn save_next_authority(&self, next: &ClusterCa) -> Result<(), String>;
    /// The next one is the authority from now on.
    fn promote_next_authority(&self) -> Result<(), String>;
}

/// What a node shows, and whom it trusts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateReport {
    /// The node's certificate.
    pub certificate: CertificateFacts,
    /// The authority that issued it.
    pub issuer: [u8; 32],
    /// The authorities that it trusts.
    pub trusted: Vec<CertificateFacts>,
    /// The authority whose key it holds.
    pub holds: Option<[u8; 32]>,
}

/// What became of the renewal of the authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The one that issues certificates now.
    pub active: [u8; 32],
    /// The one that did before, still trusted.
    pub former: [u8; 32],
    /// Nodes that have not renewed their certificates yet.
    pub behind: Vec<NodeId>,
}

fn unusable(error: PkiError) -> StoreError {
    StoreError::Refused(error.to_string())
}

impl Store {
    /// What this node shows, and whom it trusts.
    ///
    /// # Errors
    /// Its certificates cannot be read.
    pub fn certificate(&self) -> Result<CertificateReport, StoreError> {
        self.inner.certificate_report()
    }

    /// What every member shows, and whom it trusts, as far as it answers.
    pub async fn certificates(&self) -> Vec<(NodeId, Result<CertificateReport, String>)> {
        self.inner.reports().await
    }

    /// Gets a new key and certificate for this node. Connections made from now on use it; nobody is disconnected.
    ///
    /// # Errors
    /// No node that holds the authority answers, or the disk.
    pub async fn renew_certificate(&self) -> Result<CertificateReport, StoreError> {
        self.inner.renew_own().await?;
        self.inner.certificate_report()
    }

    /// Makes a new authority and has every node use it; the old one stays trusted until it is retired. Only on a node that holds the
    /// authority. Can be repeated when it was interrupted.
    ///
    /// # Errors
    /// This node does not hold the authority, or a member does not know the new one yet; nothing is lost then.
    pub async fn renew_authority(&self) -> Result<Renewal, StoreError> {
        self.inner.renew_authority().await
    }

    /// Stops trusting every authority but the one that issues certificates. Returns how many that were.
    ///
    /// # Errors
    /// A member still shows a certificate of one of them.
    pub async fn retire_authorities(&self) -> Result<usize, StoreError> {
        self.inner.retire_authorities().await
    }
}

impl Inner {
    fn kept_authority(&self) -> Result<Option<ClusterCa>, String> {
        match &self.config.keeper {
            Some(keeper) => keeper.authority(),
            None => Ok(self.config.ca.clone()),
        }
    }

    /// The authority, if this node holds the one that issues certificates now.
    fn held_authority(&self) -> Result<Option<ClusterCa>, String> {
        let Some(held) = self.kept_authority()? else { return Ok(None) };
        let own = held.fingerprint().map_err(|error| error.to_string())?;
        if held.cluster != self.config.identity.cluster {
            return Err("the authority that this node holds is another cluster's".to_owned());
        }
        let is_active = match self.engine.accord().active {
            Some(active) => active == own,
            None => {
                let trusted = self.raft().identity().authorities_facts().map_err(|error| error.to_string())?;
                trusted.iter().any(|facts| facts.fingerprint == own)
            }
        };
        Ok(is_active.then_some(held))
    }

    /// The trusted authorities as a joining node gets them: the issuing one first.
    fn trusted_pem(&self, issuing: &ClusterCa) -> Result<String, String> {
        let accord = self.engine.accord();
        let own = issuing.fingerprint().map_err(|error| error.to_string())?;
        let all = if accord.authorities.is_empty() { self.raft().identity().authorities_pem() } else { accord.authorities };
        let others = all.into_iter().filter(|pem| fingerprint_of_pem(pem) != Ok(own));
        Ok(std::iter::once(issuing.certificate_pem.clone()).chain(others).map(|pem| pem.trim_end().to_owned() + "\n").collect())
    }

    /// Admits a node that came here: with the own authority, or with that of another member.
    pub(crate) async fn admit(self: &Arc<Self>, request: JoinRequest) -> Result<Admitted, String> {
        if let Some(authority) = self.held_authority()? {
            return self.admit_with(&authority, request).await;
        }
        let JoinRequest { secret, node_id, address, public_key } = request;
        let call = Call::Admit { secret, node_id, address, public_key };
        match self.ask_holders(&call).await {
            Some(Answer::Admitted { node_id, certificate_pem, authorities_pem }) => {
                Ok(Admitted { node_id, certificate_pem, authorities_pem })
            }
            Some(Answer::Refused(because)) => Err(because),
            _ => Err(NO_HOLDER.to_owned()),
        }
    }

    async fn admit_with(self: &Arc<Self>, authority: &ClusterCa, request: JoinRequest) -> Result<Admitted, String> {
        let public_key = request.public_key.clone();
        let node_id = membership::redeem(self, request).await?;
        let certificate_pem = authority.certify(node_id, &public_key).map_err(|error| error.to_string())?;
        Ok(Admitted { node_id, certificate_pem, authorities_pem: self.trusted_pem(authority)? })
    }

    /// Another member passes on a node that came to it.
    pub(crate) async fn admit_for_another(self: &Arc<Self>, request: JoinRequest) -> Answer {
        match self.held_authority() {
            Ok(Some(authority)) => match self.admit_with(&authority, request).await {
                Ok(Admitted { node_id, certificate_pem, authorities_pem }) => {
                    Answer::Admitted { node_id, certificate_pem, authorities_pem }
                }
                Err(because) => Answer::Refused(because),
            },
            Ok(None) => Answer::NotMine,
            Err(because) => Answer::Refused(because),
        }
    }

    /// A member wants a certificate, which it gets for nobody but itself.
    pub(crate) fn certify(&self, from: NodeId, public_key: &[u8]) -> Answer {
        let made = self.held_authority().and_then(|held| {
            let Some(authority) = held else { return Ok(Answer::NotMine) };
            let certificate_pem = authority.certify(from.0, public_key).map_err(|error| error.to_string())?;
            tracing::info!(node = from.0, "a member got a new certificate");
            Ok(Answer::Certified { certificate_pem, authority_pem: authority.certificate_pem })
        });
        made.unwrap_or_else(Answer::Refused)
    }

    /// The first answer of a member that holds the authority.
    async fn ask_holders(&self, call: &Call) -> Option<Answer> {
        let status = self.raft().status();
        let leader = status.leader.map(|leader| leader.node_id);
        let mut members: Vec<u64> = status.members.keys().copied().filter(|id| *id != self.node.0).collect();
        members.sort_by_key(|id| (Some(*id) != leader, *id));
        // One after the other: a token is redeemed once, whoever is asked.
        for member in members {
            let asked = self.raft().call(member, call::encode(call), ASK_MAX).await;
            match asked.ok().and_then(|bytes| call::decode::<Answer>(&bytes)) {
                Some(Answer::NotMine | Answer::Nonsense) | None => {}
                Some(answer) => return Some(answer),
            }
        }
        None
    }

    fn certificate_report(&self) -> Result<CertificateReport, StoreError> {
        let identity = self.raft().identity();
        Ok(CertificateReport {
            certificate: identity.facts().map_err(unusable)?,
            issuer: identity.issuer_fingerprint().map_err(unusable)?,
            trusted: identity.authorities_facts().map_err(unusable)?,
            holds: self.kept_authority().map_err(StoreError::Refused)?.map(|held| held.fingerprint()).transpose().map_err(unusable)?,
        })
    }

    pub(crate) fn report_certificates(&self) -> Answer {
        self.certificate_report().map_or_else(|error| Answer::Refused(error.to_string()), Answer::Certificates)
    }

    async fn reports(&self) -> Vec<(NodeId, Result<CertificateReport, String>)> {
        let members: Vec<u64> = self.raft().status().members.keys().copied().collect();
        join_all(members.into_iter().map(|member| async move {
            if member == self.node.0 {
                return (self.node, self.certificate_report().map_err(|error| error.to_string()));
            }
            let asked = self.raft().call(member, call::encode(&Call::Certificates), REPORT_MAX).await;
            let report = match asked.map(|bytes| call::decode::<Answer>(&bytes)) {
                Ok(Some(Answer::Certificates(report))) => Ok(report),
                Ok(Some(Answer::Refused(because))) => Err(because),
                Ok(_) => Err(format!("node {member} does not know the question: it runs an older program")),
                Err(error) => Err(error.to_string()),
            };
            (NodeId(member), report)
        }))
        .await
    }

    /// Gets a new key and certificate, keeps it, uses it.
    async fn renew_own(&self) -> Result<(), StoreError> {
        let _turn = self.certificate_turn.lock().await;
        let identity = self.raft().identity();
        let key = NodeKey::generate().map_err(unusable)?;
        let public_key = key.public();
        let (certificate_pem, authority_pem) = match self.held_authority().map_err(StoreError::Refused)? {
            Some(authority) => (authority.certify(self.node.0, &public_key).map_err(unusable)?, authority.certificate_pem),
            None => match self.ask_holders(&Call::Certify { public_key }).await {
                Some(Answer::Certified { certificate_pem, authority_pem }) => (certificate_pem, authority_pem),
                Some(Answer::Refused(because)) => return Err(StoreError::Refused(because)),
                _ => return Err(StoreError::Refused(NO_HOLDER.to_owned())),
            },
        };
        let issuer = fingerprint_of_pem(&authority_pem).map_err(unusable)?;
        if !identity.authorities_facts().map_err(unusable)?.iter().any(|facts| facts.fingerprint == issuer) {
            return Err(StoreError::Refused("the new certificate is of an authority that this node does not trust".to_owned()));
        }
        let trusted = identity.authorities_pem();
        let renewed = key.into_identity(identity.cluster, identity.node_id, certificate_pem, authority_pem).map_err(unusable)?;
        // Its issuer alone is known to it so far.
        let first = renewed.ca_pem.clone();
        let others = trusted.into_iter().filter(|pem| fingerprint_of_pem(pem) != Ok(issuer));
        let ca_pem = std::iter::once(first).chain(others).map(|pem| pem.trim_end().to_owned() + "\n").collect();
        self.use_identity(NodeIdentity { ca_pem, ..renewed })?;
        tracing::info!("this node has a new certificate");
        Ok(())
    }

    fn use_identity(&self, identity: NodeIdentity) -> Result<(), StoreError> {
        if let Some(keeper) = &self.config.keeper {
            keeper.save_identity(&identity).map_err(StoreError::Refused)?;
        }
        self.raft().use_identity(identity).map_err(unusable)
    }

    /// Keeps this node's certificate young, and its trust what was agreed on.
    pub(crate) async fn keep_certificates(self: Arc<Self>) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(async {
            let mut accord = self.engine.watch_accord();
            loop {
                accord.mark_unchanged();
                let pause = match self.look_at_certificate().await {
                    Ok(true) => LOOK_PAUSE,
                    Ok(false) => RETRY_PAUSE,
                    Err(error) => {
                        tracing::warn!(%error, "this node's certificate could not be renewed; trying again");
                        RETRY_PAUSE
                    }
                };
                tokio::select! {
                    changed = accord.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(pause) => {}
                }
            }
        })
        .await;
    }

    /// Does what is due. Says whether everything was done: before this node is a member, nobody would answer it.
    async fn look_at_certificate(&self) -> Result<bool, StoreError> {
        let accord = self.engine.accord();
        if !accord.authorities.is_empty() {
            let _turn = self.certificate_turn.lock().await;
            let identity = self.raft().identity();
            let mut wanted: Vec<_> =
                accord.authorities.iter().map(|pem| fingerprint_of_pem(pem)).collect::<Result<_, _>>().map_err(unusable)?;
            let mut trusted: Vec<_> = identity.authorities_facts().map_err(unusable)?.iter().map(|facts| facts.fingerprint).collect();
            wanted.sort_unstable();
            trusted.sort_unstable();
            if wanted != trusted {
                self.use_identity(identity.trusting(&accord.authorities).map_err(unusable)?)?;
                tracing::info!(authorities = wanted.len(), "this node trusts what was agreed on");
            }
        }
        self.take_up_next_authority().map_err(StoreError::Refused)?;
        let identity = self.raft().identity();
        let (facts, now) = (identity.facts().map_err(unusable)?, SystemTime::now());
        let issuer = identity.issuer_fingerprint().map_err(unusable)?;
        let left_s = facts.left_s(now);
        if left_s < 0 {
            tracing::error!("this node's certificate is over: other nodes refuse it; see docs/operations/certificates.md");
        } else if left_s < WARN_S {
            tracing::warn!(days = left_s / (24 * 3600), "this node's certificate is over soon");
        }
        for authority in identity.authorities_facts().map_err(unusable)? {
            let left_s = authority.left_s(now);
            if left_s < WARN_S * 6 {
                tracing::warn!(
                    days = left_s / (24 * 3600),
                    "an authority of the cluster is over soon: renew it with `holdfast authority renew`"
                );
            }
        }
        if !facts.is_old(now) && accord.active.is_none_or(|active| active == issuer) {
            return Ok(true);
        }
        if !self.raft().status().members.contains_key(&self.node.0) {
            return Ok(false);
        }
        self.renew_own().await?;
        Ok(true)
    }

    /// A renewal that was interrupted between the agreement and the file.
    fn take_up_next_authority(&self) -> Result<(), String> {
        let (Some(keeper), Some(active)) = (&self.config.keeper, self.engine.accord().active) else { return Ok(()) };
        match keeper.next_authority()? {
            Some(next) if next.fingerprint().map_err(|error| error.to_string())? == active => keeper.promote_next_authority(),
            _ => Ok(()),
        }
    }

    async fn renew_authority(self: &Arc<Self>) -> Result<Renewal, StoreError> {
        let keeper = self.config.keeper.clone().ok_or_else(|| StoreError::Refused("this node keeps no files".to_owned()))?;
        let Some(held) = self.held_authority().map_err(StoreError::Refused)? else {
            let holders: Vec<String> = self.holders().await.iter().map(|node| format!("node {node}")).collect();
            let where_to =
                if holders.is_empty() { "no node that answers holds it".to_owned() } else { format!("ask {}", holders.join(" or ")) };
            return Err(StoreError::Refused(format!("this node does not hold the cluster's authority; {where_to}")));
        };
        let next = match keeper.next_authority().map_err(StoreError::Refused)? {
            Some(next) => next,
            None => {
                let next = held.successor().map_err(unusable)?;
                keeper.save_next_authority(&next).map_err(StoreError::Refused)?;
                next
            }
        };
        let (former, active) = (held.fingerprint().map_err(unusable)?, next.fingerprint().map_err(unusable)?);
        self.propose_accord(Change::Trust { pems: vec![held.certificate_pem.clone(), next.certificate_pem.clone()] }).await?;
        // A node that has not heard of the new one would turn the others away for good.
        let behind = self.wait_all(|report| report.trusted.iter().any(|facts| facts.fingerprint == active)).await;
        if !behind.is_empty() {
            let because = format!(
                "{} know the new authority yet; nothing has changed: start them, or remove them, and run this again",
                all_of(&behind, "does not", "do not")
            );
            return Err(StoreError::Refused(because));
        }
        self.propose_accord(Change::Activate { fingerprint: active }).await?;
        self.take_up_next_authority().map_err(StoreError::Refused)?;
        let behind = self.wait_all(|report| report.issuer == active).await;
        Ok(Renewal { active, former, behind })
    }

    async fn retire_authorities(self: &Arc<Self>) -> Result<usize, StoreError> {
        let accord = self.engine.accord();
        let Some(active) = accord.active else {
            return Err(StoreError::Refused(
                "there is one authority, and it is in use; `holdfast authority renew` makes another".to_owned(),
            ));
        };
        let behind: Vec<NodeId> = self.behind(&|report| report.issuer == active).await;
        if !behind.is_empty() {
            let because = format!(
                "{} show a certificate of the present authority; start them, or remove them, and run this again",
                all_of(&behind, "does not answer or does not", "do not answer or do not")
            );
            return Err(StoreError::Refused(because));
        }
        let prints = accord.authorities.iter().map(|pem| fingerprint_of_pem(pem)).collect::<Result<Vec<_>, _>>().map_err(unusable)?;
        let former: Vec<_> = prints.into_iter().filter(|fingerprint| *fingerprint != active).collect();
        for fingerprint in &former {
            self.propose_accord(Change::Forget { fingerprint: *fingerprint }).await?;
        }
        Ok(former.len())
    }

    /// The nodes that hold the authority that issues certificates.
    async fn holders(&self) -> Vec<NodeId> {
        let accord = self.engine.accord();
        let reports = self.reports().await;
        let holds = |report: &CertificateReport| report.holds.is_some_and(|held| accord.active.is_none_or(|active| active == held));
        reports.into_iter().filter(|(_, report)| report.as_ref().is_ok_and(holds)).map(|(node, _)| node).collect()
    }

    /// The members of which something is not known to be true.
    async fn behind(&self, is_true: &impl Fn(&CertificateReport) -> bool) -> Vec<NodeId> {
        let reports = self.reports().await;
        reports.into_iter().filter(|(_, report)| !report.as_ref().is_ok_and(is_true)).map(|(node, _)| node).collect()
    }

    async fn wait_all(&self, is_true: impl Fn(&CertificateReport) -> bool) -> Vec<NodeId> {
        let deadline = Instant::now() + FOLLOW_MAX;
        loop {
            let behind = self.behind(&is_true).await;
            // Who is down will not follow however long it is waited for.
            let hopeless = self.engine.with_state(|state| behind.iter().all(|node| state.node(*node).is_some_and(|node| !node.is_live())));
            if behind.is_empty() || hopeless || Instant::now() >= deadline || self.stop.is_cancelled() {
                return behind;
            }
            tokio::time::sleep(FOLLOW_PAUSE).await;
        }
    }
}

const NO_HOLDER: &str =
    "no member that holds the cluster's authority answers: start one, or give another node a copy with `holdfast authority import`";

fn all_of(nodes: &[NodeId], one: &str, many: &str) -> String {
    match nodes {
        [node] => format!("node {node} {one}"),
        nodes => format!("nodes {} {many}", nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

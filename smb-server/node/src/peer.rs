//! Requests between the programs of nodes, over the authenticated connections of the replication.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use persistence::{AskError, Store};
use persistence_model::NodeId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    audit::{AuditLog, Entry},
    doors::{self, Doors},
    registrations::{self, Registrations},
};

/// Size of an answer from which on no further audit entry is added, bytes.
const PAGE_BYTES: usize = 32 << 10;

/// A request, as JSON. The variant says which part of the program answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Changes the SMB addresses of the node.
    Addresses(doors::Question),
    /// Lists or acts on witness registrations.
    Witness(registrations::Question),
    /// The newest audit entries with a number below `before`.
    Audit { before: Option<u64>, limit: usize },
}

/// Audit entries, newest first.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AuditPage {
    pub(crate) entries: Vec<Entry>,
    /// Older entries exist.
    pub(crate) more: bool,
}

/// A request without a usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoReply {
    /// Text for the operator.
    pub(crate) because: String,
    /// A retry may succeed.
    pub(crate) is_worth_waiting: bool,
}

/// Answers the requests of other nodes from now on.
pub fn answer(store: &Store, registrations: &Arc<Registrations>, doors: &Arc<Doors>, audit: &AuditLog) {
    let (registrations, doors, audit) = (Arc::downgrade(registrations), Arc::downgrade(doors), audit.clone());
    store.answer_programs(Arc::new(move |from, question| {
        let (registrations, doors, audit) = (registrations.upgrade(), doors.upgrade(), audit.clone());
        async move {
            let request = match serde_json::from_slice::<Request>(&question) {
                Ok(request) => request,
                // A request of a newer program. The empty answer matches no reply type.
                Err(error) => {
                    tracing::debug!(%from, %error, "a question of another node's program is not understood");
                    return Vec::new();
                }
            };
            match (request, registrations, doors) {
                (Request::Addresses(question), _, Some(doors)) => encode(&doors.answer(question).await),
                (Request::Witness(question), Some(registrations), _) => encode(&registrations.answer(question)),
                (Request::Audit { before, limit }, ..) => {
                    page(&audit, before, limit).await.map_or_else(|_| Vec::new(), |page| encode(&page))
                }
                // The node is stopping.
                (Request::Addresses(_) | Request::Witness(_), ..) => Vec::new(),
            }
        }
        .boxed()
    }));
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

async fn page(audit: &AuditLog, before: Option<u64>, limit: usize) -> Result<AuditPage, &'static str> {
    let found = audit.read(before, limit).await?;
    let (mut entries, mut bytes, all) = (Vec::new(), 0, found.len());
    for entry in found {
        bytes += serde_json::to_vec(&entry).map_or(0, |text| text.len());
        if bytes > PAGE_BYTES && !entries.is_empty() {
            break;
        }
        entries.push(entry);
    }
    let more = entries.len() < all;
    Ok(AuditPage { entries, more })
}

/// Sends a request to the program of another node.
pub(crate) async fn ask<T: DeserializeOwned>(store: &Store, node: NodeId, request: &Request, timeout: Duration) -> Result<T, NoReply> {
    let question = serde_json::to_vec(request).map_err(|error| NoReply { because: error.to_string(), is_worth_waiting: false })?;
    let answer = store
        .ask_program(node, question, timeout)
        .await
        .map_err(|error| NoReply { because: error.to_string(), is_worth_waiting: matches!(error, AskError::Unanswered { .. }) })?;
    serde_json::from_slice(&answer).map_err(|_| odd(node))
}

/// The error for an answer of an unexpected type.
pub(crate) fn odd(node: NodeId) -> NoReply {
    NoReply { because: format!("node {node} gave an answer that does not fit: upgrade it to this version"), is_worth_waiting: false }
}

/// One page of another node's audit log.
pub(crate) async fn audit_of(
    store: &Store,
    node: NodeId,
    before: Option<u64>,
    limit: usize,
    timeout: Duration,
) -> Result<AuditPage, String> {
    ask(store, node, &Request::Audit { before, limit }, timeout).await.map_err(|none| none.because)
}

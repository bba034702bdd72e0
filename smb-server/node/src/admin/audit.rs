//! Routes of the audit log: of the asked node, or of all live nodes.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
};
use futures::future::join_all;
use persistence_model::{Node, NodeId};
use serde::{Deserialize, Serialize};

use super::{
    Admin, Problem,
    change::{Answer, Done},
};
use crate::{
    audit::{Entries, Entry, READ_ENTRIES_MAX},
    peer::{self, AuditPage},
    registrations::Silent,
};

/// Default number of entries.
pub const LIMIT_DEFAULT: usize = 100;
/// Timeout for one page of another node.
const ASK_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    limit: Option<usize>,
    #[serde(default)]
    all_nodes: bool,
}

/// A local command that reports itself to the running node.
#[derive(Debug, Serialize, Deserialize)]
pub struct CommandNote {
    /// Name of the command.
    pub command: String,
    /// Its arguments and its failure, if any.
    pub about: serde_json::Value,
}

pub(super) async fn list(State(admin): State<Arc<Admin>>, Query(wanted): Query<Wanted>) -> Answer<Entries> {
    let limit = wanted.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=READ_ENTRIES_MAX).contains(&limit) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, format!("limit must be 1 to {READ_ENTRIES_MAX}")));
    }
    let own = admin.audit.read(None, limit).await.map_err(|because| Problem::new(StatusCode::SERVICE_UNAVAILABLE, because))?;
    let mut found = Entries { entries: own, unanswered: Vec::new() };
    if wanted.all_nodes {
        let others: Vec<NodeId> = admin.store.with_state(|state| {
            state.nodes().filter(|node| Node::is_live(node) && node.id != admin.store.node()).map(|node| node.id).collect()
        });
        let answers = join_all(others.iter().map(|node| of_node(&admin, *node, limit))).await;
        for (node, answer) in others.into_iter().zip(answers) {
            match answer {
                Ok(entries) => found.entries.extend(entries),
                Err(because) => found.unanswered.push(Silent { node: node.0, because }),
            }
        }
    }
    found.entries.sort_by(|a, b| (&a.time, a.node, a.number).cmp(&(&b.time, b.node, b.number)));
    found.entries.drain(..found.entries.len().saturating_sub(limit));
    Ok(Json(found))
}

/// The newest entries of another node.
async fn of_node(admin: &Admin, node: NodeId, limit: usize) -> Result<Vec<Entry>, String> {
    let mut all: Vec<Entry> = Vec::new();
    loop {
        let before = all.last().map(|last| last.number);
        let page = peer::audit_of(&admin.store, node, before, limit - all.len(), ASK_MAX).await?;
        let AuditPage { entries, more } = page;
        let is_over = !more || entries.is_empty();
        all.extend(entries);
        all.truncate(limit);
        if is_over || all.len() == limit {
            return Ok(all);
        }
    }
}

/// Does nothing itself: the layer around every operator route writes the audit line.
pub(super) async fn note(Json(_note): Json<CommandNote>) -> Json<Done> {
    Json(Done { done: true })
}

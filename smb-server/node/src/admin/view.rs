//! What operators can see. The shapes here are the JSON of the API and of `--json`.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use persistence_model::NodeState;
use serde::{Deserialize, Serialize};

use super::{Admin, caller::Requester};
use crate::principal::name_of;

/// GET /api/v1/status without a token: no shares, users, clients or addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BriefStatus {
    /// The answering node.
    pub node: u64,
    /// It may answer clients.
    pub serving: bool,
    /// The Raft leader it knows.
    pub leader: Option<u64>,
    /// How many nodes there are.
    pub nodes: usize,
    /// How many of them are up and not draining.
    pub nodes_up: usize,
}

/// GET /api/v1/status, for viewers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The answering node.
    pub node: u64,
    /// The cluster's name.
    pub net_name: String,
    /// It may answer clients.
    pub serving: bool,
    /// Its life.
    pub incarnation: Option<u64>,
    /// The Raft leader it knows.
    pub leader: Option<u64>,
    /// Raft term.
    pub term: u64,
    /// Its role: Leader, Follower, …
    pub role: String,
    /// Last log index that this node has applied.
    pub applied: u64,
    /// Log time, ms with a leader.
    pub log_time_ms: u64,
    /// All nodes.
    pub nodes: Vec<NodeView>,
    /// Session records of the cluster.
    pub sessions: usize,
    /// Open records of the cluster.
    pub opens: usize,
    /// Those without a client at the moment.
    pub disconnected_opens: usize,
    /// SMB connections of this node.
    pub connections: usize,
    /// Witness registrations at this node.
    pub registrations: usize,
    /// The format level that the cluster has agreed on.
    #[serde(default)]
    pub level: u16,
    /// The newest level that this node's program knows.
    #[serde(default)]
    pub newest_level: u16,
    /// The version of this node's program.
    #[serde(default)]
    pub program: String,
    /// Days until this node's certificate is over; negative afterwards.
    #[serde(default)]
    pub certificate_days: Option<i64>,
    /// Free bytes on the disk of the data directory.
    #[serde(default)]
    pub disk_free_bytes: Option<u64>,
    /// What somebody should look at.
    #[serde(default)]
    pub attention: Vec<String>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// Id.
    pub id: u64,
    /// Name.
    pub name: String,
    /// up, draining or down.
    pub state: String,
    /// Its life.
    pub incarnation: u64,
    /// SMB addresses.
    pub smb: Vec<SocketAddr>,
    /// The admin API.
    pub admin: SocketAddr,
    /// Opens attached to it.
    pub opens: usize,
    /// It votes.
    pub voter: bool,
    /// Where other nodes reach it.
    #[serde(default)]
    pub raft: String,
    /// The newest format level that it was heard to know.
    #[serde(default)]
    pub newest_level: Option<u16>,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// Name.
    pub name: String,
    /// SID.
    pub sid: String,
    /// May not log on.
    pub disabled: bool,
    /// Locked out for a time, after too many failed logons.
    #[serde(default)]
    pub locked_out: bool,
    /// Failed logons since the last success, where the cluster counts them.
    #[serde(default)]
    pub failed_logons: u32,
    /// The user on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// That user's group there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// The groups that the user belongs to, also through other groups, by name.
    #[serde(default)]
    pub groups: Vec<String>,
}

pub(super) async fn status(State(admin): State<Arc<Admin>>, Extension(requester): Extension<Requester>) -> Response {
    if requester.caller.is_some() { Json(full_status(&admin)).into_response() } else { Json(brief_status(&admin)).into_response() }
}

fn brief_status(admin: &Admin) -> BriefStatus {
    let own = admin.store.status();
    admin.store.with_state(|state| BriefStatus {
        node: admin.store.node().0,
        serving: own.lease_valid,
        leader: own.raft.leader.map(|leader| leader.node_id),
        nodes: state.nodes().count(),
        nodes_up: state.nodes().filter(|node| node.state == NodeState::Up).count(),
    })
}

fn full_status(admin: &Admin) -> Status {
    let own = admin.store.status();
    let certificate = admin.store.certificate().ok();
    let certificate_days = certificate.map(|report| report.certificate.left_s(SystemTime::now()).div_euclid(24 * 3600));
    let disk_free_bytes = crate::identity::room(&admin.config.data_dir).ok().map(|(free, _)| free);
    let attention = attention(&own, certificate_days, disk_free_bytes);
    let connections = admin.current.read().as_ref().map_or(0, |server| server.connections().len());
    admin.store.with_state(|state| Status {
        node: admin.store.node().0,
        net_name: state.cluster().map(|c| c.net_name.clone()).unwrap_or_default(),
        serving: own.lease_valid,
        incarnation: own.incarnation.map(|i| i.0),
        leader: own.raft.leader.map(|l| l.node_id),
        term: own.raft.term,
        role: format!("{:?}", own.raft.role),
        applied: own.raft.applied,
        log_time_ms: own.raft.time_ms,
        nodes: state
            .nodes()
            .map(|node| NodeView {
                id: node.id.0,
                name: node.name.clone(),
                state: match node.state {
                    NodeState::Up => "up",
                    NodeState::Draining => "draining",
                    NodeState::Down => "down",
                }
                .to_owned(),
                incarnation: node.incarnation.0,
                smb: node.addresses.smb.clone(),
                admin: node.addresses.admin,
                opens: state.open_count_of_node(node.id),
                voter: own.raft.members.get(&node.id.0).is_some_and(|m| m.voter),
                raft: own.raft.members.get(&node.id.0).map(|m| m.address.clone()).unwrap_or_default(),
                newest_level: own.raft.members.get(&node.id.0).and_then(|m| m.newest_version),
            })
            .collect(),
        sessions: state.session_count(),
        opens: state.open_count(),
        disconnected_opens: state.detached_count(),
        connections,
        registrations: admin.witness.registration_count(),
        level: own.level,
        newest_level: own.newest_level,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        certificate_days,
        disk_free_bytes,
        attention,
    })
}

/// Days of a certificate below which somebody should look.
const CERTIFICATE_DAYS_LOW: i64 = 30;
/// Room below which somebody should look.
const DISK_BYTES_LOW: u64 = 512 << 20;

fn attention(own: &persistence::StoreStatus, days: Option<i64>, free: Option<u64>) -> Vec<String> {
    let mut attention: Vec<String> =
        own.refusals.iter().map(|(node, because)| format!("node {node} refuses this node: {because}")).collect();
    if let Some(days) = days.filter(|days| *days < CERTIFICATE_DAYS_LOW) {
        attention.push(format!("this node's certificate is over in {days} days and could not be renewed: see `holdfast certificate show`"));
    }
    if let Some(free) = free.filter(|free| *free < DISK_BYTES_LOW) {
        attention.push(format!("only {} MiB are free on the disk of the data directory: make room", free >> 20));
    }
    if own.level < own.newest_level && own.raft.leader.is_some_and(|leader| leader.node_id == own.raft.node_id) {
        let behind = own.raft.members.iter().filter(|(_, member)| member.newest_version.is_none_or(|newest| newest <= own.level));
        let behind: Vec<String> = behind.map(|(id, _)| id.to_string()).collect();
        if !behind.is_empty() {
            attention.push(format!("format level {} until these nodes are upgraded or removed: {}", own.level, behind.join(", ")));
        }
    }
    attention
}

pub(super) async fn users(State(admin): State<Arc<Admin>>) -> Json<Vec<UserView>> {
    Json(admin.store.with_state(|state| {
        let view = |user: &persistence_model::User| UserView {
            name: user.name.clone(),
            sid: user.sid.to_string(),
            disabled: user.disabled,
            locked_out: user.is_locked_out(),
            failed_logons: user.failures.count,
            uid: user.unix.map(|unix| unix.uid),
            gid: user.unix.and_then(|unix| unix.gid),
            groups: state.groups_of(&[user.sid.clone()].into()).iter().map(|group| name_of(state, group)).collect(),
        };
        state.users().map(view).collect()
    }))
}

//! Local groups, and what users and groups are on disk.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use persistence_model::{Command, Group, UnixUser};
use serde::{Deserialize, Serialize};

use super::{
    Admin, Problem,
    change::{Answer, Done, carry_out},
};
use crate::principal::{name_of, sid_of};

/// One group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// Name.
    pub name: String,
    /// SID.
    pub sid: String,
    /// For people.
    pub comment: String,
    /// The group on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Every cluster has it.
    pub built_in: bool,
    /// Users and groups in it, by name where they have one.
    pub members: Vec<String>,
}

/// A group that is made or changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRequest {
    /// Name.
    pub name: String,
    /// For people; left out: empty, or as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The group on disk; left out: none, or as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Changed: it has no group on disk any more.
    #[serde(default)]
    pub no_gid: bool,
}

/// Membership.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberRequest {
    /// The group's name.
    pub group: String,
    /// A user's or group's name, or a SID.
    pub member: String,
    /// In, or out.
    pub on: bool,
}

/// What a user is on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserMapping {
    /// The user's name.
    pub name: String,
    /// The user on disk; left out: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// That user's group there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// # Errors
/// A group on disk without a user.
pub(super) fn unix_user(uid: Option<u32>, gid: Option<u32>) -> Result<Option<UnixUser>, Problem> {
    match (uid, gid) {
        (None, Some(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "a gid goes with a uid")),
        (uid, gid) => Ok(uid.map(|uid| UnixUser { uid, gid })),
    }
}

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<Vec<GroupView>> {
    Json(admin.store.with_state(|state| {
        let view = |group: &Group| GroupView {
            name: group.name.clone(),
            sid: group.sid.to_string(),
            comment: group.comment.clone(),
            gid: group.gid,
            built_in: group.is_built_in(),
            members: group.members.iter().map(|member| name_of(state, member)).collect(),
        };
        state.groups().map(view).collect()
    }))
}

pub(super) async fn add(State(admin): State<Arc<Admin>>, Json(request): Json<GroupRequest>) -> Answer<Done> {
    let command = Command::GroupAdd { name: request.name, comment: request.comment.unwrap_or_default(), gid: request.gid };
    carry_out(&admin, command).await
}

pub(super) async fn set(State(admin): State<Arc<Admin>>, Json(request): Json<GroupRequest>) -> Answer<Done> {
    if request.no_gid && request.gid.is_some() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "gid and no_gid exclude each other"));
    }
    let gid = if request.no_gid { Some(None) } else { request.gid.map(Some) };
    let command = Command::GroupChange { name: request.name, comment: request.comment, gid };
    carry_out(&admin, command).await
}

pub(super) async fn remove(State(admin): State<Arc<Admin>>, Json(group): Json<super::change::Named>) -> Answer<Done> {
    carry_out(&admin, Command::GroupRemove { name: group.name }).await
}

pub(super) async fn member(State(admin): State<Arc<Admin>>, Json(request): Json<MemberRequest>) -> Answer<Done> {
    let member =
        admin.store.with_state(|state| sid_of(state, &request.member)).map_err(|unknown| Problem::new(StatusCode::BAD_REQUEST, unknown))?;
    carry_out(&admin, Command::GroupMember { group: request.group, member, on: request.on }).await
}

pub(super) async fn user_map(State(admin): State<Arc<Admin>>, Json(request): Json<UserMapping>) -> Answer<Done> {
    carry_out(&admin, Command::UserMap { unix: unix_user(request.uid, request.gid)?, name: request.name }).await
}

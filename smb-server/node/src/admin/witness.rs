//! What operators see of the witness and what they have it tell. Everything here is about all live nodes, whichever is asked.

use std::{net::IpAddr, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use persistence_model::{Node, NodeId, NodeState};
use serde::{Deserialize, Serialize};

use super::{Admin, Problem};
use crate::{
    cluster_view::addresses,
    registrations::{AddressWord, Found, Request, Told},
};

/// Longest name in a request, characters.
const NAME_CHARACTERS_MAX: usize = 255;
/// Addresses of one request.
const ADDRESSES_MAX: usize = 64;

/// A client and the node where it should go.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClientMove {
    /// The client computer, as `holdfast witness list` shows it; case does not matter.
    pub client: String,
    /// The node.
    pub to: u64,
}

/// A share and the node where its clients should go: an asymmetric one is owned by that node from then on.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShareMove {
    /// The share.
    pub share: String,
    /// The node.
    pub to: u64,
    /// Only this client.
    #[serde(default)]
    pub client: Option<String>,
}

/// Registrations to end: a client's, or one.
#[derive(Debug, Serialize, Deserialize)]
pub struct Unregister {
    /// Of this client.
    #[serde(default)]
    pub client: Option<String>,
    /// The one of this number.
    #[serde(default)]
    pub id: Option<String>,
}

/// Something to tell: the state of one address, or changes of addresses.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Notify {
    /// The address of which a state is told.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// That state.
    #[serde(default)]
    pub available: Option<bool>,
    /// Addresses that are told to be online.
    #[serde(default)]
    pub online: Vec<IpAddr>,
    /// Addresses that are told to be offline.
    #[serde(default)]
    pub offline: Vec<IpAddr>,
    /// Only to this client.
    #[serde(default)]
    pub client: Option<String>,
}

fn bad(error: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, error)
}

fn check_name(what: &str, name: &str) -> Result<(), Problem> {
    if name.is_empty() || name.chars().count() > NAME_CHARACTERS_MAX {
        return Err(bad(format!("the name of the {what} must have 1 to {NAME_CHARACTERS_MAX} characters")));
    }
    Ok(())
}

/// Where clients of a node find it.
pub(super) fn destinations(admin: &Admin, id: u64) -> Result<Vec<AddressWord>, Problem> {
    admin.store.with_state(|state| {
        let Some(node) = state.node(NodeId(id)) else {
            let known: Vec<String> = state.nodes().map(|node| node.id.to_string()).collect();
            return Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no node {id}; there are {}", known.join(", "))));
        };
        let because = match node.state {
            NodeState::Up => return Ok(words(node)),
            NodeState::Draining => format!("node {id} is being drained: name another one, or `holdfast node undrain {id}` first"),
            NodeState::Down => format!("node {id} is down: name one that serves"),
        };
        Err(Problem::new(StatusCode::CONFLICT, because))
    })
}

fn words(node: &Node) -> Vec<AddressWord> {
    addresses(node).into_iter().map(|ip| AddressWord { ip, online: true }).collect()
}

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<Found> {
    Json(admin.registrations.list().await)
}

pub(super) async fn client_move(State(admin): State<Arc<Admin>>, Json(wish): Json<ClientMove>) -> Result<Json<Told>, Problem> {
    check_name("client", &wish.client)?;
    let to = destinations(&admin, wish.to)?;
    Ok(Json(admin.registrations.carry_out(&Request::Move { client: wish.client, to }).await))
}

pub(super) async fn share_move(State(admin): State<Arc<Admin>>, Json(wish): Json<ShareMove>) -> Result<Json<Told>, Problem> {
    check_name("share", &wish.share)?;
    wish.client.as_deref().map_or(Ok(()), |client| check_name("client", client))?;
    let Some((share, owner)) = admin.store.with_state(|state| state.share_by_name(&wish.share).map(|share| (share.id, share.owner))) else {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no share {:?}; `holdfast share list` names them", wish.share)));
    };
    let to = destinations(&admin, wish.to)?;
    if owner.is_some() {
        if wish.client.is_some() {
            return Err(bad(format!("{:?} has an owner, and moves for all its clients at once: leave out the client", wish.share)));
        }
        admin.store.move_share(share, NodeId(wish.to)).await?;
        return Ok(Json(Told { owner: Some(wish.to), ..Told::default() }));
    }
    Ok(Json(admin.registrations.carry_out(&Request::MoveShare { share: wish.share, client: wish.client, to }).await))
}

pub(super) async fn unregister(State(admin): State<Arc<Admin>>, Json(wish): Json<Unregister>) -> Result<Json<Told>, Problem> {
    match (&wish.client, &wish.id) {
        (Some(client), None) => check_name("client", client)?,
        (None, Some(id)) if id.parse::<uuid::Uuid>().is_ok() => {}
        (None, Some(id)) => return Err(bad(format!("{id:?} is no number of a registration; `holdfast witness list --json` shows them"))),
        _ => return Err(bad("name a client or the id of a registration, and not both")),
    }
    Ok(Json(admin.registrations.carry_out(&Request::Unregister { client: wish.client, id: wish.id }).await))
}

pub(super) async fn notify(State(admin): State<Arc<Admin>>, Json(wish): Json<Notify>) -> Result<Json<Told>, Problem> {
    wish.client.as_deref().map_or(Ok(()), |client| check_name("client", client))?;
    let count = wish.online.len() + wish.offline.len();
    let request = match (wish.address, wish.available) {
        (Some(address), Some(available)) if count == 0 => Request::NotifyState { address, available, client: wish.client },
        (None, None) if (1..=ADDRESSES_MAX).contains(&count) => {
            let word = |online| move |ip: &IpAddr| AddressWord { ip: *ip, online };
            let addresses = wish.online.iter().map(word(true)).chain(wish.offline.iter().map(word(false))).collect();
            Request::NotifyAddresses { addresses, client: wish.client }
        }
        _ => {
            let error = format!("name an address and whether it is available, or 1 to {ADDRESSES_MAX} addresses under online and offline");
            return Err(bad(error));
        }
    };
    Ok(Json(admin.registrations.carry_out(&request).await))
}

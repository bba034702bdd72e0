//! Where clients reach a node, changed while it serves. Whichever node is asked, the one concerned does it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use persistence_model::{Node, NodeId};
use serde::{Deserialize, Serialize};

use super::{Admin, Problem};
use crate::{
    doors::{Question, Reply},
    peer,
};

/// Addresses of one request.
const ADDRESSES_MAX: usize = 64;
/// Longest wait for the node concerned: it has its record changed, which every node applies, and ends connections.
const CHANGE_MAX: Duration = Duration::from_secs(30);

/// Addresses that a node gains and loses.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct AddressesChange {
    /// The node.
    pub id: u64,
    /// SMB addresses that it gains.
    #[serde(default)]
    pub add: Vec<SocketAddr>,
    /// SMB addresses that it loses.
    #[serde(default)]
    pub remove: Vec<SocketAddr>,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Addresses {
    /// The node.
    pub node: u64,
    /// All its SMB addresses, until its process ends.
    pub smb: Vec<SocketAddr>,
}

pub(super) async fn change(State(admin): State<Arc<Admin>>, Json(wish): Json<AddressesChange>) -> Result<Json<Addresses>, Problem> {
    check(&wish).map_err(|because| Problem::new(StatusCode::BAD_REQUEST, because))?;
    let node = NodeId(wish.id);
    match admin.store.with_state(|state| state.node(node).map(Node::is_live)) {
        Some(true) => {}
        Some(false) => {
            let because = format!("node {node} is down: change listen.smb in its configuration and start it");
            return Err(Problem::new(StatusCode::CONFLICT, because));
        }
        None => return Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no node {node}; `holdfast node list` names them"))),
    }
    let question = Question::Listen { add: wish.add, remove: wish.remove };
    let reply = if node == admin.store.node() { admin.doors.answer(question).await } else { ask(&admin, node, question).await? };
    match reply {
        Reply::Listens { smb } => Ok(Json(Addresses { node: node.0, smb })),
        Reply::Refused { because } => Err(Problem::new(StatusCode::CONFLICT, because)),
    }
}

async fn ask(admin: &Admin, node: NodeId, question: Question) -> Result<Reply, Problem> {
    let answer = peer::ask(&admin.store, node, &peer::Request::Addresses(question), CHANGE_MAX).await;
    answer.map_err(|none| {
        let because = format!("{}; `holdfast status` shows which addresses it has", none.because);
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, because)
    })
}

fn check(wish: &AddressesChange) -> Result<(), String> {
    let all = || wish.add.iter().chain(&wish.remove);
    if !(1..=ADDRESSES_MAX).contains(&all().count()) {
        return Err(format!("name 1 to {ADDRESSES_MAX} addresses to add or to remove, like 192.0.2.11:445"));
    }
    if let Some(bad) = all().find(|address| address.ip().is_unspecified() || address.port() == 0) {
        return Err(format!("{bad} is no address that clients can connect to; name a real one, with its port"));
    }
    match wish.add.iter().find(|address| wish.remove.contains(address)) {
        Some(both) => Err(format!("{both} is to be added and removed at once: choose one")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_by_name() {
        let wish = |add: &[&str], remove: &[&str]| {
            let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
            check(&AddressesChange { id: 1, add: list(add), remove: list(remove) })
        };
        assert_eq!(wish(&["192.0.2.1:445"], &["192.0.2.2:445"]), Ok(()));
        for (add, remove, word) in [
            (&[][..], &[][..], "1 to 64"),
            (&["0.0.0.0:445"], &[], "0.0.0.0:445 is no address"),
            (&[], &["192.0.2.1:0"], "192.0.2.1:0 is no address"),
            (&["192.0.2.1:445"], &["192.0.2.1:445"], "added and removed"),
        ] {
            let because = wish(add, remove).unwrap_err();
            assert!(because.contains(word), "{because}");
        }
        let many: Vec<String> = (1..=65).map(|port| format!("192.0.2.1:{port}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(wish(&many, &[]).is_err());
    }
}

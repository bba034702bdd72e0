//! Joining: a new node shows a one-time token to a member and gets its certificate and the list of members.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::framing::{self, OPENING_BYTES_MAX};
use super::tls;
use crate::environment::net::{Network, SystemNetwork};
use crate::pki::{JoinToken, NodeIdentity, NodeKey, PkiError};
use crate::wire::{AskToJoin, Opening, OpeningReply};

/// Longest wait for the member's answer, which may have to ask another one.
const JOIN_MAX: Duration = Duration::from_secs(25);

/// What a member gives to a node that joins.
#[derive(Debug, Clone)]
pub struct JoinGrant {
    /// Who the node is from now on. Keep it: the token cannot be used again.
    pub identity: NodeIdentity,
    /// The members and their addresses.
    pub members: BTreeMap<u64, String>,
}

/// Why a node could not join.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The member cannot be reached or is not what the token says.
    #[error("the member {address} cannot be asked: {because}")]
    Unreachable {
        /// Its address.
        address: String,
        /// Why.
        because: String,
    },
    /// The member refused.
    #[error("the cluster refused: {0}")]
    Refused(String),
    /// The token or a certificate is not usable.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// Redeems a token at the member that it names. `address` is where other nodes will reach this one.
pub async fn join(token: &JoinToken, node_id: Option<u64>, address: &str) -> Result<JoinGrant, JoinError> {
    let unreachable = |because: String| JoinError::Unreachable { address: token.address.clone(), because };
    let connector = tls::joining_connector(token.fingerprint)?;
    let key = NodeKey::generate()?;
    let public_key = key.public();
    let ask = async {
        let stream = SystemNetwork.connect(token.address.clone()).await?;
        // The name is not looked at: the token's fingerprint says which cluster it must be.
        let name = rustls::pki_types::ServerName::try_from("member.cluster.internal").map_err(std::io::Error::other)?;
        let mut stream = connector.connect(name, stream).await?;
        let ask = AskToJoin { secret: token.secret, node_id, address: address.to_owned(), public_key };
        let opening = Opening::AskToJoin(ask);
        let frame = framing::frame(0, &opening, OPENING_BYTES_MAX).map_err(|_| std::io::Error::other("the own address is too long"))?;
        stream.write_all(&frame).await?;
        stream.flush().await?;
        let (_, envelope) = framing::read(&mut stream, OPENING_BYTES_MAX).await?;
        framing::decode::<OpeningReply>(&envelope)
    };
    let reply = tokio::time::timeout(JOIN_MAX, ask).await.map_err(|_| unreachable("no answer".to_owned()))?;
    match reply.map_err(|err: std::io::Error| unreachable(err.to_string()))? {
        OpeningReply::Admitted { node_id, cluster, certificate_pem, authorities_pem, members } => {
            let identity = key.into_identity(Uuid::from_u128(cluster), node_id, certificate_pem, authorities_pem)?;
            Ok(JoinGrant { identity, members })
        }
        OpeningReply::Refused(because) => Err(JoinError::Refused(because)),
        OpeningReply::Welcome { .. } | OpeningReply::Joined { .. } => Err(unreachable("its answer does not fit".to_owned())),
    }
}

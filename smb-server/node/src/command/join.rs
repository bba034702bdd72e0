//! `holdfast join`: spends a token and keeps the identity that the cluster gave.

use persistence::{JoinError, JoinToken};

use super::init::{self, Membership};
use crate::{
    config::Config,
    failure::{DATA, Failure, UNAVAILABLE},
    identity,
};

/// Makes this node a member.
///
/// # Errors
/// The node belongs to a cluster already, the token is no good, or the member cannot be reached.
pub async fn run(config: &Config, token: &str) -> Result<Membership, Failure> {
    init::check_new(config)?;
    let token = JoinToken::parse(token).map_err(|e| Failure::new(DATA, format!("{e}; copy it again from `holdfast token`")))?;
    identity::make_data_dir(&config.data_dir)?;
    let grant = persistence::join(&token, None, &config.listen.raft.to_string()).await.map_err(|error| {
        let code = if matches!(error, JoinError::Unreachable { .. }) { UNAVAILABLE } else { DATA };
        Failure::new(code, error.to_string())
    })?;
    identity::save(&config.data_dir, &grant.identity)?;
    let (cluster, node) = (grant.identity.cluster.to_string(), grant.identity.node_id);
    Ok(Membership { cluster, node, data_dir: config.data_dir.clone() })
}

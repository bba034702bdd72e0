//! `holdfast join`: spends a token and keeps the identity that the cluster gave.

use persistence::{JoinError, JoinToken};

use crate::{
    config::Config,
    failure::{CANNOT_CREATE, DATA, Failure, UNAVAILABLE},
    identity,
};

/// Makes this node a member. Returns its id.
///
/// # Errors
/// The node belongs to a cluster already, the token is no good, or the member cannot be reached.
pub async fn run(config: &Config, token: &str) -> Result<u64, Failure> {
    if identity::exists(&config.data_dir) {
        let message = format!(
            "{} belongs to a cluster already; choose another data_dir, or delete it if that cluster is gone",
            config.data_dir.display()
        );
        return Err(Failure::new(CANNOT_CREATE, message));
    }
    let token = JoinToken::parse(token).map_err(|e| Failure::new(DATA, format!("{e}; copy it again from `holdfast token`")))?;
    identity::make_data_dir(&config.data_dir)?;
    let grant = persistence::join(&token, None, &config.listen.raft.to_string()).await.map_err(|error| {
        let code = if matches!(error, JoinError::Unreachable { .. }) { UNAVAILABLE } else { DATA };
        Failure::new(code, error.to_string())
    })?;
    identity::save(&config.data_dir, &grant.identity)?;
    Ok(grant.identity.node_id)
}

//! `holdfast join`: spends a token and keeps the identity that the cluster gave.

use persistence::{JoinError, JoinToken};

use super::{
    init::{self, Membership},
    local_audit,
};
use crate::{
    cli::JoinArgs,
    config::Config,
    failure::{DATA, Failure, UNAVAILABLE},
    identity,
    secret::{self, Secret},
};

/// Makes this node a member.
///
/// # Errors
/// The node belongs to a cluster already, the token is no good, or the member cannot be reached.
pub async fn run(config: &Config, token: &Secret) -> Result<Membership, Failure> {
    let joined = join(config, token.expose()).await;
    local_audit::record(&config.data_dir, "join", serde_json::json!({"node": config.name}), joined.as_ref().err()).await;
    joined
}

/// The join token from the source that the arguments name, or from a prompt.
///
/// # Errors
/// The token is on the command line, or cannot be read.
pub fn token(args: &JoinArgs) -> Result<Secret, Failure> {
    match (&args.token, &args.token_file) {
        (Some(_), _) => Err(secret::token_on_command_line()),
        (None, Some(file)) => secret::of_file(file),
        (None, None) if args.token_stdin => secret::of_stdin(),
        (None, None) => secret::ask("What `holdfast token` printed: ", "--token-stdin or --token-file FILE"),
    }
}

async fn join(config: &Config, token: &str) -> Result<Membership, Failure> {
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

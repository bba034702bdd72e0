//! `holdfast init`: a new cluster of one node, with its authority, first users and shares.

use std::{path::Path, time::Duration};

use persistence::{ClusterCa, Store};
use persistence_model::{Command, Outcome, Rejection, ShareSettings};
use smb_auth::NtHash;
use smb_types::Guid;

use super::local_audit;
use crate::{
    cli::InitArgs,
    config::Config,
    daemon,
    failure::{CANNOT_CREATE, CONFIG, DATA, Failure, UNAVAILABLE},
    identity,
    secret::{self, Account},
    words::ShareWord,
};

/// What `init --json` and `join --json` print.
#[derive(Debug, serde::Serialize)]
pub struct Membership {
    /// The cluster.
    pub cluster: String,
    /// This node's id in it.
    pub node: u64,
    /// Where it keeps everything.
    pub data_dir: std::path::PathBuf,
}

/// What a new cluster begins with.
pub struct Beginning<'a> {
    /// The name under which clients see all nodes as one server.
    pub net_name: &'a str,
    /// First users.
    pub users: &'a [Account],
    /// First shares; every one has a directory.
    pub shares: &'a [ShareWord],
}

/// The first users with their passwords.
///
/// # Errors
/// A password is missing, or on the command line.
pub fn users(args: &InitArgs) -> Result<Vec<Account>, Failure> {
    let mut users = args.passwords.accounts(&args.users)?;
    if let Some(file) = &args.users_file {
        users.extend(secret::accounts_of_file(file)?);
    }
    Ok(users)
}

/// Creates the cluster in the node's data directory. The node does not serve yet.
///
/// # Errors
/// The node belongs to a cluster already, a name or directory is not usable, or the disk.
pub async fn run(config: &Config, beginning: &Beginning<'_>) -> Result<Membership, Failure> {
    let made = create(config, beginning).await;
    let names: Vec<&str> = beginning.users.iter().map(|user| user.name.as_str()).collect();
    let about = serde_json::json!({"net_name": beginning.net_name, "users": names, "shares": beginning.shares});
    local_audit::record(&config.data_dir, "init", about, made.as_ref().err()).await;
    made
}

async fn create(config: &Config, beginning: &Beginning<'_>) -> Result<Membership, Failure> {
    check_new(config)?;
    check_net_name(beginning.net_name)?;
    let shares = beginning.shares.iter().map(settings).collect::<Result<Vec<_>, _>>()?;
    identity::make_data_dir(&config.data_dir)?;
    let unusable = |e: persistence::PkiError| Failure::new(DATA, e.to_string());
    let authority = ClusterCa::create().map_err(unusable)?;
    identity::save_authority(&config.data_dir, &authority)?;
    let own = authority.issue(1).map_err(unusable)?;
    identity::save(&config.data_dir, &own)?;
    let store = Store::open(daemon::store_config(config)?).await?;
    let filled = fill(&store, beginning, shares).await;
    store.shutdown().await;
    filled?;
    Ok(Membership { cluster: own.cluster.to_string(), node: own.node_id, data_dir: config.data_dir.clone() })
}

/// A node belongs to one cluster for its whole life.
///
/// # Errors
/// It belongs to one already.
pub fn check_new(config: &Config) -> Result<(), Failure> {
    if !identity::exists(&config.data_dir) {
        return Ok(());
    }
    let dir = config.data_dir.display();
    Err(Failure::new(
        CANNOT_CREATE,
        format!("{dir} belongs to a cluster already; choose another data_dir, or delete it if that cluster is gone"),
    ))
}

async fn fill(store: &Store, beginning: &Beginning<'_>, shares: Vec<(String, ShareSettings)>) -> Result<(), Failure> {
    let unavailable = |e: persistence::StoreError| Failure::new(UNAVAILABLE, format!("the new cluster does not answer: {e}"));
    let server_guid = Guid(*uuid::Uuid::new_v4().as_bytes());
    store.init_cluster(beginning.net_name, server_guid).await.map_err(unavailable)?;
    let users = beginning.users.iter().map(|user| Command::UserAdd {
        name: user.name.clone(),
        nt_hash: *NtHash::of_password(user.password.expose()).expose(),
        sid: None,
        unix: None,
    });
    let shares = shares.into_iter().map(|(name, settings)| Command::ShareAdd { name, settings });
    // Who creates a cluster names those who administer it.
    let mut members = Vec::new();
    for command in users.chain(shares).collect::<Vec<_>>() {
        let what = match &command {
            Command::UserAdd { name, .. } => format!("user {name:?}"),
            Command::ShareAdd { name, .. } => format!("share {name:?}"),
            _ => String::new(),
        };
        let answered = tokio::time::timeout(Duration::from_secs(10), store.propose(command)).await;
        match answered.map_err(|_| Failure::new(UNAVAILABLE, "the new cluster does not answer"))?.map_err(unavailable)? {
            Outcome::Rejected(Rejection::Exists) => return Err(Failure::new(DATA, format!("{what} is given twice"))),
            Outcome::Rejected(rejection) => return Err(Failure::new(DATA, format!("{what}: {rejection}"))),
            Outcome::UserAdded { sid } => members.push(sid),
            _ => {}
        }
    }
    for member in members {
        let command = Command::GroupMember { group: "Administrators".to_owned(), member, on: true };
        store.propose(command).await.map_err(unavailable)?;
    }
    Ok(())
}

/// # Errors
/// It is too long, or has a character that clients do not understand.
pub(super) fn check_net_name(name: &str) -> Result<(), Failure> {
    let is_good = !name.is_empty() && name.len() <= 15 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if is_good {
        return Ok(());
    }
    Err(Failure::new(CONFIG, format!("{name:?} is no name for a cluster: use 1 to 15 letters, digits and dashes")))
}

/// The share as a record.
///
/// # Errors
/// It has no directory, or that is none.
pub fn settings(share: &ShareWord) -> Result<(String, ShareSettings), Failure> {
    let dir = directory(share)?;
    let dir = dir.canonicalize().map_err(|e| Failure::file("use the share's directory", dir, &e))?;
    if !dir.is_dir() {
        return Err(Failure::new(DATA, format!("{} is not a directory", dir.display())));
    }
    as_record(share, &dir)
}

/// As [`settings`], for a directory that exists on the nodes' machines only.
///
/// # Errors
/// The share has no directory, or a relative one.
pub fn settings_elsewhere(share: &ShareWord) -> Result<(String, ShareSettings), Failure> {
    let dir = directory(share)?;
    if !dir.is_absolute() {
        return Err(Failure::new(DATA, format!("{} is not absolute: name the directory as the nodes see it", dir.display())));
    }
    as_record(share, dir)
}

fn directory(share: &ShareWord) -> Result<&Path, Failure> {
    let none = || Failure::new(DATA, format!("share {:?} has no directory: write {}=DIR", share.name, share.name));
    share.dir.as_deref().ok_or_else(none)
}

fn as_record(share: &ShareWord, dir: &Path) -> Result<(String, ShareSettings), Failure> {
    let path = dir.to_str().ok_or_else(|| Failure::new(DATA, format!("{} is not UTF-8", dir.display())))?.to_owned();
    let (ca, scaleout, encrypt) = (share.ca, share.scaleout, share.encrypt);
    Ok((
        share.name.clone(),
        ShareSettings { path, comment: String::new(), ca, scaleout, encrypt, ca_timeout_ms: 0, ..ShareSettings::default() },
    ))
}

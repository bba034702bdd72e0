//! The SMB service of each life of this node: a fresh `Server` when the node begins to serve, closed when it is declared dead or stops.
//!
//! A node between two lives refuses connections: clients then look for another node instead of waiting for this one.

use std::{path::Path, sync::Arc};

use parking_lot::RwLock;
use persistence::Store;
use persistence_model::{Event, Incarnation, Share as ShareRecord};
use smb_backend::{Backend, BackendError, PosixBackend};
use smb_server::{Server, ServerConfig, SystemClock};
use smb_types::Guid;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{config::Config, daemon::Rpc, descriptors, doors::Doors, store_adapter::LifeStore};

/// The present life's service, for those who look from outside.
pub type Current = Arc<RwLock<Option<Arc<Server>>>>;

/// Serves life after life until cancelled.
pub async fn run(config: Arc<Config>, store: Store, current: Current, doors: Arc<Doors>, rpc: Rpc, stop: CancellationToken) {
    let watched = Arc::clone(&current);
    let own = store.node();
    store.observe(move |event| match event {
        // Seen before any other node's barrier passes: whoever took the open may rely on it.
        Event::OpenTaken { open, node, .. } if *node == own => {
            if let Some(open) = watched.read().as_ref().and_then(|server| server.open(*open)) {
                open.revoke();
            }
        }
        // Applied on every node before the operator hears of it: no request is judged by what was allowed before.
        Event::ShareChanged { share } => {
            if let Some(server) = watched.read().as_ref() {
                server.share_changed(*share);
            }
        }
        // As above: who was shut out does nothing more when the operator hears of it.
        Event::SessionEnded { session, node } if *node == own => {
            if let Some(server) = watched.read().as_ref() {
                server.session_ended(*session);
            }
        }
        Event::UserChanged { .. } | Event::GroupChanged { .. } => {
            if let Some(server) = watched.read().as_ref() {
                server.accounts_changed();
            }
        }
        // As many as there are commands: nobody is woken unless a directory is watched here.
        Event::FileChanged { file } => {
            if let Some(server) = watched.read().as_ref() {
                smb_server::notify::file_changed(server, *file);
            }
        }
        _ => {}
    });
    let mut life = store.watch_life();
    loop {
        let begun = tokio::select! {
            () = stop.cancelled() => return,
            begun = life.wait_for(|life| life.serving) => begun.map(|life| life.incarnation),
        };
        let Ok(Some(incarnation)) = begun else { return };
        let ended = stop.child_token();
        let serving = serve_life(&config, &store, &current, incarnation, &doors, &rpc, ended.clone());
        let over = async {
            // An error means that the store stops.
            let _ = life.wait_for(|life| life.incarnation != Some(incarnation)).await;
            ended.cancel();
        };
        tokio::join!(serving, async {
            tokio::select! {
                () = over => {}
                () = ended.cancelled() => {}
            }
        });
        *current.write() = None;
    }
}

async fn serve_life(
    config: &Config,
    store: &Store,
    current: &Current,
    incarnation: Incarnation,
    doors: &Doors,
    rpc: &Rpc,
    ended: CancellationToken,
) {
    let (net_name, server_guid) = store
        .with_state(|state| state.cluster().map(|cluster| (cluster.net_name.clone(), cluster.server_guid)))
        .unwrap_or_else(|| ("HOLDFAST".to_owned(), Guid::ZERO));
    let options = ServerConfig {
        server_name: net_name,
        domain_name: config.smb.workgroup.clone(),
        failed_logons: Arc::clone(&rpc.failed_logons),
        limits: config.smb.limits.clone().within(descriptors::of_smb()),
        ..ServerConfig::default()
    };
    let records = LifeStore::new(store.clone(), incarnation);
    let server = Server::new(options, server_guid, records, Arc::new(SystemClock), Arc::new(open_backend));
    server.secure_pipes(rpc.security(config, store));
    server.map_endpoints(Arc::clone(&rpc.endpoints));
    *current.write() = Some(Arc::clone(&server));
    tracing::info!(incarnation = incarnation.0, "serving SMB");
    let tasks = TaskTracker::new();
    tasks.spawn(smb_server::events::run(Arc::clone(&server), ended.clone()));
    tasks.close();
    doors.serve(&server, ended).await;
    tasks.wait().await;
}

fn open_backend(share: &ShareRecord) -> Result<Arc<dyn Backend>, BackendError> {
    Ok(Arc::new(PosixBackend::open_root(Path::new(&share.settings.path))?))
}

//! `holdfast serve`: one node, until it is told to stop.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use dcerpc_rs::{EndpointMap, SecurityProvider};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::RwLock;
use persistence::{Store, StoreConfig};
use persistence_model::{NodeAddresses, State};
use smb_auth::{AcceptorConfig, Account, NtHash, ServerNames};
use smb_server::failed_logons::FailedLogons;
use tokio::{io::AsyncReadExt as _, signal::unix::SignalKind};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use witness::{NtlmSecurity, WitnessService};

use crate::{
    admin::{
        self, Admin,
        listen::{Listeners, socket::Socket, tls::ServerCertificates},
    },
    audit::AuditLog,
    bind::bind,
    cluster_view::{Carrier, Records},
    config::Config,
    descriptors,
    doors::Doors,
    failure::{CONFIG, Failure, NO_INPUT, UNAVAILABLE},
    identity,
    kerberos::{self, Keytab},
    life, peer,
    registrations::Registrations,
    replication::Replication,
    rpc_logons::RpcLogons,
};

/// Runs a node until SIGTERM, SIGINT, or the end of standard input if `watch_stdin`.
///
/// # Errors
/// It could not start, or the replication stopped by itself (disk full, damaged files).
pub async fn serve(config: Config, watch_stdin: bool) -> Result<(), Failure> {
    let config = Arc::new(config);
    if !config.data_dir.is_dir() {
        let message =
            format!("the data directory {} does not exist; run `holdfast init` or `holdfast join` first", config.data_dir.display());
        return Err(Failure::new(NO_INPUT, message));
    }
    descriptors::raise(&config.smb.limits);
    let keytab = kerberos::keytab(&config)?;
    let metrics = install_metrics()?;
    // Every port is taken before anything is started: a collision must not cost the cluster an election.
    let mut smb = BTreeMap::new();
    for address in &config.listen.smb {
        smb.insert(*address, bind("SMB", *address).await?);
    }
    let mapper = bind("the endpoint mapper", config.listen.mapper).await?;
    let witness_listener = bind("the witness", config.listen.witness).await?;
    let network = bind("the admin API", config.listen.admin).await?;
    let identity = identity::load(&config.data_dir)?;
    let shown = ServerCertificates::new(&identity, config.admin.as_ref())?;
    let listeners = Listeners { network, acceptor: shown.acceptor()?, socket: Socket::open(&config.data_dir)? };
    let audit = open_audit(&config, identity.node_id)?;

    let replication = Replication::start()?;
    let (mut options, faults) = (store_config_of(&config, identity, Some(Arc::clone(&shown)))?, admin::faults::offered());
    options.faults = faults.clone().unwrap_or_default();
    let store = replication.open(options).await?;
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();

    let current = life::Current::new(RwLock::new(None));
    let carrier = Carrier::new(store.clone());
    let view = Records::new(store.clone(), config.smb.workgroup.clone(), config.smb.aliases.clone());
    let service = WitnessService::new(view);
    tasks.spawn(carrier.run(Arc::clone(&service), stop.clone()));
    let registrations = Registrations::new(store.clone(), Arc::clone(&service));
    let doors = Doors::new(store.clone(), smb);
    peer::answer(&store, &registrations, &doors, &audit);
    tasks.spawn(Arc::clone(&doors).follow(stop.clone()));
    let rpc = Rpc { endpoints: EndpointMap::new(), failed_logons: Arc::default(), keytab };
    witness::server::announce(&rpc.endpoints, config.listen.witness.port());
    let limits = descriptors::rpc_limits();
    let checks = rpc.security(&config, &store);
    tasks.spawn(witness::serve(Arc::clone(&service), witness_listener, Arc::clone(&checks), limits, stop.clone()));
    tasks.spawn(witness::serve_mapper(mapper, Arc::clone(&rpc.endpoints), checks, limits, stop.clone()));
    tasks.spawn(life::run(Arc::clone(&config), store.clone(), Arc::clone(&current), Arc::clone(&doors), rpc, stop.clone()));
    let admin = Arc::new(Admin {
        store: store.clone(),
        witness: service,
        registrations,
        doors,
        current,
        config: Arc::clone(&config),
        faults,
        metrics,
        shown: Arc::clone(&shown),
        audit,
        tasks: tasks.clone(),
        invalid_tokens: admin::invalid_token_lines().into(),
    });
    tasks.spawn(admin::listen::serve(listeners, admin::router(&admin, stop.clone()), stop.clone()));
    drop(admin);
    tasks.spawn(shown.follow(stop.clone()));

    tasks.spawn(watch_room(Arc::clone(&config), stop.clone()));
    store.serve(addresses(&config));
    tracing::info!(node = store.node().0, data_dir = %config.data_dir.display(), "the node runs");
    let why = wait_for_end(&store, watch_stdin).await;
    // Clients are let go first, so that they move while this node can still say where to.
    stop.cancel();
    tasks.close();
    let drained = tokio::time::timeout(Duration::from_secs(5), tasks.wait()).await;
    if drained.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    store.shutdown().await;
    why
}

/// What `Store::open` wants, for this node.
///
/// # Errors
/// The node has no identity, or its files are damaged.
pub fn store_config(config: &Config) -> Result<StoreConfig, Failure> {
    store_config_of(config, identity::load(&config.data_dir)?, None)
}

fn store_config_of(
    config: &Config,
    identity: persistence::NodeIdentity,
    shown: Option<Arc<ServerCertificates>>,
) -> Result<StoreConfig, Failure> {
    let mut options = StoreConfig::new(identity, records_dir(config), config.listen.raft);
    // Looked at once, so that a damaged file is told now; its key is read when it is needed.
    identity::load_authority(&config.data_dir)?;
    options.keeper = Some(Arc::new(identity::Files { data_dir: config.data_dir.clone(), shown }));
    options.name.clone_from(&config.name);
    options.lease = config.lease();
    options.margin = config.lease() / 10;
    options.fence = config.fence();
    Ok(options)
}

/// Where the replication keeps its files.
#[must_use]
pub fn records_dir(config: &Config) -> std::path::PathBuf {
    config.data_dir.join("records")
}

/// Where this node is reached.
#[must_use]
pub fn addresses(config: &Config) -> NodeAddresses {
    let listen = &config.listen;
    NodeAddresses { smb: listen.smb.clone(), witness: listen.witness, mapper: listen.mapper, admin: listen.admin, raft: listen.raft }
}

fn open_audit(config: &Config, node: u64) -> Result<AuditLog, Failure> {
    let failed = |e: std::io::Error| Failure::new(UNAVAILABLE, format!("the thread of the audit log cannot be started: {e}"));
    AuditLog::open(&config.data_dir, node).map_err(failed)
}

fn install_metrics() -> Result<PrometheusHandle, Failure> {
    PrometheusBuilder::new().install_recorder().map_err(|e| Failure::new(CONFIG, format!("metrics cannot be recorded: {e}")))
}

/// What the RPC services of the witness's port and of the pipes share.
pub struct Rpc {
    /// What the endpoint mapper tells.
    pub endpoints: Arc<EndpointMap>,
    /// Who has failed to log on lately, to them or over SMB.
    pub failed_logons: Arc<FailedLogons>,
    keytab: Option<Keytab>,
}

impl Rpc {
    /// Who checks the security of binds: the users of the records, and Kerberos before them.
    #[must_use]
    pub fn security(&self, config: &Config, store: &Store) -> Arc<dyn SecurityProvider> {
        kerberos::with_keytab(self.keytab.as_ref(), self.ntlm(config, store))
    }

    fn ntlm(&self, config: &Config, store: &Store) -> Arc<NtlmSecurity> {
        let net_name = store.with_state(|state| state.cluster().map(|c| c.net_name.clone())).unwrap_or_else(|| config.name.clone());
        let names = ServerNames {
            nb_computer: net_name.to_uppercase(),
            nb_domain: config.smb.workgroup.to_uppercase(),
            dns_computer: net_name.to_lowercase(),
            dns_domain: config.smb.workgroup.to_lowercase(),
        };
        let acceptor = Arc::new(AcceptorConfig { names, anonymous_allowed: false, guest_allowed: false });
        let watch = Arc::new(RpcLogons::new(store.clone(), Arc::clone(&self.failed_logons)));
        let store = store.clone();
        let accounts = Arc::new(move |user: &str, _domain: &str| store.with_state(|state| account(state, user)));
        Arc::new(NtlmSecurity::new(acceptor, accounts).watched(watch))
    }
}

fn account(state: &State, user: &str) -> Option<Account> {
    state
        .user_by_name(user)
        .map(|user| Account { nt_hash: NtHash::from_bytes(user.nt_hash), disabled: user.disabled || user.is_locked_out() })
}

/// Pause between two looks at the disk.
const ROOM_PAUSE: Duration = Duration::from_secs(20);
/// Below this, and below a twentieth of the disk, somebody should look.
const ROOM_LOW_BYTES: u64 = 2 << 30;
/// How long a removed node waits to hear that it is.
const FAREWELL_MAX: Duration = Duration::from_secs(30);

/// Warns while the disk of the data directory fills: a node that cannot write stops.
async fn watch_room(config: Arc<Config>, stop: CancellationToken) {
    let mut warned = u64::MAX;
    loop {
        match identity::room(&config.data_dir) {
            Ok((free, all)) if free < ROOM_LOW_BYTES && free < all / 20 => {
                // Again when half of what was left is gone.
                if free < warned / 2 {
                    warned = free;
                    let (dir, free_mib) = (config.data_dir.display(), free >> 20);
                    tracing::warn!(%dir, free_mib, "the disk of the data directory is nearly full: make room, this node stops when it cannot write");
                }
            }
            Ok(_) => warned = u64::MAX,
            Err(failure) => tracing::warn!(%failure, "how full the disk is cannot be seen"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(ROOM_PAUSE)).await.is_none() {
            return;
        }
    }
}

/// Waits until this node was removed from the cluster.
async fn removed(store: &Store) {
    // The sender lives as long as the store.
    let _ = store.watch_leaving().wait_for(|leaving| *leaving).await;
    let deadline = tokio::time::Instant::now() + FAREWELL_MAX;
    while tokio::time::Instant::now() < deadline && store.status().raft.members.contains_key(&store.node().0) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Returns when standard input ends: whoever started this program is gone.
pub(crate) async fn end_of_stdin() {
    let mut stdin = tokio::io::stdin();
    let mut buffer = [0; 64];
    while matches!(stdin.read(&mut buffer).await, Ok(n) if n > 0) {}
}

async fn wait_for_end(store: &Store, watch_stdin: bool) -> Result<(), Failure> {
    let unavailable = |e: std::io::Error| Failure::new(UNAVAILABLE, format!("signals cannot be received: {e}"));
    let mut term = tokio::signal::unix::signal(SignalKind::terminate()).map_err(unavailable)?;
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt()).map_err(unavailable)?;
    let stdin_ends = async {
        if !watch_stdin {
            return std::future::pending().await;
        }
        end_of_stdin().await;
    };
    tokio::select! {
        _ = term.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = stdin_ends => Ok(()),
        () = removed(store) => {
            tracing::info!("this node was told to leave the cluster: it ends");
            Ok(())
        }
        because = store.stopped() => Err(Failure::new(crate::failure::IO, format!("the replication stopped: {because}"))),
    }
}

/// Reads a configuration and runs its node.
///
/// # Errors
/// As [`serve`].
pub async fn serve_file(path: &Path, watch_stdin: bool) -> Result<(), Failure> {
    serve(Config::read(path)?, watch_stdin).await
}

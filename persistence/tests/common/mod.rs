//! Clusters of stores in one process, and short words for long commands.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "shared by several tests, each of which uses a part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use persistence::{ClusterCa, Faults, Fence, Keeper, Limits, NodeIdentity, OpenError, StartError, Store, StoreConfig, Versions, join};
use persistence_model::*;
use smb_types::{AccessMask, CreateOptions, FileAttributes, Guid, LeaseState, ShareAccess, Sid};
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio::time::timeout;

pub const SOON: Duration = Duration::from_secs(30);

pub type Events = broadcast::Receiver<Arc<Event>>;

/// What a cluster is made with.
#[derive(Clone)]
pub struct Wish {
    pub lease: Duration,
    pub fence: Fence,
    pub limits: Limits,
}

impl Default for Wish {
    fn default() -> Self {
        Self { lease: Duration::from_millis(1500), fence: Fence::None, limits: Limits::default() }
    }
}

pub struct Cluster {
    pub ca: ClusterCa,
    pub dir: TempDir,
    pub faults: Faults,
    pub wish: Wish,
    pub nodes: BTreeMap<u64, Store>,
    pub identities: BTreeMap<u64, NodeIdentity>,
    /// Where nodes keep their certificates; those without one keep them nowhere.
    pub keepers: BTreeMap<u64, Arc<dyn Keeper>>,
    /// What nodes say they know; this program's when nothing is said.
    pub versions: BTreeMap<u64, Versions>,
    pub addresses: BTreeMap<u64, SocketAddr>,
}

impl Cluster {
    /// Nodes 1..=size: the first makes the cluster, the others join with tokens. All serve; share 1 is continuously available.
    pub async fn new(size: u64, wish: Wish) -> Self {
        Self::with_versions(size, wish, Versions::default()).await
    }

    /// Of programs that know these versions.
    pub async fn with_versions(size: u64, wish: Wish, versions: Versions) -> Self {
        let ca = ClusterCa::create().unwrap();
        let identities = BTreeMap::from([(1, ca.issue(1).unwrap())]);
        let (dir, faults) = (TempDir::new().unwrap(), Faults::default());
        let mut cluster = Self {
            ca,
            dir,
            faults,
            wish,
            nodes: BTreeMap::new(),
            identities,
            keepers: BTreeMap::new(),
            versions: (1..=size).map(|id| (id, versions)).collect(),
            addresses: BTreeMap::new(),
        };
        cluster.start(1).await;
        cluster.store(1).init_cluster("HOLDFAST", Guid([7; 16])).await.unwrap();
        cluster.store(1).wait_serving(SOON).await.unwrap();
        for id in 2..=size {
            assert_eq!(cluster.join_through(1).await, id);
        }
        let settings = ShareSettings {
            path: "/srv".into(),
            comment: String::new(),
            ca: true,
            scaleout: false,
            encrypt: false,
            ca_timeout_ms: 60_000,
            ..ShareSettings::default()
        };
        let added = cluster.run(1, Command::ShareAdd { name: "ca".into(), settings }).await;
        assert_eq!(added, Outcome::ShareAdded { share: ShareId(1) });
        cluster.wait_voters(size).await;
        cluster
    }

    /// A node joins with a token of this one, and serves.
    pub async fn join_through(&mut self, member: u64) -> u64 {
        let token = self.store(member).create_token(SOON).await.unwrap();
        let address = free_address();
        let grant = join(&token, None, &address.to_string()).await.unwrap();
        let id = grant.identity.node_id;
        self.identities.insert(id, grant.identity);
        self.addresses.insert(id, address);
        self.start(id).await;
        self.store(id).wait_serving(SOON).await.unwrap();
        id
    }

    /// What a node is opened with.
    pub fn config(&self, id: u64) -> StoreConfig {
        let listen = self.addresses.get(&id).copied().unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
        let mut config = StoreConfig::new(self.identities[&id].clone(), self.dir.path().join(format!("node{id}")), listen);
        config.ca = (id == 1).then(|| self.ca.clone());
        config.keeper = self.keepers.get(&id).cloned();
        config.versions = self.versions.get(&id).copied().unwrap_or_default();
        config.faults = self.faults.clone();
        config.lease = self.wish.lease;
        config.margin = self.wish.lease / 10;
        config.fence = self.wish.fence.clone();
        config.limits = self.wish.limits;
        // A machine that is busy with other things is slow, and that is not what the tests are about.
        config.proposal_timeout = 4 * SOON;
        config
    }

    /// Starts a node, where it was before if it was there before.
    pub async fn start(&mut self, id: u64) {
        let store = open_patiently(self.config(id)).await;
        self.addresses.insert(id, store.raft_addr());
        let any = "127.0.0.1:0".parse().unwrap();
        store.serve(NodeAddresses { smb: vec![any], witness: any, mapper: any, admin: any, raft: any });
        self.nodes.insert(id, store);
    }

    /// Lets one more node in, which somebody else starts: its identity and where it shall listen.
    pub async fn admit(&mut self) -> (NodeIdentity, SocketAddr) {
        let token = self.store(1).create_token(SOON).await.unwrap();
        let address = free_address();
        let grant = join(&token, None, &address.to_string()).await.unwrap();
        (grant.identity, address)
    }

    /// Ends a node as if its process had died.
    pub async fn kill(&mut self, id: u64) {
        self.nodes.remove(&id).unwrap().kill().await;
    }

    pub fn store(&self, id: u64) -> &Store {
        &self.nodes[&id]
    }

    pub fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    pub async fn run(&self, via: u64, command: Command) -> Outcome {
        self.store(via).propose(command).await.unwrap()
    }

    /// The node that gives leases, which this one knows of and which runs.
    pub async fn authority(&self) -> u64 {
        let any = self.nodes.values().next().unwrap();
        let mut leader = any.watch_leader();
        timeout(SOON, async {
            loop {
                let status = any.status();
                if let (Some(leader), Some(authority)) = (status.raft.leader, status.authority)
                    && leader.node_id == authority.0
                    && self.nodes.contains_key(&authority.0)
                {
                    return authority.0;
                }
                drop(timeout(Duration::from_millis(20), leader.changed()).await);
            }
        })
        .await
        .unwrap()
    }

    pub async fn wait_voters(&self, size: u64) {
        let mut leader = self.store(1).watch_leader();
        let all = |store: &Store| store.status().raft.members.values().filter(|member| member.voter).count() as u64 == size;
        timeout(SOON, async {
            while !self.nodes.values().all(all) {
                drop(timeout(Duration::from_millis(20), leader.changed()).await);
            }
        })
        .await
        .unwrap();
    }

    /// Logs a client on.
    pub async fn session(&self, client: u8, node: u64) -> At {
        let store = self.store(node);
        let incarnation = store.incarnation().unwrap();
        let session = SessionId::of(incarnation, u32::from(client));
        let command = Command::SessionOpen {
            session,
            node: NodeId(node),
            incarnation,
            client_guid: Guid([client; 16]),
            user: user(client),
            user_name: "u".into(),
            client_address: "c".into(),
            previous_session: None,
        };
        assert!(matches!(self.run(node, command).await, Outcome::SessionOpened { .. }));
        At { client, node: NodeId(node), incarnation, session }
    }

    pub async fn opened(&self, request: OpenRequest) -> Grant {
        match self.run(request.node.0, Command::OpenFile(Box::new(request))).await {
            Outcome::Opened(grant) => grant,
            other => panic!("{other:?}"),
        }
    }
}

/// Where a client's request arrives.
#[derive(Clone, Copy, Debug)]
pub struct At {
    pub client: u8,
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub session: SessionId,
}

pub fn user(n: u8) -> Sid {
    Sid::new(5, &[21, 1, 2, 3, u32::from(n)])
}

pub fn request(at: At) -> OpenRequest {
    OpenRequest {
        node: at.node,
        incarnation: at.incarnation,
        session: at.session,
        share: ShareId(1),
        client_guid: Guid([at.client; 16]),
        create_guid: None,
        user: user(at.client),
        file: Some(FileKey { volume: 1, inode: 10, generation: 1, stream: 0 }),
        path: "a.txt".into(),
        is_directory: false,
        desired_access: AccessMask(0x3),
        granted_access: AccessMask(0x3),
        share_access: ShareAccess::ALL,
        create_options: CreateOptions::NONE,
        file_attributes: FileAttributes::NONE,
        overwrites: false,
        oplock: RequestedOplock::None,
        durability: RequestedDurability::None,
        app_instance: None,
        replay: false,
        dialect_3x: true,
    }
}

pub fn persistent(at: At, timeout_ms: u32) -> OpenRequest {
    OpenRequest { create_guid: Some(Guid([at.client; 16])), durability: RequestedDurability::Persistent { timeout_ms }, ..request(at) }
}

/// Proposals under way while [`fill`] works.
pub const FILLING: u64 = 512;

/// A persistent open with a lease and a long path, of a file of its own for each number.
pub fn numbered(at: At, n: u64) -> Command {
    let id = u128::from(n).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_le_bytes();
    let lease = RequestedLease { key: Guid(id), state: LeaseState::RWH, parent_key: None, epoch: 0, version: 2 };
    Command::OpenFile(Box::new(OpenRequest {
        client_guid: Guid(id),
        create_guid: Some(Guid(id)),
        file: Some(FileKey { volume: 1, inode: 100 + n, generation: 1, stream: 0 }),
        path: format!("department\\project-{:08}\\virtual-machine-{n:016}.vhdx", n / 100),
        oplock: RequestedOplock::Lease(lease),
        ..persistent(at, 600_000)
    }))
}

/// Opens the files of these numbers, and says how far it is.
pub async fn fill(store: &Store, at: At, from: u64, to: u64) {
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..FILLING {
        let store = store.clone();
        tasks.spawn(async move {
            for n in (from + lane..to).step_by(FILLING as usize) {
                assert!(matches!(store.propose(numbered(at, n)).await, Ok(Outcome::Opened(_))));
                if n % 50_000 == 0 {
                    eprintln!("{n} of {to} opens");
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// DH2C.
pub fn reclaim(at: At, open: OpenId) -> Command {
    Command::ReclaimOpen(Box::new(ReclaimRequest {
        node: at.node,
        incarnation: at.incarnation,
        session: at.session,
        share: ShareId(1),
        client_guid: Guid([at.client; 16]),
        user: user(at.client),
        open,
        kind: ReclaimKind::V2 { create_guid: Guid([at.client; 16]), persistent: true, by_create_guid: true },
        lease: None,
        path: "a.txt".into(),
    }))
}

pub fn lock(at: At, open: OpenId, offset: u64) -> Command {
    let elements = vec![ByteRangeLock { offset, length: 10, exclusive: true }];
    Command::Lock { open, elements, fail_immediately: true, sequence: None, by: at.incarnation }
}

/// The next event that fits.
pub async fn next<R>(events: &mut Events, mut fits: impl FnMut(&Event) -> Option<R>) -> R {
    timeout(SOON, async {
        loop {
            if let Some(found) = fits(&events.recv().await.unwrap()) {
                return found;
            }
        }
    })
    .await
    .unwrap()
}

/// The declared death of this life.
pub async fn death(events: &mut Events, dead: NodeId) -> Incarnation {
    next(events, |event| match event {
        Event::NodeDown { node, incarnation } if *node == dead => Some(*incarnation),
        _ => None,
    })
    .await
}

pub fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A stopped node in the same process needs a moment to let go of its directory.
pub async fn open_patiently(config: StoreConfig) -> Store {
    timeout(SOON, async {
        loop {
            match Store::open(config.clone()).await {
                Err(OpenError::Start(StartError::DataDirInUse { .. } | StartError::AddressInUse { .. })) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                opened => return opened.unwrap(),
            }
        }
    })
    .await
    .unwrap()
}

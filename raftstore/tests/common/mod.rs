//! A small machine and clusters of it, for the tests.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "shared by several tests, each of which uses a part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use raftstore::pki::ClusterCa;
use raftstore::{Applied, Change, Class, Config, Faults, Limits, Machine, ProposeError, RaftStore, StartError};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub const SOON: Duration = Duration::from_secs(20);

/// Commands are `key=value`; the outcome is how often the key was set. Remembers the order and the times.
#[derive(Default)]
pub struct Map {
    pub inner: Mutex<MapInner>,
}

#[derive(Default)]
pub struct MapInner {
    pub values: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    changed: BTreeMap<Vec<u8>, Vec<u8>>,
    pub times: Vec<u64>,
    pub applied: u64,
}

fn encode(count: u64, value: &[u8]) -> Vec<u8> {
    [&count.to_le_bytes(), value].concat()
}

impl Machine for Map {
    fn apply(&self, _index: u64, time_ms: u64, command: &[u8]) -> Vec<u8> {
        let mut inner = self.inner.lock().unwrap();
        inner.times.push(time_ms);
        let Some(at) = command.iter().position(|&byte| byte == b'=') else { return b"nonsense".to_vec() };
        let (key, value) = (command[..at].to_vec(), command[at + 1..].to_vec());
        let entry = inner.values.entry(key.clone()).or_default();
        entry.0 += 1;
        entry.1 = value.clone();
        let count = entry.0;
        inner.changed.insert(key, encode(count, &value));
        count.to_string().into_bytes()
    }

    fn take_changes(&self) -> Vec<Change> {
        let changed = std::mem::take(&mut self.inner.lock().unwrap().changed);
        changed.into_iter().map(|(key, value)| (key, Some(value))).collect()
    }

    fn load(&self, entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<(), String> {
        let mut inner = self.inner.lock().unwrap();
        inner.values.clear();
        for (key, value) in entries {
            let (count, value) = value.split_first_chunk::<8>().ok_or("short")?;
            inner.values.insert(key, (u64::from_le_bytes(*count), value.to_vec()));
        }
        Ok(())
    }

    fn applied(&self, index: u64) {
        self.inner.lock().unwrap().applied = index;
    }
}

impl Map {
    pub fn get(&self, key: &str) -> Option<(u64, String)> {
        let inner = self.inner.lock().unwrap();
        inner.values.get(key.as_bytes()).map(|(count, value)| (*count, String::from_utf8(value.clone()).unwrap()))
    }

    pub fn all(&self) -> BTreeMap<Vec<u8>, (u64, Vec<u8>)> {
        self.inner.lock().unwrap().values.clone()
    }
}

pub struct Node {
    pub store: RaftStore,
    pub map: Arc<Map>,
    pub address: SocketAddr,
}

pub struct Cluster {
    pub ca: ClusterCa,
    pub dir: TempDir,
    pub faults: Faults,
    pub limits: Limits,
    pub nodes: BTreeMap<u64, Node>,
}

impl Cluster {
    /// A cluster of voters 1..=size.
    pub async fn new(size: u64) -> Self {
        Self::with_limits(size, Limits::default()).await
    }

    pub async fn with_limits(size: u64, limits: Limits) -> Self {
        let (ca, dir) = (ClusterCa::create().unwrap(), TempDir::new().unwrap());
        let mut cluster = Self { ca, dir, faults: Faults::default(), limits, nodes: BTreeMap::new() };
        cluster.start(1, None).await;
        cluster.nodes[&1].store.bootstrap().await.unwrap();
        for id in 2..=size {
            cluster.start(id, None).await;
            let address = cluster.nodes[&id].address.to_string();
            cluster.nodes[&1].store.add_learner(id, address).await.unwrap();
            cluster.nodes[&1].store.promote(id).await.unwrap();
        }
        cluster
    }

    pub fn data_dir(&self, id: u64) -> PathBuf {
        self.dir.path().join(format!("node{id}"))
    }

    pub fn config(&self, id: u64, address: Option<SocketAddr>) -> Config {
        let listen = address.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
        let mut config = Config::new(self.ca.issue(id).unwrap(), self.data_dir(id), listen);
        config.faults = self.faults.clone();
        config.limits = self.limits;
        config.call_handler =
            Some(Arc::new(move |from, payload| Box::pin(async move { [format!("{id} heard {from}: ").as_bytes(), &payload].concat() })));
        config
    }

    pub async fn start(&mut self, id: u64, address: Option<SocketAddr>) {
        let map = Arc::new(Map::default());
        let store = start_patiently(self.config(id, address), map.clone()).await;
        let address = store.local_addr();
        self.nodes.insert(id, Node { store, map, address });
    }

    /// Stops a node and forgets it; its data stay.
    pub async fn stop(&mut self, id: u64) -> SocketAddr {
        let node = self.nodes.remove(&id).unwrap();
        node.store.shutdown().await;
        node.address
    }

    pub fn store(&self, id: u64) -> &RaftStore {
        &self.nodes[&id].store
    }

    /// The leader on which all running nodes outside of `except` agree.
    pub async fn leader(&self, except: &[u64]) -> u64 {
        let deadline = Instant::now() + SOON;
        loop {
            let views: Vec<_> = self.nodes.iter().filter(|(id, _)| !except.contains(id)).map(|(_, node)| node.store.leader()).collect();
            if let Some(Some(first)) = views.first()
                && views.iter().all(|view| *view == Some(*first))
                && !except.contains(&first.node_id)
                && self.nodes.contains_key(&first.node_id)
            {
                return first.node_id;
            }
            assert!(Instant::now() < deadline, "no leader: {views:?}");
            sleep(Duration::from_millis(2)).await;
        }
    }

    pub async fn set(&self, via: u64, key: &str, value: &str) -> Result<Applied, ProposeError> {
        self.store(via).propose(format!("{key}={value}").into_bytes(), Class::Persistent, SOON).await
    }

    /// Waits until all nodes hold the same, and checks it.
    pub async fn settle(&self) {
        let index = self.nodes.values().next().unwrap().store.read_barrier(SOON).await.unwrap();
        for node in self.nodes.values() {
            node.store.wait_applied(index, SOON).await.unwrap();
        }
        let first = self.nodes.values().next().unwrap().map.all();
        for (id, node) in &self.nodes {
            assert_eq!(node.map.all(), first, "node {id}");
            assert!(node.map.inner.lock().unwrap().times.is_sorted(), "log time went back on node {id}");
        }
    }
}

/// A stopped node in the same process needs a moment to let go of its directory.
pub async fn start_patiently(config: Config, map: Arc<Map>) -> RaftStore {
    let deadline = Instant::now() + SOON;
    loop {
        match RaftStore::start(config.clone(), map.clone()).await {
            Err(StartError::DataDirInUse { .. } | StartError::AddressInUse { .. }) if Instant::now() < deadline => {
                sleep(Duration::from_millis(10)).await;
            }
            started => return started.unwrap(),
        }
    }
}

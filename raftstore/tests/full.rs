//! A node whose disk is full stops and says so; the others go on; it comes back when there is room.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Cluster, Map, SOON, start_patiently};
use raftstore::environment::{Disk, DiskFile, OpenFile, SystemDisk};
use raftstore::{Class, RaftStore, StartError};
use tokio::time::timeout;

/// The system's files, on a disk that fills up at a word.
#[derive(Debug, Clone)]
struct Filling {
    full: Arc<AtomicBool>,
}

#[derive(Debug)]
struct FillingFile {
    file: Arc<dyn DiskFile>,
    full: Arc<AtomicBool>,
}

fn room(full: &AtomicBool) -> io::Result<()> {
    if full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}

impl Disk for Filling {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        SystemDisk.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        SystemDisk.list(dir)
    }
    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Arc<dyn DiskFile>> {
        if matches!(how, OpenFile::CreateNew | OpenFile::CreateEmpty) {
            room(&self.full)?;
        }
        Ok(Arc::new(FillingFile { file: SystemDisk.open(path, how)?, full: self.full.clone() }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        SystemDisk.sync_dir(dir)
    }
    fn claim(&self, dir: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        SystemDisk.claim(dir)
    }
}

impl DiskFile for FillingFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        room(&self.full)?;
        self.file.write_all_at(bytes, offset)
    }
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        room(&self.full)?;
        self.file.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_full_disk_stops_by_name_and_comes_back() {
    let mut cluster = Cluster::new(3).await;
    for leads in [false, true] {
        let leader = cluster.leader(&[]).await;
        let id = if leads { leader } else { (1..=3).find(|id| *id != leader).unwrap() };
        let other = (1..=3).find(|other| *other != id).unwrap();
        let full = Arc::new(AtomicBool::new(false));
        let address = cluster.stop(id).await;
        let mut config = cluster.config(id, Some(address));
        config.environment.disk = Arc::new(Filling { full: full.clone() });
        let map = Arc::new(Map::default());
        let store = start_patiently(config, map.clone()).await;
        cluster.nodes.insert(id, common::Node { store, map, address });
        cluster.set(id, "before", "x").await.unwrap();
        if leads {
            cluster.store(id).transfer_leader(id).await.unwrap();
        }
        full.store(true, Ordering::SeqCst);
        // Acknowledged by the two others, if the full one follows; by nobody else's disk than theirs in any case.
        let others = cluster.store(other).propose(format!("during={leads}").into_bytes(), Class::Persistent, SOON).await;
        assert!(others.is_ok(), "{others:?}");
        let because = timeout(SOON, cluster.store(id).stopped()).await.unwrap();
        assert!(because.contains("no space is left on the disk of") && because.contains("free some"), "{because}");
        let dir = cluster.data_dir(id);
        assert!(because.contains(&dir.display().to_string()), "{because}");
        for n in 0..20 {
            cluster.set(other, "goes", &format!("on{n}")).await.unwrap();
        }
        // It cannot start while there is no room, and says so; with room it catches up.
        cluster.nodes.remove(&id).unwrap().store.shutdown().await;
        let mut config = cluster.config(id, Some(address));
        config.environment.disk = Arc::new(Filling { full: full.clone() });
        let refused = loop {
            match RaftStore::start(config.clone(), Arc::new(Map::default())).await.err().unwrap() {
                StartError::DataDirInUse { .. } | StartError::AddressInUse { .. } => tokio::time::sleep(Duration::from_millis(5)).await,
                other => break other,
            }
        };
        assert!(matches!(refused, StartError::DiskFull { .. }), "{refused}");
        full.store(false, Ordering::SeqCst);
        cluster.start(id, Some(address)).await;
        cluster.settle().await;
        assert_eq!(cluster.nodes[&id].map.get("goes").unwrap().1, "on19");
    }
}

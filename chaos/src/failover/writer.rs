//! Writes numbered blocks without pause through a persistent handle, and remembers which were acknowledged, when, and by whom.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::checker::blocks::{self, BLOCK_BYTES, BlockId};
use crate::client::file::{HeldLock, ServedBy};
use crate::client::{ClientError, Mount, OpenPlan, PersistentFile};

/// Writes that are under way at once.
const DEPTH: usize = 4;
/// Blocks after which a writer stops by itself: 2 GiB.
const BLOCKS_MAX: u64 = 32_768;
/// Bytes of the file that belong to one writer.
pub const REGION_BYTES: u64 = BLOCKS_MAX * BLOCK_BYTES as u64;

/// An acknowledged block.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    /// When.
    pub at: Instant,
    /// By whom.
    pub by: ServedBy,
}

/// A writer and what it knows.
#[derive(Debug)]
pub struct Writer {
    /// Its number.
    pub number: u32,
    /// Its handle.
    pub file: PersistentFile,
    seed: u64,
    next: AtomicU64,
    acknowledged: Mutex<BTreeMap<u64, Acknowledged>>,
    errors: Mutex<Vec<String>>,
}

impl Writer {
    /// Opens the file with a persistent handle and locks the writer's own region of it.
    pub async fn open(mount: &Arc<Mount>, path: &str, seed: u64, number: u32) -> Result<Arc<Self>, ClientError> {
        let file = PersistentFile::open(mount, OpenPlan::read_write(path)).await?;
        file.lock(region(number)).await?;
        Ok(Arc::new(Self { number, file, seed, next: AtomicU64::new(0), acknowledged: Mutex::default(), errors: Mutex::default() }))
    }

    /// Writes until told to stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut workers = JoinSet::new();
        for _ in 0..DEPTH {
            workers.spawn(Arc::clone(&self).work(stop.clone()));
        }
        while workers.join_next().await.is_some() {}
    }

    async fn work(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= BLOCKS_MAX {
                return;
            }
            let data = Bytes::from(blocks::build(self.id(number)));
            match self.file.write(offset(self.number, number), data).await {
                Ok(by) => {
                    let acknowledged = Acknowledged { at: Instant::now(), by };
                    self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(number, acknowledged);
                }
                Err(error) => {
                    self.errors.lock().unwrap_or_else(PoisonError::into_inner).push(format!("block {number}: {error}"));
                    return;
                }
            }
        }
    }

    /// The name of one of its blocks.
    #[must_use]
    pub const fn id(&self, number: u64) -> BlockId {
        BlockId { seed: self.seed, writer: self.number, number }
    }

    /// The blocks acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> BTreeMap<u64, Acknowledged> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many blocks were acknowledged.
    #[must_use]
    pub fn count(&self) -> usize {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What the application would have been told.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first acknowledgment through a channel newer than `generation`.
    #[must_use]
    pub fn first_after(&self, generation: u64) -> Option<Acknowledged> {
        let all = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().filter(|a| a.by.generation > generation).min_by_key(|a| a.at).copied()
    }
}

/// The part of the file that a writer holds an exclusive lock on.
#[must_use]
pub const fn region(writer: u32) -> HeldLock {
    HeldLock { offset: writer as u64 * REGION_BYTES, length: REGION_BYTES, exclusive: true }
}

/// Where a block belongs.
#[must_use]
pub const fn offset(writer: u32, number: u64) -> u64 {
    writer as u64 * REGION_BYTES + number * BLOCK_BYTES as u64
}

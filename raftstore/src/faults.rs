//! Broken links on purpose: a handle that tests and chaos runs share with the nodes whose links they cut.
//!
//! An empty handle costs one atomic read per message.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

/// The links that are cut. Clones share the same set.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    any: AtomicBool,
    cut: RwLock<BTreeSet<(u64, u64)>>,
}

impl Faults {
    /// Cuts the link from one node to another: nothing arrives, and nobody is told.
    pub fn cut(&self, from: u64, to: u64) {
        self.inner.cut.write().insert((from, to));
        self.inner.any.store(true, Ordering::SeqCst);
    }

    /// Cuts a node off from all the others, in both directions.
    pub fn isolate(&self, node: u64, others: &[u64]) {
        for &other in others.iter().filter(|&&other| other != node) {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// Mends every link.
    pub fn heal(&self) {
        self.inner.cut.write().clear();
        self.inner.any.store(false, Ordering::SeqCst);
    }

    /// Says whether the link is cut.
    pub fn is_cut(&self, from: u64, to: u64) -> bool {
        self.inner.any.load(Ordering::SeqCst) && self.inner.cut.read().contains(&(from, to))
    }
}

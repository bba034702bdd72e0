//! Who may speak with this node, and in which version.
//!
//! Two nodes speak the lower one of the newest versions that they know. The cluster as a whole agrees on a level, once every member has
//! been heard to know it; from then on a program that does not know it is turned away by name, because it could not read what the others
//! write. A removed node is turned away too: its certificate is still good.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::RwLock;

use crate::config::Versions;

/// Refusals that are remembered, so that each is logged once.
const REFUSED_MAX: usize = 256;

/// The gate of one node.
#[derive(Debug)]
pub(crate) struct Gate {
    versions: Versions,
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    required: u16,
    removed: BTreeSet<u64>,
    heard: BTreeMap<u64, u16>,
    /// Members that turned this node away, and why.
    refusals: BTreeMap<u64, String>,
    /// Nodes that this one turned away, and why.
    refused: BTreeMap<u64, String>,
}

impl Gate {
    pub(crate) fn new(versions: Versions) -> Self {
        Self { versions, inner: RwLock::default() }
    }

    /// What this node says of itself: oldest and newest.
    pub(crate) fn offer(&self) -> (u16, u16) {
        (self.oldest(), self.versions.newest)
    }

    fn oldest(&self) -> u16 {
        self.versions.oldest.max(self.inner.read().required)
    }

    /// Decides about a member that says hello: the version that is spoken, or why not.
    pub(crate) fn admit(&self, from: u64, oldest: u16, newest: u16) -> Result<u16, String> {
        if self.inner.read().removed.contains(&from) {
            return Err(format!("node {from} was removed from the cluster; let it join again with a new data directory"));
        }
        let (own_oldest, own_newest) = self.offer();
        let version = newest.min(own_newest);
        if version < oldest.max(own_oldest) {
            let who = if newest < own_oldest { "node {from} must be upgraded" } else { "this node must be upgraded" };
            let who = who.replace("{from}", &from.to_string());
            return Err(format!("node {from} speaks versions {oldest} to {newest}, this one {own_oldest} to {own_newest}: {who}"));
        }
        let mut inner = self.inner.write();
        inner.heard.insert(from, newest);
        inner.refused.remove(&from);
        Ok(version)
    }

    /// Checks the version that a member chose when this node said hello.
    pub(crate) fn agreed(&self, node: u64, version: u16) -> Result<(), String> {
        let (oldest, newest) = self.offer();
        if !(oldest..=newest).contains(&version) {
            return Err(format!("node {node} wants to speak version {version}, this one speaks {oldest} to {newest}"));
        }
        // It knows at least this one; it says more when it calls by itself.
        let mut inner = self.inner.write();
        inner.refusals.remove(&node);
        let heard = inner.heard.entry(node).or_insert(version);
        *heard = (*heard).max(version);
        Ok(())
    }

    /// This node turned somebody away. Says whether that is news: it tries again all the time.
    pub(crate) fn has_refused(&self, from: u64, because: &str) -> bool {
        let mut inner = self.inner.write();
        if inner.refused.len() >= REFUSED_MAX {
            inner.refused.clear();
        }
        inner.refused.insert(from, because.to_owned()).as_deref() != Some(because)
    }

    /// The members that turned this node away, and why.
    pub(crate) fn refusals(&self) -> BTreeMap<u64, String> {
        self.inner.read().refusals.clone()
    }

    /// A member turned this node away. Says whether that is news: it is tried again all the time.
    pub(crate) fn turned_away_by(&self, node: u64, because: &str) -> bool {
        let old = self.inner.write().refusals.insert(node, because.to_owned());
        old.as_deref() != Some(because)
    }

    /// The newest version that a member is known to speak.
    pub(crate) fn heard(&self, node: u64) -> Option<u16> {
        self.inner.read().heard.get(&node).copied()
    }

    /// The cluster has agreed on a level.
    pub(crate) fn require(&self, level: u16) {
        assert!(level <= self.versions.newest, "nobody agrees on what this node does not know");
        let mut inner = self.inner.write();
        inner.required = inner.required.max(level);
    }

    /// These nodes do not belong to the cluster any more.
    pub(crate) fn turn_away(&self, removed: BTreeSet<u64>) {
        self.inner.write().removed = removed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(oldest: u16, newest: u16) -> Gate {
        Gate::new(Versions { oldest, newest })
    }

    #[test]
    fn two_nodes_speak_the_lower_one() {
        assert_eq!(gate(1, 3).admit(2, 1, 2), Ok(2));
        assert_eq!(gate(1, 2).admit(2, 1, 3), Ok(2));
        let too_old = gate(2, 3).admit(7, 1, 1).unwrap_err();
        assert!(too_old.contains("node 7 must be upgraded"), "{too_old}");
        let too_new = gate(1, 2).admit(7, 3, 4).unwrap_err();
        assert!(too_new.contains("this node must be upgraded"), "{too_new}");
    }

    #[test]
    fn an_agreed_level_turns_older_programs_away() {
        let gate = gate(1, 3);
        assert_eq!(gate.admit(2, 1, 1), Ok(1));
        gate.require(2);
        assert_eq!(gate.offer(), (2, 3));
        assert!(gate.admit(2, 1, 1).is_err());
        assert_eq!(gate.admit(2, 1, 2), Ok(2));
        assert_eq!(gate.heard(2), Some(2));
        assert!(gate.agreed(3, 1).is_err());
        assert_eq!(gate.agreed(3, 2), Ok(()));
        assert_eq!((gate.heard(3), gate.heard(4)), (Some(2), None));
    }

    #[test]
    fn the_removed_stay_out() {
        let gate = gate(1, 1);
        gate.turn_away(BTreeSet::from([5]));
        assert!(gate.admit(5, 1, 1).unwrap_err().contains("removed"));
        assert_eq!(gate.admit(6, 1, 1), Ok(1));
        assert!(gate.has_refused(5, "a") && !gate.has_refused(5, "a") && gate.has_refused(5, "b"));
        assert!(gate.turned_away_by(2, "a") && !gate.turned_away_by(2, "a"));
        assert_eq!(gate.refusals().len(), 1);
        assert_eq!(gate.agreed(2, 1), Ok(()));
        assert!(gate.refusals().is_empty());
    }
}
